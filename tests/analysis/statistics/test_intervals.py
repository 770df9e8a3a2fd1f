from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics import Statistic, aggregate, interval, proportion

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda random, shape: random.normal(size=shape),
    "exponential": lambda random, shape: random.exponential(size=shape),
    "lognormal": lambda random, shape: random.lognormal(sigma=0.5, size=shape),
    "heavy-tailed": lambda random, shape: random.standard_t(3, size=shape),
}
TRUE = {
    "median": {"normal": 0.0, "exponential": math.log(2), "lognormal": 1.0, "heavy-tailed": 0.0},
    "mean": {"normal": 0.0, "exponential": 1.0, "lognormal": math.exp(0.125), "heavy-tailed": 0.0},
}


def coverage(statistic: Statistic, distribution: str, n: int, true: float, samples: int) -> float:
    drawn = DISTRIBUTIONS[distribution](np.random.default_rng(n), (samples, n))
    found = (interval(sample, statistic, seed=i) for i, sample in enumerate(drawn))
    return sum(one.low <= true <= one.high for one in found) / samples


# the promise ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 10, 30])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_intervals_of_medians_cover_whatever_the_distribution(distribution: str, n: int) -> None:
    assert 0.93 <= coverage("median", distribution, n, TRUE["median"][distribution], 3000) <= 0.97


@pytest.mark.parametrize("n", [3, 5])
def test_intervals_of_means_cover_with_few_normal_values(n: int) -> None:
    assert 0.93 <= coverage("mean", "normal", n, 0.0, 3000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 30])
@pytest.mark.parametrize("distribution", ["normal", "exponential", "lognormal"])
def test_intervals_of_means_cover_with_ten_values_even_skewed_ones(distribution: str, n: int) -> None:
    assert 0.93 <= coverage("mean", distribution, n, TRUE["mean"][distribution], 800) <= 0.97


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_intervals_of_interquartile_means_cover(n: int) -> None:
    assert 0.93 <= coverage("iqm", "normal", n, 0.0, 3000) <= 0.97
    if n >= 5:  # with three nothing is cut off, and the heavy tails are those of a mean
        assert 0.93 <= coverage("iqm", "heavy-tailed", n, 0.0, 3000) <= 0.97
    if n == 30:  # ∫ of the exponential's middle half: 2[(1 + x)e⁻ˣ] from ln 4/3 to ln 4
        low, high = math.log(4 / 3), math.log(4)
        true = 2 * ((1 + low) * 0.75 - (1 + high) * 0.25)
        assert 0.93 <= coverage("iqm", "exponential", n, true, 3000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10, 30])
@pytest.mark.parametrize(("statistic", "spread"), [("median", 1.0), ("mean", 1.5), ("iqm", 1.25)])
def test_aggregates_over_problems_cover(statistic: Statistic, n: int, spread: float) -> None:
    """Six problems whose values are about different centres, and some more scattered than others."""
    random = np.random.default_rng(n)
    centre, scale = 0.3 * np.arange(6)[:, None], spread ** (np.array([0, 2, 4, 4, 2, 0]))[:, None]  # about 0.75
    drawn = random.normal(size=(400, 6, n)) * scale + centre
    found = [aggregate(list(sample), statistic, seed=i) for i, sample in enumerate(drawn)]
    assert 0.92 <= np.mean([one.low <= 0.75 <= one.high for one in found]) <= 0.98  # ± 0.011 for 400 samples


# the methods ----------------------------------------------------------------------------


@given(st.integers(5, 40), st.integers(0, 5))
def test_median_s_interval_lies_within_scipy_s_conservative_one(n: int, seed: int) -> None:
    sample = np.random.default_rng(seed).exponential(size=n)
    found = interval(sample)
    theirs = scipy.stats.quantile_test(sample, q=np.median(sample), p=0.5).confidence_interval(0.93)
    assert found.value == np.median(sample)
    if n > 5:
        theirs = scipy.stats.quantile_test(sample, q=np.median(sample), p=0.5).confidence_interval(0.95)
    assert theirs.low <= found.low <= found.value <= found.high <= theirs.high


