"""Rules that go by the signs of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Fraction, NonNegative, Positive, log_range
from suite.optimizers.base import Needs, Optimizer, State, first_order, optimizer, zeros

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(section="8.5", reference="Jacobs 1988", tune={"lr": log_range(1e-5, 1.0)})
def delta_bar_delta(
    lr: Positive = 0.01, up: NonNegative = 0.001, down: Fraction = 0.2, memory: Fraction = 0.7
) -> Optimizer:
    """Delta-bar-delta: each parameter's rate grows while its gradient keeps its sign and shrinks when it turns.

    Rates εᵢ start at ``lr``. At each step first εᵢ ← εᵢ + κ where ḡᵢgᵢ > 0 (κ is ``up``),
    εᵢ ← (1 − φ)εᵢ where ḡᵢgᵢ < 0 (φ is ``down``), then θ ← θ − ε ⊙ g with these rates, then the running
    mean ḡ ← (1 − μ)g + μḡ, 0 at first (μ is ``memory``). Meant for the full batch: with minibatches signs
    change by chance.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        agrees = state["mean"] * g
        rate = (state["rate"] + up).where(agrees > 0, state["rate"])
        rate = ((1 - down) * rate).where(agrees < 0, rate)
        mean = (1 - memory) * g + memory * state["mean"]
        return theta - rate * g, {"rate": rate, "mean": mean}

    made = first_order(lambda theta: {"rate": zeros(theta) + lr, "mean": zeros(theta)}, update)
    return Optimizer(made.init, made.step, needs=Needs(full_batch=True))


@optimizer(section="8.5", reference="Riedmiller & Braun 1993", tune={"lr": log_range(1e-5, 1.0)})
def rprop(
    lr: Positive = 0.01,
    down: Fraction = 0.5,
    up: Positive = 1.2,
    least: Positive = 1e-6,
    most: Positive = 50.0,
) -> Optimizer:
    """Resilient propagation: steps whose size depends on signs alone, θ ← θ − Δ ⊙ sign(g).

    Step sizes Δ start at ``lr``; where g keeps its sign Δ ← min(``up``·Δ, ``most``), where it
    turns Δ ← max(``down``·Δ, ``least``) and this parameter waits for one step. Full batch.
    As torch.optim.Rprop.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        agrees = state["g"] * g
        size = (up * state["size"]).where(agrees > 0, state["size"])
        size = (down * state["size"]).where(agrees < 0, size)
        size = size.maximum(zeros(size) + least).minimum(zeros(size) + most)
        g = g.where(agrees >= 0, 0.0)
        return theta - size * g.sign(), {"g": g, "size": size}

    made = first_order(lambda theta: {"g": zeros(theta), "size": zeros(theta) + lr}, update)
    return Optimizer(made.init, made.step, needs=Needs(full_batch=True))


@optimizer(reference="Chen et al. 2023, algorithm 2", tune={"lr": log_range(1e-6, 0.1)})
def lion(lr: Positive = 1e-4, rho1: Fraction = 0.9, rho2: Fraction = 0.99, decay: NonNegative = 0.0) -> Optimizer:
    """Lion: θ ← θ − ε(sign(ρ₁s + (1 − ρ₁)g) + λθ), then s ← ρ₂s + (1 − ρ₂)g.

    s is the momentum, 0 at first; λ is ``decay``.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        direction = (rho1 * state["s"] + (1 - rho1) * g).sign()
        s = rho2 * state["s"] + (1 - rho2) * g
        return theta - lr * (direction + decay * theta), {"s": s}

    return first_order(lambda theta: {"s": zeros(theta)}, update)
