from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from analysis.statistics import holm, pairwise, probability_of_improvement, seeds_needed, signed_rank_p, verdict


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9))
def test_p_is_that_of_wilcoxon_s_test_over_all_signs(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    differences = np.array([x - y for x, y in pairs if x != y], dtype=float)
    found = signed_rank_p(a, b)
    if len(differences) < 2:  # too few for SciPy
        assert found == 1.0
        return
    exact = scipy.stats.PermutationMethod(n_resamples=2 ** len(differences))
    assert found == pytest.approx(scipy.stats.wilcoxon(differences, method=exact).pvalue)


@pytest.mark.parametrize("n", [3, 15, 50, 200, 400])
def test_p_is_scipy_s_where_there_are_no_ties(n: int) -> None:
    a, b = np.random.default_rng(n).normal(size=(2, n)) + np.array([[0.2], [0.0]])
    how = "exact" if n < 200 else "approx"
    assert signed_rank_p(a, b) == pytest.approx(scipy.stats.wilcoxon(a, b, method=how).pvalue, rel=0.01)


def test_p_of_pairs_that_do_not_differ_is_one() -> None:
    assert signed_rank_p([1.0, math.inf], [1.0, math.inf]) == 1.0
    assert signed_rank_p([], []) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=15)  # statsmodels looks at every frame of the stack, which takes a while
def test_holm_is_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_improvement_is_mann_whitney_s(a: list[int], b: list[int]) -> None:
    u = scipy.stats.mannwhitneyu(a, b).statistic
    assert probability_of_improvement(a, b, "higher") == pytest.approx(u / (len(a) * len(b)))
    assert probability_of_improvement(a, b, "lower") == pytest.approx(1 - u / (len(a) * len(b)))


def test_verdicts_have_a_direction_and_know_when_they_cannot_tell() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 3.5, 5.0, 6.0, 9.0, 9.5]
    found = verdict(low, high, "lower")
    assert (found.outcome, found.p, found.n) == ("better", 2 / 2**6, 6)
    assert found.improvement == pytest.approx(probability_of_improvement(low, high, "lower"))
    assert verdict(low, high, "higher").outcome == "worse"
    assert verdict(high, low, "lower").outcome == "worse"
    assert verdict(low[:5], high[:5], "lower").outcome == "too few"  # p is at least 2/2⁵
    assert verdict(low, high, "lower", comparisons=2).outcome == "too few"
    assert verdict(low, low[::-1], "lower").outcome == "indistinguishable"
    assert verdict(low, [*high[:5], math.inf], "lower").outcome == "better"
    assert verdict([math.inf] * 6, [math.inf] * 6, "lower").outcome == "indistinguishable"
    with pytest.raises(ValueError, match="paired"):
        verdict(low, high[:2], "lower")


def test_seeds_needed() -> None:
    assert [seeds_needed(m) for m in (1, 21, 66)] == [6, 10, 12]
    for m in range(1, 100):
        n = seeds_needed(m)
        assert m * 2 / 2**n <= 0.05 < m * 2 / 2 ** (n - 1)


def test_all_pairs_are_corrected_together() -> None:
    random = np.random.default_rng(0)
    values = pd.DataFrame(random.normal(size=(15, 4)) + np.array([0.0, 0.1, 2.0, 4.0]), columns=list("abcd"))
    values.loc[[3, 9], "b"] = np.nan
    table = pairwise(values, "lower")
    assert table.attrs["comparisons"] == 6
    one_way = table[table["a"] < table["b"]]
    complete = [values[[r.a, r.b]].dropna() for r in one_way.itertuples()]
    raw = [scipy.stats.wilcoxon(pair.iloc[:, 0], pair.iloc[:, 1], method="exact").pvalue for pair in complete]
    assert one_way["p"].tolist() == pytest.approx(multipletests(raw, method="holm")[1])
    assert one_way["n"].tolist() == [13, 15, 15, 13, 13, 15]
    outcomes = table.pivot(index="a", columns="b", values="outcome")
    assert outcomes.loc["a", "d"] == "better" and outcomes.loc["d", "a"] == "worse"
    assert outcomes.loc["a", "b"] == "indistinguishable"
    improvement = table.pivot(index="a", columns="b", values="improvement")
    assert improvement.loc["a", "c"] + improvement.loc["c", "a"] == pytest.approx(1)


def test_contestants_without_common_seeds_are_not_judged() -> None:
    table = pairwise(pd.DataFrame({"a": [1.0, math.nan], "b": [math.nan, 2.0]}), "lower")
    assert table["outcome"].tolist() == ["too few"] * 2
    assert table["n"].tolist() == [0, 0]
    assert pairwise(pd.DataFrame({"a": [1.0]}), "lower").empty


# the promise ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 10, 30])
@pytest.mark.parametrize(("contestants", "samples"), [(2, 1500), (4, 500), (8, 150)])
def test_false_verdicts_are_rare_when_nothing_differs(n: int, contestants: int, samples: int) -> None:
    random = np.random.default_rng(n)
    false = 0
    for _ in range(samples):
        seeds = random.exponential(size=(n, 1))  # what the contestants share
        table = pairwise(pd.DataFrame(seeds + random.normal(size=(n, contestants))), "lower")
        false += bool(table["outcome"].isin(["better", "worse"]).any())
    assert false / samples <= 0.05 + 1.64 * math.sqrt(0.05 * 0.95 / samples)


def test_the_best_of_many_equals_is_seldom_called_better() -> None:
    """The best is chosen by the same values: its comparisons alone, uncorrected for that, err twice as often."""
    random, false = np.random.default_rng(0), 0
    for _ in range(300):
        values = pd.DataFrame(random.normal(size=(12, 6)))
        table = pairwise(values, "lower")
        of_best = table[table["a"] == values.median().idxmin()]
        false += bool((of_best["outcome"] == "better").any())
    assert false / 300 <= 0.05


def test_differences_are_found() -> None:
    random = np.random.default_rng(0)
    values = pd.DataFrame(random.normal(size=(15, 6)) + 3.0 * np.arange(6))
    table = pairwise(values, "higher")
    found = table[table["b"] == 5].sort_values("a")["outcome"].tolist()
    assert found == ["worse"] * 5
