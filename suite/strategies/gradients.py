"""Strategies that change the gradient an optimizer sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from problems.bounds import NonNegative, Positive
from problems.names import UsageError
from suite.optimizers.base import Optimizer, Oracle, State, among, dot, optimizer

if TYPE_CHECKING:
    from torch import Tensor

NO_SLOPE = "a clipped gradient is not the slope of its loss; such a search bounds its steps by itself"


@dataclass(frozen=True)
class Changed:
    """An oracle whose gradient at θ is ``change(oracle, θ, g)``; its values and products are those of the loss.

    The two do not belong together, so it is not for rules that weigh one against the other.
    """

    oracle: Oracle
    change: Callable[[Oracle, Tensor, Tensor], Tensor]

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, g = self.oracle.gradient(theta)
        return value, self.change(self.oracle, theta, g)

    def among(self, active: Tensor) -> Changed:
        return replace(self, oracle=among(self.oracle, active))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.oracle, name)


def regraded(who: str, inner: Optimizer, change: Callable[[Oracle, Tensor, Tensor], Tensor], why: str) -> Optimizer:
    """The optimizer with every gradient g at θ that it asks for replaced by ``change(oracle, θ, g)``.

    Raises:
        UsageError: ``who`` is around a rule that weighs losses against slopes; ``why`` that does not go.
    """
    if inner.needs.searches:
        raise UsageError(
            f"{who}: the optimizer weighs losses against slopes to see how far to go, and {why}; "
            f"put {who} around a rule with a learning rate, as in {who}(sgd)"
        )

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

    Raises:
        UsageError: around a rule with a line search, or another that weighs losses against slopes.
    """
    return regraded("clip", optimizer, lambda oracle, theta, g: g * (norm / g.norm()).clamp(max=1.0), NO_SLOPE)


@optimizer(section="10.11.1", reference="Mikolov 2012")
def clip_value(optimizer: Optimizer, value: Positive = 1.0) -> Optimizer:
    """Clip each entry of the gradient: gᵢ ← min(max(gᵢ, −v), v), where v is ``value``.

    Unlike clipping by the norm it changes the gradient's direction. As
    torch.nn.utils.clip_grad_value_.

    Raises:
        UsageError: as for ``clip``.
    """

    def clipped(oracle: Oracle, theta: Tensor, g: Tensor) -> Tensor:
        import torch

        most = torch.as_tensor(value, device=g.device).to(g.dtype)
        return g.minimum(most).maximum(-most)

    return regraded("clip_value", optimizer, clipped, NO_SLOPE)


@optimizer(section="7.1.1", equation="7.3")
def weight_decay(optimizer: Optimizer, decay: NonNegative = 1e-4) -> Optimizer:
    """L² regularization: the inner optimizer minimizes L(θ) + ½λ‖θ‖², so that g ← g + λθ, where λ is ``decay``.

    Values and products with the Hessian have their share, for line searches and second-order methods; K-FAC's factors
    are those of L alone. The penalty goes through the inner rule, as with torch.optim's ``weight_decay``; decay that
    does not is ``decoupled_decay``. Losses that are recorded are without it.
    """
    inner = optimizer

    def init(oracle: Oracle, theta: Tensor) -> State:
        return inner.init(_Penalized(oracle, decay), theta)

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        return inner.step(_Penalized(oracle, decay), state, theta)

    return replace(inner, init=init, step=step)


@dataclass(frozen=True)
class _Penalized:
    """The oracle of L(θ) + ½λ‖θ‖²."""

    oracle: Oracle
    decay: float

    def value(self, theta: Tensor) -> Tensor:
        return self.oracle.value(theta) + dot(theta, self.decay * theta) / 2

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, g = self.oracle.gradient(theta)
        pull = self.decay * theta
        return value + dot(theta, pull) / 2, g + pull

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        return self.oracle.hvp(theta, v) + self.decay * v

    def ggn(self, theta: Tensor, v: Tensor) -> Tensor:
        return self.oracle.ggn(theta, v) + self.decay * v

    def hessian(self, theta: Tensor) -> Tensor:
        import torch

        return self.oracle.hessian(theta) + self.decay * torch.eye(len(theta), dtype=theta.dtype, device=theta.device)

    def among(self, active: Tensor) -> _Penalized:
        return replace(self, oracle=among(self.oracle, active))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.oracle, name)


@optimizer(section="7.1.1", reference="Loshchilov & Hutter 2019, algorithm 2")
def decoupled_decay(optimizer: Optimizer, decay: NonNegative = 1e-5) -> Optimizer:
    """Weight decay beside the inner rule: θ(t) ← the step from θ(t−1), less λ θ(t−1), where λ is ``decay``.

    The penalty does not pass through the inner optimizer's memory. λ is of a step, whatever the learning
    rate ε, and may follow a schedule of its own; torch.optim.AdamW's ``weight_decay`` is λ/ε, as in ``adamw``.

    Raises:
        UsageError: θ is an average of what the inner rule's steps are made from, which would not decay with it, or what
            is evaluated is an average of points that have not decayed yet.
    """
    inner = optimizer
    if inner.needs.averages:
        raise UsageError(
            "decoupled_decay: the optimizer keeps points that decay of θ would miss, those that it steps from or their "
            "average; put averages outside, as in polyak(decoupled_decay(sgd)), or use its own decay, as in "
            "schedule_free_adamw(decay=0.1), or weight_decay"
        )

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        before = theta if inner.needs.vmap else theta.clone()  # a foreign rule changes theta in place
        moved, state = inner.step(oracle, state, theta)
        return moved - decay * before, state

    return replace(inner, step=step)


@optimizer(reference="Foret et al. 2021, algorithm 1")
def sam(optimizer: Optimizer, rho: Positive = 0.05) -> Optimizer:
    """Sharpness-aware minimization: the inner optimizer sees the gradient at θ + ρ g/‖g‖.

    g is the gradient at θ: two gradients for each that the inner optimizer asks for, on the same
    minibatch. Where g = 0 there is no direction to go in, and the gradient is that at θ.

    Raises:
        UsageError: around a rule with a line search, or another that weighs losses against slopes.
    """

    def worst(oracle: Oracle, theta: Tensor, g: Tensor) -> Tensor:
        size = g.norm()
        return oracle.gradient(theta + rho * (g / size).where(size > 0, 0.0))[1]

    return regraded("sam", optimizer, worst, "the gradient at θ + ρ g/‖g‖ is no loss's slope at θ")