def test_median_s_interval_by_hand() -> None:
    """n = 10: [x₂, x₉] covers 1 − 2·11/1024 = 0.9785, [x₃, x₈] 1 − 2·56/1024 = 0.8906.

    (0.9785 − 0.95)/(0.9785 − 0.8906) = 0.3244, λ = 8·0.3244/(2 + 6·0.3244) = 0.6576.
    """
    found = interval(np.arange(1.0, 11.0))
    assert found.low == pytest.approx(2.6576, abs=1e-4)
    assert found.high == pytest.approx(8.3424, abs=1e-4)
    assert found.level == 0.95


def test_what_too_few_values_cannot_hold_is_not_claimed() -> None:
    for n in (1, 2, 3, 4):
        found = interval(np.arange(n), "median")
        assert math.isnan(found.low) and math.isnan(found.high) and math.isnan(found.level)
        assert found.n == n
    assert math.isnan(interval([1.0], "mean").low)
    assert math.isnan(interval([1.0], "iqm").low)
    five = interval([3.0, 1.0, 2.0, 5.0, 4.0])
    assert (five.low, five.high, five.level) == (1.0, 5.0, 1 - 2 / 2**5)
    assert interval(np.arange(3), level=0.7).level == 0.7


def test_means_are_student_s_t_and_the_studentized_bootstrap() -> None:
    sample = np.random.default_rng(0).normal(size=6)
    theirs = scipy.stats.ttest_1samp(sample, 0.0).confidence_interval(0.95)
    found = interval(sample, "mean")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    many = np.random.default_rng(0).normal(size=400)  # the two agree where the sample is large
    theirs = scipy.stats.ttest_1samp(many, 0.0).confidence_interval(0.95)
    found = interval(many, "mean")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    skewed = np.random.default_rng(0).exponential(size=20)
    found = interval(skewed, "mean")
    assert found.high - found.value > 1.2 * (found.value - found.low)
    nine, ten = interval(skewed[:9], "mean"), interval(skewed[:10], "mean")
    assert nine.high - nine.value == pytest.approx(nine.value - nine.low)  # Student's t up to nine
    assert ten.high - ten.value > 1.2 * (ten.value - ten.low)


def test_interquartile_means_are_scipy_s_trimmed_ones() -> None:
    for n in (3, 5, 10, 33):
        sample = np.random.default_rng(n).normal(size=n)
        assert interval(sample, "iqm").value == pytest.approx(scipy.stats.trim_mean(sample, 0.25))
    many = np.random.default_rng(0).normal(size=400)
    found = interval(many, "iqm")
    winsorized = scipy.stats.mstats.winsorize(many, (0.25, 0.25)).std(ddof=1) / (0.5 * math.sqrt(400))
    assert (found.high - found.low) / 2 == pytest.approx(scipy.stats.t.ppf(0.975, 199) * winsorized, rel=0.02)


def test_equal_values_have_an_interval_of_no_width() -> None:
    for statistic in ("median", "mean", "iqm"):
        found = interval([0.1] * 12, statistic)
        assert found.low == pytest.approx(0.1) == found.high


@given(NUMBERS)
def test_median_s_interval_is_within_the_sample(values: list[float]) -> None:
    found = interval(values)
    assert found.n == len(values)
    assert min(values) <= found.value <= max(values)
    if len(values) >= 5:
        assert min(values) <= found.low <= found.value <= found.high <= max(values)


@given(NUMBERS, st.sampled_from(["median", "mean", "iqm"]))
def test_intervals_mirror_their_samples(values: list[float], statistic: Statistic) -> None:
    one, other = interval(values, statistic), interval([-value for value in values], statistic)
    assert one.value == pytest.approx(-other.value)
    if statistic != "mean" or len(values) < 10:  # resamples are drawn by place
        assert one.low == pytest.approx(-other.high, nan_ok=True)


