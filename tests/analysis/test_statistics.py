from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics import final_values, first_step, median_interval, median_steps, verdict

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9)


def test_interval_is_scipys_percentile_bootstrap() -> None:
    sample = np.random.default_rng(3).normal(size=25)
    ours = median_interval(sample)
    found = scipy.stats.bootstrap((sample,), np.median, method="percentile", n_resamples=9999, rng=1)
    theirs = found.confidence_interval
    assert ours.median == np.median(sample)
    spacing = np.diff(np.sort(sample)).max()
    assert abs(ours.low - theirs.low) <= spacing
    assert abs(ours.high - theirs.high) <= spacing


def test_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    intervals = [median_interval(random.exponential(size=20)) for _ in range(200)]
    covered = sum(interval.low <= math.log(2) <= interval.high for interval in intervals)
    assert 0.90 <= covered / 200 <= 1.0


@given(NUMBERS)
def test_interval_is_made_of_the_sample(values: list[float]) -> None:
    estimate = median_interval(values)
    assert estimate.n == len(values)
    assert min(values) <= estimate.median <= max(values)
    if len(values) > 1:
        assert min(values) <= estimate.low <= estimate.high <= max(values)


def test_one_value_has_no_interval_and_diverged_runs_count_as_worst() -> None:
    assert math.isnan(median_interval([2.0]).low)
    assert median_interval([1.0, 2.0, math.inf]).median == 2.0
    assert median_interval([1.0, math.inf, math.inf]).median == math.inf
    assert median_interval([math.inf] * 3).low == math.inf
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="at least one number and none of them NaN"):
            median_interval(bad)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9))
def test_verdict_is_wilcoxons_signed_rank_test(pairs: list[tuple[int, int]]) -> None:
    a, b = ([float(x) for x in side] for side in zip(*pairs, strict=True))
    differences = np.array([x - y for x, y in pairs if x != y], dtype=float)
    found = verdict(a, b, "lower")
    if len(differences) < 2:  # too few for SciPy
        assert found == "indistinguishable"
        return
    exact = scipy.stats.PermutationMethod(n_resamples=2 ** len(differences))
    p = scipy.stats.wilcoxon(differences, method=exact).pvalue
    assert (found == "indistinguishable") == (p > 0.05)


def test_verdict_has_a_direction_and_knows_when_it_cannot_tell() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 3.5, 5.0, 6.0, 9.0, 9.5]
    assert verdict(low, high, "lower") == "better"
    assert verdict(low, high, "higher") == "worse"
    assert verdict(high, low, "lower") == "worse"
    assert verdict(low[:5], high[:5], "lower") == "indistinguishable"  # p is at least 2/2⁵
    assert verdict(low, [*high[:5], math.inf], "lower") == "better"
    assert verdict([math.inf] * 6, [math.inf] * 6, "lower") == "indistinguishable"
    with pytest.raises(ValueError, match="paired"):
        verdict(low, high[:2], "lower")


def test_verdict_of_many_pairs_keeps_its_level() -> None:
    random = np.random.default_rng(0)
    found = [verdict(*random.normal(size=(2, 20)), "lower") for _ in range(100)]
    assert sum(v != "indistinguishable" for v in found) <= 12
    a = random.normal(size=20)
    assert verdict(a, a + 1.0, "lower") == "better"


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
