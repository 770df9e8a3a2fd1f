"""Sophia: momentum divided by a running estimate of the Hessian's diagonal, clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Count, Fraction, NonNegative, Positive, log_range
from suite.optimizers.base import Needs, Optimizer, Oracle, State, among, optimizer, zeros
from suite.strategies.noise import key_of, normal

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(reference="Liu, Li, Hall, Liang & Ma 2023, algorithms 1 and 3 (Sophia-H)", tune={"lr": log_range(1e-4, 1.0)})
def sophia(
    lr: Positive = 0.01,
    beta1: Fraction = 0.96,
    beta2: Fraction = 0.99,
    gamma: Positive = 0.01,
    every: Count = 10,
    decay: NonNegative = 0.0,
    epsilon: Positive = 1e-12,
) -> Optimizer:
    """Sophia-H: θ ← θ − ε clip(m / max(γh, ϵ), ±1), with h an average of the Hessian's diagonal.

    m ← β₁m + (1 − β₁)g at each step. At steps 0, k, 2k, … with k = ``every``, Hutchinson's
    estimate u ⊙ Hu of the diagonal, u ~ N(0, I), is averaged in: h ← β₂h + (1 − β₂) u ⊙ Hu.
    Before each step θ ← θ − ε·decay·θ. Where the estimate is negative or small, the clip makes
    it a signed step of length ε.

    u depends on the bits of θ₀ (and so on the run's seed) and on the step.
    """

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"m": zeros(theta), "h": zeros(theta), "t": 0.0, "key": key_of(theta)}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        _, g = oracle.gradient(theta)
        t = torch.as_tensor(state["t"], device=theta.device)
        due = t % every == 0
        u = normal(state["key"], state["t"], len(theta)).to(theta.dtype)
        estimate = u * among(oracle, due).hvp(theta, u)
        m = beta1 * state["m"] + (1 - beta1) * g
        h = torch.where(due, beta2 * state["h"] + (1 - beta2) * estimate, state["h"])
        move = (m / (gamma * h).clamp(min=epsilon)).clamp(-1, 1)
        theta = theta - lr * decay * theta
        return theta - lr * move, {"m": m, "h": h, "t": state["t"] + 1, "key": state["key"]}

    return Optimizer(init, step, needs=Needs(cycle=every))