def test_diverged_runs_count_as_worst() -> None:
    assert interval([1.0, 2.0, math.inf]).value == 2.0
    assert interval([math.inf] * 6).low == math.inf
    some = interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf])
    assert some.value == 4.5
    assert some.high == math.inf
    mean = interval([1.0, 2.0, math.inf], "mean")
    assert mean.value == math.inf and math.isnan(mean.low)
    middle = interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf], "iqm")
    assert middle.value == 4.5 and math.isfinite(middle.high)


@pytest.mark.parametrize("n", [6, 7, 10, 15, 30])
def test_a_finite_median_is_seldom_called_infinite(n: int) -> None:
    """Where half of all runs diverge, the median is the worst of the others, and m of n are finite by a fair coin."""
    told = [math.isinf(interval([*range(m), *[math.inf] * (n - m)]).low) for m in range(n + 1)]
    assert scipy.stats.binom.pmf(np.arange(n + 1), n, 0.5)[told].sum() <= 0.025
    mirrored = [math.isinf(interval([*range(m), *[-math.inf] * (n - m)]).high) for m in range(n + 1)]
    assert told == mirrored


def test_aggregates_are_stratified_and_say_where_they_have_no_interval() -> None:
    random = np.random.default_rng(0)
    far_apart = [random.normal(size=10) + 100 * k for k in range(5)]
    found = aggregate(far_apart, "mean")
    assert found.value == pytest.approx(np.concatenate(far_apart).mean())
    assert found.n == 50
    expected = 2 * scipy.stats.t.ppf(0.975, 45) * np.sqrt(sum(s.var(ddof=1) / 10 for s in far_apart)) / 5
    assert found.high - found.low == pytest.approx(expected, rel=0.05)  # the distance between problems is no noise
    few = [np.array([0.0, 1.0, 2.0]) * scale for scale in (1, 2)]  # v = 1/3 and 4/3, each of 2 degrees of freedom
    freedom = (5 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    reach = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(5 / 3) / 2
    assert aggregate(few, "mean").high == pytest.approx(1.5 + reach, rel=0.05)
    many = [random.normal(size=1500) for _ in range(2)]  # so many are drawn in blocks
    expected = 2 * 1.96 * np.sqrt(sum(s.var() / 1500 for s in many)) / 2
    found = aggregate(many, "mean")
    assert found.high - found.low == pytest.approx(expected, rel=0.1)
    assert aggregate(far_apart[:1], "mean") == interval(far_apart[0], "mean")
    assert math.isnan(aggregate([*far_apart, [1.0]]).low)
    assert math.isnan(aggregate([*far_apart, [1.0, math.inf]]).low)
    assert aggregate([[2.0] * 3, [2.0] * 3]).high == 2.0


@pytest.mark.parametrize(("successes", "n"), [(0, 9), (3, 8), (14, 15), (20, 20)])
@pytest.mark.parametrize("level", [0.95, 0.975])
def test_proportions_are_those_of_statsmodels(successes: int, n: int, level: float) -> None:
    stats = pytest.importorskip("statsmodels.stats.proportion")
    found = proportion([True] * successes + [False] * (n - successes), level)
    assert (found.value, found.n, found.level) == (successes / n, n, level)
    expected = stats.proportion_confint(successes, n, 1 - level, method="beta")
    assert (found.low, found.high) == pytest.approx(expected)


def test_proportions_are_of_flags() -> None:
    for wrong in ([], [0.5], [math.nan], [[True]]):
        with pytest.raises(ValueError, match="flags must be at least one"):
            proportion(wrong)


def test_mistakes_are_told() -> None:
    for bad in ([], [1.0, math.nan], [[1.0]]):
        with pytest.raises(ValueError, match="at least one number and none of them NaN"):
            interval(bad)
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\), got 95"):
        interval([1.0], level=95)
    with pytest.raises(ValueError, match="strata must be one or more samples"):
        aggregate([])
