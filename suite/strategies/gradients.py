"""Strategies that change the gradient an optimizer sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from problems.bounds import Positive
from suite.optimizers.base import Optimizer, Oracle, State, optimizer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Changed:
    """An oracle whose gradient passes through ``change``; its values and products are those of the loss."""

    oracle: Oracle
    change: Callable[[Tensor], Tensor]

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, g = self.oracle.gradient(theta)
        return value, self.change(g)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.oracle, name)


def regraded(inner: Optimizer, change: Callable[[Tensor], Tensor]) -> Optimizer:
    """The optimizer with every gradient g that it asks for replaced by ``change(g)``."""

    def init(oracle: Oracle, theta: Tensor) -> State:
        return inner.init(Changed(oracle, change), theta)

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        return inner.step(Changed(oracle, change), state, theta)

    return replace(inner, init=init, step=step)


@optimizer(section="10.11.1", equation="10.48")
def clip(optimizer: Optimizer, norm: Positive = 1.0) -> Optimizer:
    """Clip the gradient's norm: if ‖g‖ > v then g ← g v/‖g‖, where v is ``norm``.

    ‖g‖ is the Euclidean norm over all parameters. Pascanu, Mikolov & Bengio 2013.

    torch.nn.utils.clip_grad_norm_ divides by ‖g‖ + 1e-6, which changes the last digits.
    """
    return regraded(optimizer, lambda g: g * (norm / g.norm()).clamp(max=1.0))
