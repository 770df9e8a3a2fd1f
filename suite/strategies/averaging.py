"""Strategies that evaluate an average of the parameters visited."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from problems.bounds import Fraction
from suite.optimizers.base import Optimizer, Oracle, State, optimizer

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(section="8.7.3", equation="8.39")
def polyak(optimizer: Optimizer, decay: Fraction | None = None, correct: bool = False) -> Optimizer:
    """Polyak averaging: train with θ, evaluate the average θ̂ of the points visited.

    Without ``decay`` the plain mean θ̂(t) = (1/t) Σᵢ θ(i) over i = 1 … t, which has strong
    guarantees on convex problems; with ``decay`` = α the running mean
    θ̂(t) = α θ̂(t−1) + (1 − α) θ(t) from θ̂(0) = θ(0), which forgets early points, as
    non-convex problems need. Polyak & Juditsky 1992.

    Args:
        correct: with ``decay``, begin with nothing instead of θ(0) and divide by 1 − αᵗ, so that
            θ̂(t) = Σᵢ αᵗ⁻ⁱ θ(i) / Σᵢ αᵗ⁻ⁱ over i = 1 … t (Kingma & Ba 2015, section 7.2).

    As torch.optim.swa_utils.AveragedModel (with ``get_ema_multi_avg_fn`` for ``decay``),
    but for the first average, which that one takes after the first step.
    """
    inner = optimizer

    def init(oracle: Oracle, theta: Tensor) -> State:
        state = inner.init(oracle, theta)
        return {"inner": state, "average": inner.readout(state, theta).clone(), "t": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        theta, within = inner.step(oracle, state["inner"], theta)
        t = state["t"] + 1
        point, average = inner.readout(within, theta), state["average"]
        kept = _kept(t, decay, correct)
        average = kept * average + (1 - kept) * point
        return theta, {"inner": within, "average": average, "t": t}

    needs = replace(inner.needs, averages=True)
    return Optimizer(init, step, lambda state, theta: state["average"], needs)


def _kept(t: Tensor, decay: float | None, correct: bool) -> Tensor | float:
    """The share of the average so far in that of t points."""
    if decay is None:
        return 1 - 1 / t
    return decay * (1 - decay ** (t - 1)) / (1 - decay**t) if correct else decay
