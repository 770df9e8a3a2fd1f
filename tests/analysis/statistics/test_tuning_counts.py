from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics import expected_best, ranking_changes, running_best, tuning_curves

VALUES = st.lists(st.integers(0, 9), min_size=1, max_size=5)


def enumerated(values: Sequence[float], k: int) -> float:
    """The mean of the best of k, over all n^k ways to draw k trials."""
    return float(np.mean([max(drawn) for drawn in itertools.product(values, repeat=k)]))


@given(VALUES)
def test_the_estimator_is_the_mean_over_all_draws(values: list[int]) -> None:
    found = expected_best(values, "higher")
    assert len(found) == len(values)
    assert found == pytest.approx([enumerated(values, k) for k in range(1, len(values) + 1)])
    assert expected_best([-value for value in values], "lower") == pytest.approx(-found)
    assert (np.diff(found) >= -1e-12).all()


def test_by_hand() -> None:
    """Of 1, 2, 4: with two trials 1/9 · 1 + 3/9 · 2 + 5/9 · 4 = 3."""
    assert expected_best([2, 4, 1], "higher").tolist() == pytest.approx([7 / 3, 3, 1 / 27 + 2 * 7 / 27 + 4 * 19 / 27])


def test_what_is_reported_may_differ_from_what_is_tuned_by() -> None:
    assert expected_best([1, 2], "higher", reported=[10.0, 5.0]).tolist() == pytest.approx([7.5, 0.25 * 10 + 0.75 * 5])
    values = [0.3, 0.1, 0.2]
    assert expected_best(values, "lower", reported=values).tolist() == expected_best(values, "lower").tolist()


def test_trials_that_diverged_count_as_the_worst() -> None:
    assert expected_best([1.0, 3.0, math.inf], "lower").tolist() == expected_best([1.0, 3.0, 3.0], "lower").tolist()
    curves = tuning_curves({"a": [1.0, math.inf], "b": [2.0, 9.0], "c": [1.5]}, "lower")
    assert curves.set_index("contestant").loc["c", ["low", "high"]].isna().all()  # one trial says nothing of others
    assert curves.loc[0, "expected"] == 5.0  # with the worst of all contestants
    assert tuning_curves({"a": [math.inf]}, "lower").empty
    with pytest.raises(ValueError, match="every trial diverged"):
        expected_best([math.inf], "lower")
    with pytest.raises(ValueError, match="none of them NaN"):
        expected_best([math.nan], "lower")


def test_the_best_so_far() -> None:
    assert running_best([3.0, math.inf, 1.0, 2.0], "lower").tolist() == [3.0, 3.0, 1.0, 1.0]
    curves = tuning_curves({"a": [3.0, 1.0, 2.0]}, "lower", sequential=True)
    assert curves["expected"].tolist() == [3.0, 1.0, 1.0]
    assert curves["low"].isna().all()


def test_curves_have_bands_about_them() -> None:
    sample = np.random.default_rng(0).normal(size=20)
    curves = tuning_curves({"a": sample}, "lower")
    assert curves["trials"].tolist() == list(range(1, 21))
    assert (curves["low"] <= curves["expected"]).all() and (curves["expected"] <= curves["high"]).all()
    # one trial's expectation is the mean, whose percentile interval has the width 2·1.96·s/√n
    assert curves.loc[0, "high"] - curves.loc[0, "low"] == pytest.approx(
        2 * 1.96 * sample.std() / math.sqrt(20), rel=0.15
    )


STEADY, FUSSY = [2.0, 2.1, 1.9, 2.0] * 5, [10.0] * 15 + [1.0] * 5


def test_the_budget_at_which_the_ranking_changes() -> None:
    """A fussy contestant does well in a quarter of its trials: E = 1 + 9·(3/4)ᵏ falls below 1.92 from k = 8 on."""
    curves = tuning_curves({"steady": STEADY, "fussy": FUSSY}, "lower")
    changes = ranking_changes(curves, "lower")
    assert changes["first"].tolist() == ["steady", "fussy"]
    assert changes["trials"].tolist() == [1, 8]
    assert 1 + 9 * 0.75**7 > 1.92 > 1 + 9 * 0.75**8
    assert ranking_changes(curves, "higher")["first"].tolist() == ["fussy", "steady"]
