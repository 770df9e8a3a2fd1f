"""A claim, what an experiment observes of it, and what follows.

A claim says of each observation in which open interval it lies; what of an experiment was mended after
a first look, its docstring says. It holds if the intervals of all its observations lie within, it does
not hold if one of them lies outside, and is undecided otherwise. The k intervals of a claim hold
together at 95 %, each at 1 − 0.05/k (Bonferroni), so that of claims that are on the edge at most one in
twenty is called right or wrong by chance. An interval is over seeds: where arms are tuned, it is of the
settings that tuning chose, once for all seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analysis.numbers import interval as spread
from analysis.numbers import number
from problems.registry import Registry

if TYPE_CHECKING:
    from analysis.statistics import Estimate
    from suite.claims.lab import Lab

Verdict = Literal["holds", "does not hold", "undecided"]
Statistic = Literal["median", "share", "exact"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "undecided")
SECTIONS = {
    "8.1": "How learning differs from pure optimization",
    "8.2": "Challenges in neural network optimization",
    "8.3": "Basic algorithms",
    "8.4": "Parameter initialization strategies",
    "8.5": "Algorithms with adaptive learning rates",
    "8.6": "Approximate second-order methods",
    "8.7": "Optimization strategies and meta-algorithms",
}
OTHERS = "Others"  # the heading of claims from elsewhere
LEVEL = 0.95  # of all intervals of a claim together


@dataclass(frozen=True)
class Observation:
    """A quantity as it was found, and where the claim says that it lies: in the open interval (above, below).

    Args:
        what: the quantity in words, such as "loss with clipping / without".
        values: one of each seed; of ``exact`` the one that there is, which has no error of sampling.
        statistic: what the claim is about: the ``median`` over seeds, the ``share`` of seeds (values 0 and 1), or
            the value itself.
    """

    what: str
    values: tuple[float, ...]
    above: float = -math.inf
    below: float = math.inf
    statistic: Statistic = "median"

    def __post_init__(self) -> None:
        if not self.values or any(map(math.isnan, self.values)):
            raise ValueError(f"{self.what}: one value of each seed is needed and none may be NaN, got {self.values}")
        if not self.above < self.below or (math.isinf(self.above) and math.isinf(self.below)):
            raise ValueError(f"{self.what}: above must be less than below, and one of them given")

    def estimate(self, level: float) -> Estimate:
        """The quantity with its interval."""
        from analysis.statistics import Estimate, interval, proportion

        if self.statistic == "exact":
            return Estimate(self.values[0], self.values[0], self.values[0], 1, 1.0)
        if self.statistic == "share":
            return proportion(self.values, level)
        return interval(self.values, level=level)

    def verdict(self, level: float) -> Verdict:
        """What the interval says of the claim; an end that touches a bound is outside of an open interval."""
        found = self.estimate(level)
        ends = [(self.above, found.low, found.high), (-self.below, -found.high, -found.low)]
        bounds = [(bound, near, far) for bound, near, far in ends if math.isfinite(bound)]
        if all(near > bound for bound, near, _ in bounds):
            return "holds"
        return "does not hold" if any(far <= bound for bound, _, far in bounds) else "undecided"

    @property
    def claimed(self) -> str:
        """Where the claim says that it lies, in words."""
        if math.isinf(self.below):
            return f"> {self.above:g}"
        return f"< {self.below:g}" if math.isinf(self.above) else f"{self.above:g} to {self.below:g}"

    def shown(self, level: float) -> str:
        """The quantity with its interval, in words."""
        found = self.estimate(level)
        if self.statistic == "share":
            return f"{sum(map(bool, self.values))} of {found.n} [{100 * found.low:.0f} to {100 * found.high:.0f} %]"
        return f"{number(found.value)} {spread(found.low, found.high)}".rstrip() if found.n > 1 else number(found.value)


def typical(what: str, values: Iterable[float], above: float = -math.inf, below: float = math.inf) -> Observation:
    """The median of a quantity over seeds."""
    return Observation(what, tuple(map(float, values)), above, below)


def share(what: str, flags: Iterable[bool], above: float = -math.inf, below: float = math.inf) -> Observation:
    """The share of seeds of which something is true."""
    return Observation(what, tuple(map(float, flags)), above, below, "share")


def exactly(what: str, value: float, above: float = -math.inf, below: float = math.inf) -> Observation:
    """A quantity of which there is but one, without an error over seeds: a closed form, a count over problems."""
    return Observation(what, (float(value),), above, below, "exact")


def heading(section: str) -> str:
    """The section of the chapter that one lies in, with its title; OTHERS for any other."""
    number = ".".join(section.split(".")[:2])
    return f"{number} {SECTIONS[number]}" if number in SECTIONS else OTHERS


def level_of(observations: Sequence[Observation]) -> float:
    """The level of each interval of a claim."""
    return 1 - (1 - LEVEL) / len(observations)


def judged(observations: Sequence[Observation]) -> Verdict:
    """What a claim's observations come to."""
    found = {each.verdict(level_of(observations)) for each in observations}
    if found == {"holds"}:
        return "holds"
    return "does not hold" if "does not hold" in found else "undecided"


Experiment = Callable[["Lab"], Sequence[Observation]]
claim: Registry[Experiment] = Registry("claim", "suite.claims")
