"""Hyperparameters that change from step to step.

A schedule may stand for any number: ``sgd(lr=linear(0.1, steps=1000))``,
``momentum(lr=0.01, alpha=warmup(0.9, steps=100))``. The optimizer is made anew with the
current values, so every algorithm follows a schedule exactly, the book's momentum
(v ← αv − εg) as well as PyTorch's, and its author need not know of schedules. This is why a
schedule is a value here and not a wrapper around an optimizer: scaling the step that an
optimizer took is another algorithm as soon as it has memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from problems.bounds import Bound, Count, Fraction, Natural, Positive, Real, Unit
from problems.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Schedule = Callable[[int], "float | Tensor"]  # step k = 0, 1, 2, … -> the value at that step


@runtime_checkable
class Hearing(Protocol):
    """A schedule that depends on how training goes, not on the step alone. One stands for all lanes."""

    def __call__(self, step: int) -> float | Tensor: ...

    def hear(self, losses: Tensor) -> None:
        """Told after each step of the losses [lanes] of its minibatches, before θ changed."""

    def follow(self, other: Any, lanes: Sequence[int]) -> None:
        """Go on where some lanes of another one stand, with as many lanes."""


schedule: Registry[Schedule] = Registry("schedule", "suite.schedules", beside=("suite.plateau",))


@schedule()
def constant(value: Real) -> Schedule:
    """The same value at every step."""
    return lambda k: value


@schedule(section="8.3.1", equation="8.14")
def linear(value: Real, end: Fraction = 0.01, steps: Count = 1000) -> Schedule:
    """Linear decay to ε_τ = end·ε₀ after τ = steps, constant from then on.

    ε_k = (1 − α) ε₀ + α ε_τ with α = min(k/τ, 1), where ε₀ is ``value``. The book counts k
    from its first step as here from 0, and suggests ε_τ of about 1 % of ε₀.
    """
    return lambda k: value * (1 - min(k / steps, 1.0) * (1 - end))


@schedule(reference="Loshchilov & Hutter 2017, SGDR, equation 5 with one period")
def cosine(value: Real, steps: Count = 1000, end: Fraction = 0.0) -> Schedule:
    """Half a cosine from ``value`` down to end·value at ``steps``, constant from then on.

    v_k = value · (end + (1 − end) · ½(1 + cos(π min(k/steps, 1)))).
    """
    return lambda k: value * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(k / steps, 1.0))))


@schedule(reference="as torch.optim.lr_scheduler.StepLR")
def step(value: Real, every: Count = 1000, factor: Unit = 0.1) -> Schedule:
    """Multiplied by ``factor`` after each ``every`` steps: v_k = value · factor^⌊k/every⌋."""
    return lambda k: value * factor ** (k // every)


Milestones = Annotated[tuple[int, ...], Bound(1)]


@schedule(reference="as torch.optim.lr_scheduler.MultiStepLR")
def multistep(value: Real, at: Milestones = (1000, 2000), factor: Unit = 0.1) -> Schedule:
    """Multiplied by ``factor`` at each step of ``at``: v_k = value · factor^|{m in at: m ≤ k}|."""
    return lambda k: value * factor ** sum(m <= k for m in at)


@schedule(reference="as torch.optim.lr_scheduler.ExponentialLR with gamma = factor^(1/steps)")
def exponential(value: Real, factor: Positive = 0.1, steps: Count = 1000) -> Schedule:
    """Multiplied by ``factor`` over every ``steps`` steps, evenly: v_k = value · factor^(k/steps)."""
    return lambda k: value * factor ** (k / steps)


@schedule(section="8.3.1", equations="8.12-8.13", reference="Robbins & Monro 1951")
def inverse(value: Real, steps: Count = 1000, power: Positive = 1.0) -> Schedule:
    """A 1/t decay: v_k = value/(1 + k/τ)^power with τ = ``steps``, after which it is 2^−power of ``value``.

    For ½ < power ≤ 1 it satisfies Σ ε_k = ∞ and Σ ε_k² < ∞, which suffices for SGD to converge.
    """
    return lambda k: value / (1 + k / steps) ** power


@schedule(reference="as torch.optim.lr_scheduler.PolynomialLR")
def polynomial(value: Real, steps: Count = 1000, power: Positive = 2.0) -> Schedule:
    """Down to 0 at ``steps``: v_k = value · (1 − min(k/steps, 1))^power."""
    return lambda k: value * (1 - min(k / steps, 1.0)) ** power


@schedule(reference="Loshchilov & Hutter 2017, SGDR, equation 5")
def restarts(value: Real, steps: Count = 1000, growth: Count = 1, end: Fraction = 0.0) -> Schedule:
    """Cosines with warm restarts: ``cosine`` over ``steps`` steps, again over growth·steps, and so on.

    As torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.
    """

    def at(k: int) -> float | Tensor:
        length = steps
        while k >= length:
            k, length = k - length, length * growth
        return cosine(value, length, end)(k)

    return at


@schedule(reference="Smith 2017, triangular policy")
def cyclic(value: Real, steps: Count = 1000, start: Unit = 0.1, decay: Unit = 1.0) -> Schedule:
    """Triangles between start·value and ``value``: up over half of ``steps``, and down again, for ever.

    v_k = value · (start + (1 − start) · decayᶜ · (1 − |2k/steps − 2c − 1|)) in cycle c = ⌊k/steps⌋. As
    torch.optim.lr_scheduler.CyclicLR, ``triangular2`` for decay ½.
    """

    def at(k: int) -> float | Tensor:
        cycle = k // steps
        return value * (start + (1 - start) * decay**cycle * (1 - abs(2 * k / steps - 2 * cycle - 1)))

    return at


@schedule(section="8.3.1", reference="as torch.optim.lr_scheduler.ReduceLROnPlateau in its relative mode for minima")
def reduce_on_plateau(
    value: Real,
    factor: Fraction = 0.1,
    patience: Natural = 10,
    threshold: Fraction = 1e-4,
    every: Count = 100,
    cooldown: Natural = 0,
    end: Unit = 0.0,
) -> Schedule:
    """Multiplied by ``factor`` when the training loss has not fallen for more than ``patience`` looks.

    A look is the mean of the minibatch losses of ``every`` steps, each as its step found it. It has fallen if it is
    below (1 − threshold) times the lowest so far. After a reduction, ``cooldown`` looks are not counted
    against it. The value does not go below end·value.

    torch.optim leaves the measure to its caller, mostly a validation loss after each epoch; here it is the
    training loss, so that a schedule costs no evaluation and a run does not depend on when it is evaluated. torch's
    ``eps``, below which a change is not made, is 0. Of an optimizer that asks for no loss nothing is heard.
    """
    from suite.plateau import Plateau

    return Plateau(value, factor, patience, threshold, every, cooldown, end)


@schedule(reference="Vaswani et al. 2017, equation 3")
def warmup_inverse_sqrt(value: Real, steps: Count = 1000) -> Schedule:
    """A linear rise that reaches ``value`` at ``steps``, then ∝ 1/√k: value · min((k+1)/steps, √(steps/(k+1)))."""
    return lambda k: value * min((k + 1) / steps, (steps / (k + 1)) ** 0.5)


@schedule(reference="Goyal et al. 2017, section 2.2")
def warmup(value: Real, steps: Count = 100, start: Unit = 0.0) -> Schedule:
    """A linear rise that reaches ``value`` at ``steps``, constant from then on.

    v_k = value · (start + (1 − start) · min((k + 1)/steps, 1)); the first step is not wasted
    at zero.
    """
    return lambda k: value * (start + (1 - start) * min((k + 1) / steps, 1.0))


@schedule(section="8.3.2, 8.3.3", reference="Nesterov 1983; Su, Boyd & Candès 2016, equation 2")
def rising(value: Real, steps: Count = 3) -> Schedule:
    """A rise for ever towards ``value``: v_k = value · k/(k + steps), half of it at ``steps``.

    For α: with k/(k + 3) Nesterov momentum at a constant ε lowers the excess error of any smooth convex
    loss as 1/k²; a constant α does so only up to a k, or needs to be told of the condition.
    """
    return lambda k: value * k / (k + steps)


@schedule(reference="Vaswani et al. 2017 warm up, Loshchilov & Hutter 2017 decay")
def warmup_cosine(value: Real, warmup_steps: Count = 100, steps: Count = 1000, end: Fraction = 0.0) -> Schedule:
    """A linear rise over ``warmup_steps``, then half a cosine down to end·value at ``steps``."""
    rise = warmup(value, warmup_steps)
    fall = cosine(value, max(steps - warmup_steps, 1), end)
    return lambda k: rise(k) if k < warmup_steps else fall(k - warmup_steps)


def scheduled(value: float | Tensor, k: int) -> float | Tensor:
    """The value at step k of a number or a schedule."""
    return value(k) if callable(value) else value
