"""Two ways to do the same, timed side by side: on a shared machine only the ratio means anything."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Time of ``theirs`` over time of ``ours``: above 1, ours is quicker. Median and quartiles over pairs."""

    median: float
    low: float
    high: float
    ours: float  # seconds of the processor, the quickest
    theirs: float

    def __str__(self) -> str:
        times = f"{self.ours * 1e3:.3g} ms against {self.theirs * 1e3:.3g} ms"
        return f"{self.median:.2f}x ({self.low:.2f} to {self.high:.2f}; {times})"


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], pairs: int = 15, warm: bool = True) -> Ratio:
    """Time both by turns, after one call of each to ``warm`` up. Both should take at least some milliseconds."""
    if warm:
        ours(), theirs()
    times = []
    for i in range(pairs):
        first, second = (ours, theirs) if i % 2 else (theirs, ours)
        a, b = _timed(first), _timed(second)
        times.append((a, b) if i % 2 else (b, a))
    ratios = [b / a for a, b in times]
    low, median, high = statistics.quantiles(ratios, n=4)
    return Ratio(median, low, high, min(a for a, _ in times), min(b for _, b in times))


def _timed(action: Callable[[], object]) -> float:
    """Seconds of this process on the processor, which other programs lengthen less than those of a clock."""
    began = time.process_time()
    action()
    return time.process_time() - began
