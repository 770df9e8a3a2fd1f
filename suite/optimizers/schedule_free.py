"""Schedule-free learning (Defazio et al. 2024): an average of the iterates in place of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Fraction, NonNegative, Positive, log_range
from suite.optimizers.base import Needs, Optimizer, Oracle, State, optimizer, zeros

if TYPE_CHECKING:
    from torch import Tensor

_NEEDS = Needs(averages=True)
NOTHING = 1e-300  # makes 0/0 of rates that have been 0 so far 0, and leaves any other quotient as it is


@optimizer(reference="Defazio et al. 2024, equations 3 to 5", tune={"lr": log_range(1e-4, 10.0)})
def schedule_free_sgd(lr: Positive = 1.0, beta: Fraction = 0.9) -> Optimizer:
    """SGD whose gradient is taken between a fast sequence z and its average x.

    g at y = (1 − β)z + βx, z ← z − εg, x ← (1 − c)x + cz with c = ε²/Σε² (1/t for a constant
    ε, 0 while ε is 0). θ is the average x, the point to evaluate.

    The published code keeps y in the model's parameters and has to be switched to x for evaluation.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        _, g = oracle.gradient((1 - beta) * state["z"] + beta * theta)
        z = state["z"] - lr * g
        total = state["total"] + lr**2
        c = lr**2 / (total + NOTHING)
        return (1 - c) * theta + c * z, {"z": z, "total": total}

    return Optimizer(lambda oracle, theta: {"z": theta.clone(), "total": 0.0}, step, needs=_NEEDS)


@optimizer(reference="Defazio et al. 2024, algorithm 1", tune={"lr": log_range(1e-5, 1.0)})
def schedule_free_adamw(
    lr: Positive = 0.0025,
    beta: Fraction = 0.9,
    rho2: Fraction = 0.999,
    delta: Positive = 1e-8,
    decay: NonNegative = 0.0,
) -> Optimizer:
    """Schedule-free AdamW: as ``schedule_free_sgd`` with steps z ← z − ε(g/(√r̂ + δ) + λy).

    r ← ρ₂r + (1 − ρ₂) g⊙g, r̂ = r/(1 − ρ₂ᵗ); β takes the place of Adam's ρ₁; λ is ``decay``.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        t = state["t"] + 1
        y = (1 - beta) * state["z"] + beta * theta
        _, g = oracle.gradient(y)
        r = rho2 * state["r"] + (1 - rho2) * (g * g)
        z = state["z"] - lr * (g / ((r / (1 - rho2**t)).sqrt() + delta) + decay * y)
        total = state["total"] + lr**2
        c = lr**2 / (total + NOTHING)
        return (1 - c) * theta + c * z, {"t": t, "z": z, "r": r, "total": total}

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"t": 0.0, "z": theta.clone(), "r": zeros(theta), "total": 0.0}

    return Optimizer(init, step, needs=_NEEDS)
