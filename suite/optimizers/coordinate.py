"""Coordinate descent (section 8.7.2) with the exact step for each coordinate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Positive
from suite.optimizers.base import Needs, Optimizer, Oracle, State, dot, optimizer

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(section="8.7.2", slow=True)
def coordinate_descent(lr: Positive = 1.0) -> Optimizer:
    """Coordinate descent: minimize the loss over θ₀, then over θ₁, and so on, one at each step, round and round.

    θᵢ ← θᵢ − ε gᵢ/|Hᵢᵢ|, with ε = 1 the exact minimum along coordinate i on a quadratic, where it is
    the Gauss–Seidel method. Where the loss has no curvature along i, θᵢ stays. One product
    with the Hessian a step; full batch. For blocks and other inner steps see ``blocks``.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        _, g = oracle.gradient(theta)
        unit = (torch.arange(len(theta), device=theta.device) == state["t"] % len(theta)).to(theta.dtype)
        curvature = dot(unit, oracle.hvp(theta, unit)).abs()
        away = (dot(g, unit) / curvature).where(curvature > 0, 0.0)
        return theta - lr * away * unit, {"t": state["t"] + 1}

    return Optimizer(lambda oracle, theta: {"t": 0.0}, step, needs=Needs(full_batch=True))
