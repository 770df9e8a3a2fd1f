"""Values of runs, from their traces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["higher", "lower"]


def final_values(traces: pd.DataFrame) -> pd.DataFrame:
    """The last value of every measure: one row per run, one column per measure."""
    last = traces.sort_values("step", kind="stable").groupby(["run", "measure"], observed=True)["value"].last()
    return last.unstack("measure")


def first_step(traces: pd.DataFrame, measure: str, value: float, better: Better) -> pd.Series[float]:
    """The first step at which a measure is at least as good as a value, by run; runs that never get there are absent.

    Its resolution is that of the trace: a target met between two evaluations counts from the later one.
    """
    of_measure = traces[traces["measure"] == measure]
    met = of_measure["value"] >= value if better == "higher" else of_measure["value"] <= value
    return of_measure[met].groupby("run", observed=True)["step"].min().astype("float64")


def median_steps(steps: Sequence[float], n: int) -> float:
    """The step by which at least half of n runs were there, of the steps of those that got there.

    Infinite if fewer than half did.
    """
    needed = (n + 1) // 2
    return sorted(steps)[needed - 1] if len(steps) >= needed else math.inf
