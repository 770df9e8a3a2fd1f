"""A plain oracle over any function of θ, for tests that need no problem and no lanes engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from problems.layout import Layout
from suite.optimizers.base import Optimizer


class PlainOracle:
    """Values, gradients and Hessian products of a scalar function by ``torch.func``; calls are counted.

    It works on plain tensors and under ``torch.vmap`` alike.
    """

    def __init__(self, loss: Callable[[Tensor], Tensor], layout: Layout | None = None) -> None:
        self.loss = loss
        self.layout = layout
        self.calls: Counter[str] = Counter()

    def value(self, theta: Tensor) -> Tensor:
        self.calls["value"] += 1
        return self.loss(theta)

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        self.calls["gradient"] += 1
        gradient, value = torch.func.grad_and_value(self.loss)(theta)
        return value, gradient

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        self.calls["hvp"] += 1
        return torch.func.vjp(torch.func.grad(self.loss), theta)[1](v)[0]

    def hessian(self, theta: Tensor) -> Tensor:
        self.calls["hvp"] += len(theta)
        return torch.func.jacrev(torch.func.grad(self.loss))(theta)


def path(optimizer: Optimizer, oracle: PlainOracle, theta: Tensor, steps: int) -> list[Tensor]:
    """θ before the first step and after each of ``steps``."""
    theta = theta.clone()
    state = optimizer.init(oracle, theta)
    points = [theta.clone()]
    for _ in range(steps):
        theta, state = optimizer.step(oracle, state, theta)
        points.append(theta.clone())
    return points


def rosenbrock(theta: Tensor) -> Tensor:
    """Σ 100 (θᵢ₊₁ − θᵢ²)² + (1 − θᵢ)², least at θ = 1 (Rosenbrock 1960)."""
    return (100 * (theta[1:] - theta[:-1] ** 2) ** 2 + (1 - theta[:-1]) ** 2).sum()


def quadratic(matrix: Tensor, minimum: Tensor) -> Callable[[Tensor], Tensor]:
    """½(θ − θ*)ᵀA(θ − θ*)."""
    return lambda theta: 0.5 * (theta - minimum) @ matrix @ (theta - minimum)
