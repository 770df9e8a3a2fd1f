"""Values of runs, from their traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["higher", "lower"]


def final_values(traces: pd.DataFrame) -> pd.DataFrame:
    """The last value of every measure: one row per run, one column per measure."""
    last = traces.sort_values("step", kind="stable").groupby(["run", "measure"], observed=True)["value"].last()
    return last.unstack("measure")
