from __future__ import annotations

import math

import pandas as pd
import pytest

from analysis.statistics import final_values


@pytest.fixture
def traces() -> pd.DataFrame:
    rows = [
        ("a", 0, "loss", 3.0), ("a", 20, "loss", 1.0), ("a", 10, "loss", 2.0), ("a", 20, "accuracy", 0.5),
        ("b", 0, "loss", 4.0), ("b", 10, "loss", 3.5),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["run", "step", "measure", "value"])


@pytest.mark.parametrize("as_category", [False, True])
def test_final_values_are_those_of_the_last_step(traces: pd.DataFrame, as_category: bool) -> None:
    if as_category:
        traces = traces.astype({"run": "category", "measure": "category"})
    final = final_values(traces)
    assert final.loc["a", "loss"] == 1.0
    assert final.loc["b", "loss"] == 3.5
    assert math.isnan(final.loc["b", "accuracy"])
