"""What a setting may be, said once in its annotation.

``lr: Positive`` serves validation, documentation, listing and property tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from problems.names import UsageError


@dataclass(frozen=True)
class Bound:
    """An interval of numbers, each end open or closed: ``str(Bound(0, 1))`` is ``[0, 1]``."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            if self.low == -math.inf:
                return "a finite number"
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        if self.low == -math.inf:
            return f"{'<' if self.open_high else '<='} {self.high:g}"
        left, right = "[("[self.open_low], "])"[self.open_high]
        return f"in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class OneOf:
    """A choice of words."""

    choices: tuple[str, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return "one of " + ", ".join(self.choices)


Positive = Annotated[float, Bound(0, open_low=True, high=math.inf, open_high=True)]
NonNegative = Annotated[float, Bound(0, open_high=True)]
Fraction = Annotated[float, Bound(0, 1, open_high=True)]  # [0, 1): a decay rate
Unit = Annotated[float, Bound(0, 1)]
Real = Annotated[float, Bound(open_low=True, open_high=True)]
Count = Annotated[int, Bound(1)]
Natural = Annotated[int, Bound(0)]
Widths = Annotated[tuple[int, ...], Bound(1)]  # every entry is within the bound


@dataclass(frozen=True)
class Range:
    """Where tuning looks for a setting: an interval on a linear or logarithmic scale."""

    low: float
    high: float
    log: bool

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise UsageError(f"tuning range: need low < high (and low > 0 if logarithmic), got {self}")

    def at(self, fraction: float) -> float:
        """The value that lies ``fraction`` in [0, 1] of the way from low to high."""
        if self.log:
            return float(math.exp(math.log(self.low) + fraction * math.log(self.high / self.low)))
        return self.low + fraction * (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


def log_range(low: float, high: float) -> Range:
    """A tuning range that is searched evenly on a logarithmic scale."""
    return Range(low, high, log=True)


def linear_range(low: float, high: float) -> Range:
    """A tuning range that is searched evenly."""
    return Range(low, high, log=False)
