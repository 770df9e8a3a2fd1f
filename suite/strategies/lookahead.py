"""Slow weights that follow an optimizer's fast ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from problems.bounds import Count, Unit
from suite.optimizers.base import Optimizer, Oracle, State, optimizer

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(reference="Zhang et al. 2019, algorithm 1")
def lookahead(optimizer: Optimizer, k: Count = 5, alpha: Unit = 0.5) -> Optimizer:
    """Lookahead: after k inner steps θ, the slow weights φ ← φ + α(θ − φ), from which θ goes on.

    The inner optimizer keeps its state. φ is the point to evaluate; an average that the inner one would have
    evaluated is not, so averages go outside: ``polyak(lookahead(sgd))``.
    """
    inner = optimizer

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"inner": inner.init(oracle, theta), "slow": theta.clone(), "t": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        t, slow = state["t"] + 1, state["slow"]
        theta, within = inner.step(oracle, state["inner"], theta)
        turn = torch.as_tensor(t % k == 0)
        slow = torch.where(turn, slow + alpha * (theta - slow), slow)
        return torch.where(turn, slow, theta), {"inner": within, "slow": slow, "t": t}

    return replace(inner, init=init, step=step, readout=lambda state, theta: state["slow"])
