from __future__ import annotations

import math

import pandas as pd
import pytest

from analysis.statistics import final_values, first_step, median_steps


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


def test_first_step_and_its_median(traces: pd.DataFrame) -> None:
    assert first_step(traces, "loss", 2.0, "lower").to_dict() == {"a": 10.0}
    assert first_step(traces, "loss", 3.5, "lower").to_dict() == {"a": 0.0, "b": 10.0}
    assert first_step(traces, "loss", 3.5, "higher").to_dict() == {"b": 0.0}
    assert first_step(traces, "accuracy", 0.6, "higher").empty
    assert median_steps([30.0, 10.0, 20.0], 3) == 20.0
    assert median_steps([30.0, 10.0], 3) == 30.0
    assert median_steps([10.0], 3) == math.inf
    assert median_steps([10.0, 20.0], 4) == 20.0
