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
from collections.abc import Callable
from typing import TYPE_CHECKING

from problems.bounds import Count, Fraction, Real, Unit
from problems.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Schedule = Callable[[int], "float | Tensor"]  # step k = 0, 1, 2, … -> the value at that step

schedule: Registry[Schedule] = Registry("schedule", "suite.schedules")


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


@schedule(reference="Goyal et al. 2017, section 2.2")
def warmup(value: Real, steps: Count = 100, start: Unit = 0.0) -> Schedule:
    """A linear rise that reaches ``value`` at ``steps``, constant from then on.

    v_k = value · (start + (1 − start) · min((k + 1)/steps, 1)); the first step is not wasted
    at zero.
    """
    return lambda k: value * (start + (1 - start) * min((k + 1) / steps, 1.0))


@schedule(reference="Vaswani et al. 2017 warm up, Loshchilov & Hutter 2017 decay")
def warmup_cosine(value: Real, warmup_steps: Count = 100, steps: Count = 1000, end: Fraction = 0.0) -> Schedule:
    """A linear rise over ``warmup_steps``, then half a cosine down to end·value at ``steps``."""
    rise = warmup(value, warmup_steps)
    fall = cosine(value, max(steps - warmup_steps, 1), end)
    return lambda k: rise(k) if k < warmup_steps else fall(k - warmup_steps)


def scheduled(value: float | Tensor, k: int) -> float | Tensor:
    """The value at step k of a number or a schedule."""
    return value(k) if callable(value) else value
