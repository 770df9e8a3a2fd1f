"""The line search of Nocedal & Wright (1999, algorithms 3.5 and 3.6), which can be told what else a point must meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from suite.optimizers.base import Oracle, State, among, dot, either, repeat
from suite.optimizers.line_search import Taken, promising

if TYPE_CHECKING:
    from torch import Tensor

ROUNDS = 10  # trial points that double the length, and interpolations after the first


class _Interval(NamedTuple):
    """Where to look next, and between which lengths: until ``zooming`` the last trial and whatever lies beyond it."""

    length: Tensor
    low: tuple[Tensor, Tensor, Tensor]  # length, loss and slope at the end with the lower loss
    high: tuple[Tensor, Tensor]
    former: tuple[Tensor, Tensor]  # the end that was given up last
    zooming: Tensor
    rounds: Tensor

    def narrowed(self, trial: Tensor, slope: Tensor, too_high: Tensor) -> _Interval:
        """The interval after a trial at ``length`` that did not end the search."""
        import torch

        here = (self.length, trial, slope)
        turns = torch.where(self.zooming, slope * (self.high[0] - self.low[0]) >= 0, slope >= 0)
        behind = turns | too_high  # the minimum lies between the low end and the trial
        high = either(too_high, here[:2], either(turns, self.low[:2], self.high))
        low = either(too_high, self.low, here)
        former = either(behind, self.high, self.low[:2])
        fresh = ~self.zooming & behind
        rounds = torch.where(fresh, 0.0, self.rounds + 1)
        following = torch.where(self.zooming | behind, _interpolated(low, high, former, fresh), 2 * self.length)
        return _Interval(following, low, high, former, self.zooming | behind, rounds)

    @property
    def exhausted(self) -> Tensor:
        return self.rounds >= ROUNDS + 1 * self.zooming


def _interpolated(
    low: tuple[Tensor, Tensor, Tensor], high: tuple[Tensor, Tensor], former: tuple[Tensor, Tensor], first: Tensor
) -> Tensor:
    """The minimum of a cubic through three points; else, or at ``first``, of a parabola through two; else halfway.

    Each must keep a distance from the ends of the interval: a fifth of its width, or a tenth.
    """
    import torch

    (a, fa, da), (b, fb), (c, fc) = low, high, former
    width = b - a
    left, right = a.minimum(b), a.maximum(b)
    # f = A x³ + B x² + da x + fa in x from the low end
    x, y = b - a, c - a
    rise, other = (fb - fa - da * x) / (x * x), (fc - fa - da * y) / (y * y)
    third = (rise - other) / (x - y)
    second = rise - third * x
    cubic = a + (-second + (second * second - 3 * third * da).sqrt()) / (3 * third)
    parabola = a - da / (2 * rise)

    def inside(point: Tensor, share: float) -> Tensor:
        margin = share * width  # negative where the low end is the right one: as in SciPy, no margin then
        return point.isfinite() & (point <= right - margin) & (point >= left + margin)

    good = inside(cubic, 0.2) & ~first
    return torch.where(good, cubic, torch.where(inside(parabola, 0.1), parabola, a + 0.5 * width))


def zoom(
    oracle: Oracle,
    theta: Tensor,
    value: Tensor,
    g: Tensor,
    d: Tensor,
    first: Tensor,
    accepts: Callable[[Tensor, Tensor], Tensor],
    decrease: float = 1e-4,
    curvature: float = 0.9,
) -> Taken:
    """A point that meets the strong Wolfe conditions and ``accepts(length, gradient)``.

    Lengths are doubled until an interval must hold such a point, which is then narrowed. As
    SciPy's ``line_search``, but that a loss that is not finite counts as too high.
    """
    import torch

    slope = dot(g, d)
    zero = torch.zeros_like(slope)
    active = promising(theta, value, first * d, first * slope)
    taken = Taken(zero, zero + value, g, ~active)
    origin = (zero, zero + value)
    interval = _Interval(zero + first, (*origin, slope), origin, origin, zero > 0, zero)

    def look(state: State, active: Tensor) -> tuple[State, Tensor]:
        interval, taken = state
        trial, gradient = among(oracle, active).gradient(theta + interval.length * d)
        steep = dot(gradient, d)
        low = trial <= value + decrease * interval.length * slope
        good = low & (trial < interval.low[1]) & (steep.abs() <= -curvature * slope)
        good = good & accepts(interval.length, gradient)
        here = Taken(interval.length, trial, gradient, good)
        taken = either(active & (good | (low & (trial < taken.value))), here, taken)
        narrowed = interval.narrowed(trial, steep, ~(low & (trial < interval.low[1])))
        active = active & ~good
        interval = either(active, narrowed, interval)
        return (interval, taken), active & ~interval.exhausted

    return repeat(look, (interval, taken), active, 2 * (ROUNDS + 2))[1]
