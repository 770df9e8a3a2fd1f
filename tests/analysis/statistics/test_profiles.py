from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics import (
    performance_profile,
    performance_ratios,
    profile_score,
    rank_correlation,
    score_per_budget,
    solved_per_budget,
)

TIMES = pd.DataFrame(
    {"a": [10.0, 20.0, math.inf, math.inf], "b": [20.0, 10.0, 30.0, math.inf], "c": [50.0, 15.0, math.inf, math.inf]},
    index=["p", "q", "r", "s"],
)


def test_by_hand() -> None:
    ratios = performance_ratios(TIMES)
    assert ratios.loc["p"].tolist() == [1, 2, 5]
    assert ratios.loc["r"].tolist() == [math.inf, 1, math.inf]
    assert ratios.loc["s"].tolist() == [math.inf] * 3  # nobody solves it: it counts against everybody
    profile = performance_profile(TIMES)
    assert profile.index.tolist() == [1, 1.5, 2, 5]
    assert profile["a"].tolist() == [0.25, 0.25, 0.5, 0.5]
    assert profile["b"].tolist() == [0.5, 0.5, 0.75, 0.75]
    assert profile["c"].tolist() == [0, 0.25, 0.25, 0.5]
    assert profile_score(TIMES).to_dict() == pytest.approx(
        {"a": (3 + 2) / 3 / 4, "b": (2 + 3 + 3) / 3 / 4, "c": 2.5 / 3 / 4}
    )


@given(st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=3), min_size=1, max_size=5), st.integers(2, 6))
def test_the_score_is_the_integral_of_the_profile(rows: list[list[int]], tau_max: int) -> None:
    times = pd.DataFrame(rows, columns=list("abc")).replace(9, math.inf).astype(float)
    score = profile_score(times, tau_max)
    profile = performance_profile(times, np.unique([1.0, *performance_profile(times).index, tau_max]))
    profile = profile[profile.index <= tau_max]
    area = (profile.iloc[:-1].to_numpy() * np.diff(profile.index)[:, None]).sum(axis=0)  # steps from the left
    assert score.to_numpy() == pytest.approx(area / (tau_max - 1))


def test_budgets_cut_off_what_takes_longer() -> None:
    found = score_per_budget(TIMES, [10, 20, 100])
    assert found.loc[100].to_dict() == profile_score(TIMES).to_dict()
    assert found.loc[10].to_dict() == {"a": 0.25, "b": 0.25, "c": 0}
    solved = solved_per_budget(TIMES, [10, 20, 100])
    assert solved["b"].tolist() == [0.25, 0.5, 0.75]
    assert solved["c"].tolist() == [0, 0.25, 0.5]


def test_a_target_that_a_start_meets_says_nothing_of_speed() -> None:
    times = pd.concat([TIMES, pd.DataFrame({"a": [0.0], "b": [0.0], "c": [10.0]}, index=["trivial"])])
    assert profile_score(times).to_dict() == profile_score(TIMES).to_dict()
    assert performance_profile(TIMES.iloc[:0]).empty or performance_profile(TIMES.iloc[:0]).eq(0).all().all()
    with pytest.raises(ValueError, match="tau_max must be > 1, got 1"):
        profile_score(TIMES, 1)


def test_what_was_not_run_counts_for_and_against_nobody() -> None:
    times = TIMES.assign(d=[math.nan, 5.0, math.nan, math.inf])
    assert performance_ratios(times)["d"].isna().tolist() == [True, False, True, False]
    profile = performance_profile(times)
    assert profile["d"].unique().tolist() == [0.5]  # the quickest of one, of two that it was run on
    assert profile.loc[1.0, ["a", "b"]].tolist() == [0.25, 0.25]  # d is quicker on q than these
    assert profile_score(times)["d"] == 0.5
    assert score_per_budget(times, [5, 100])["d"].tolist() == [0.5, 0.5]
    assert solved_per_budget(times, [4, 5])["d"].tolist() == [0, 0.5]


def test_rank_correlations() -> None:
    scores = pd.DataFrame(
        {"p": [1.0, 2.0, 3.0, math.inf], "q": [10.0, 20.0, 40.0, 30.0], "r": [1.0, np.nan, np.nan, 2.0]}
    )
    kendall = rank_correlation(scores).set_index(["a", "b"])
    assert kendall.loc[("p", "q"), "correlation"] == pytest.approx(4 / 6)  # five pairs agree, one does not
    assert kendall.loc[("p", "q"), "n"] == 4
    assert math.isnan(kendall.loc[("p", "r"), "correlation"]) and kendall.loc[("p", "r"), "n"] == 2
    spearman = rank_correlation(scores, "spearman").set_index(["a", "b"])
    assert spearman.loc[("p", "q"), "correlation"] == pytest.approx(1 - 6 * 2 / (4 * 15))
