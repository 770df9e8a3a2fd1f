from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics import against_setting, sensitivity


def test_by_hand() -> None:
    """1.0 at 10⁻²; up to 1.05 is good: half of the way to 1.1 at 10⁻¹, and a quarter of that to 1.2 at 10⁻³."""
    found = sensitivity([1e-3, 1e-2, 1e-1, 1.0], [1.2, 1.0, 1.1, math.inf], "lower", within=0.05)
    assert (found.at, found.best) == (1e-2, 1.0)
    assert (found.low, found.high) == pytest.approx((10**-2.25, 10**-1.5))
    assert found.width == pytest.approx(0.75)
    assert (found.share, found.diverged, found.n) == (0.25, 0.25, 4)
    assert not found.open_low and not found.open_high


def test_regions_end_where_trials_diverge_and_may_reach_the_end_of_the_range() -> None:
    found = sensitivity([1.0, 2.0, 3.0, 4.0], [0.9, 0.91, 0.9, -math.inf], "higher", within=0.05, log=False)
    assert (found.low, found.high, found.width) == (1.0, 3.0, 2.0)
    assert found.open_low and not found.open_high
    assert found.share == 0.75


def test_trials_that_differ_in_other_settings_count_with_their_best() -> None:
    found = sensitivity([0.1, 0.1, 1.0, 1.0], [5.0, 1.0, 2.0, math.nan], "lower", within=0.0)
    assert (found.at, found.best) == (0.1, 1.0)
    assert found.width == 0.0
    assert found.share == 0.25


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=12), st.floats(0, 1), st.floats(0, 1))
def test_more_tolerance_never_narrows(values: list[float], one: float, other: float) -> None:
    settings = np.logspace(-4, 0, len(values))
    narrow, wide = (sensitivity(settings, values, "lower", within=w) for w in sorted((one, other)))
    assert narrow.width <= wide.width + 1e-12
    assert narrow.share <= wide.share
    assert settings[0] * 0.999 <= wide.low <= wide.at * 1.001 and wide.at * 0.999 <= wide.high <= settings[-1] * 1.001


def test_all_diverged_and_mistakes() -> None:
    nothing = sensitivity([0.1, 1.0], [math.inf, math.nan], "lower")
    assert math.isnan(nothing.best) and nothing.diverged == 1.0 and nothing.width == 0.0
    with pytest.raises(ValueError, match="logarithmic scale must be > 0, got 0"):
        sensitivity([0.0, 1.0], [1.0, 1.0], "lower")
    with pytest.raises(ValueError, match="one entry per trial"):
        sensitivity([], [], "lower")


def test_the_metric_against_a_setting() -> None:
    trials = pd.DataFrame(
        {"lr": [0.1, 0.1, 0.01, 1.0, 1.0, None], "loss": [3.0, 1.0, 5.0, math.inf, math.nan, 2.0], "other": 1}
    )
    found = against_setting(trials, "lr", "loss")
    assert found.index.tolist() == [0.01, 0.1, 1.0]
    assert found["median"].tolist()[:2] == [5.0, 2.0] and math.isnan(found["median"].iloc[2])
    assert (found["low"].iloc[1], found["high"].iloc[1]) == (1.0, 3.0)
    assert found["diverged"].tolist() == [0, 0, 1]
    assert found["n"].tolist() == [1, 2, 2]
