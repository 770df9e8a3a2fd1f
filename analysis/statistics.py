"""What tables of runs and traces say: final values, steps to a target, intervals, verdicts.

Pure functions of arrays and of the tidy tables that ``suite.load`` gives; ``traces`` has the
columns ``run``, ``step``, ``measure`` and ``value``. A run that diverged counts with the worst
value there is, +∞ or −∞, so medians stay honest and need no special case.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["higher", "lower"]
Verdict = Literal["better", "worse", "indistinguishable"]
RESAMPLES = 9999
EXACT = 12  # up to so many pairs every assignment of signs is tried


@dataclass(frozen=True)
class Estimate:
    """A median over n runs with its interval; ``low`` and ``high`` are NaN where n = 1 supports none."""

    median: float
    low: float
    high: float
    n: int


def median_interval(values: ArrayLike, level: float = 0.95, seed: int = 0) -> Estimate:
    """The median of a sample with its percentile-bootstrap interval.

    The sample is drawn anew, with replacement, 9999 times; the interval runs from the
    (1 − level)/2 to the (1 + level)/2 quantile of the medians found. Its ends are always such
    medians, never interpolated, so that infinite values are allowed.

    Args:
        values: [n], n ≥ 1; infinities of one sign are allowed, NaN is not.
        level: in (0, 1).

    Raises:
        ValueError: no values, or one is NaN.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample) or np.isnan(sample).any():
        raise ValueError(f"values must be at least one number and none of them NaN, got {sample.tolist()}")
    median = np.median(sample)
    if len(sample) == 1:
        return Estimate(float(median), np.nan, np.nan, 1)
    chosen = np.random.default_rng(seed).integers(0, len(sample), (RESAMPLES, len(sample)))
    medians = np.sort(np.median(sample[chosen], axis=1))
    tail = (1 - level) / 2
    low, high = medians[int(tail * RESAMPLES)], medians[RESAMPLES - 1 - int(tail * RESAMPLES)]
    return Estimate(float(median), float(low), float(high), len(sample))


def verdict(a: Sequence[float], b: Sequence[float], better: Better, level: float = 0.95) -> Verdict:
    """Whether ``a`` is better or worse than ``b``, of which entry i belongs to the same seed.

    A permutation test of the paired differences dᵢ = aᵢ − bᵢ: if neither were better, each
    difference could as well have the other sign. The statistic is Σ sign(dᵢ)·rank(|dᵢ|)
    (Wilcoxon's signed ranks, ties at their mean rank), which an infinite difference (a run
    that diverged) does not upset. All 2ⁿ signs are tried for n ≤ 12, and 9999 random ones
    beyond. The smallest p that n pairs can have is 2/2ⁿ, so fewer than six never support a
    verdict at 95 %.

    Source: Wilcoxon 1945; Good 2005, Permutation, Parametric and Bootstrap Tests, section 3.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a and b must be paired, got {len(first)} and {len(second)} values")
    differences = np.where(first == second, 0.0, first - np.where(first == second, 0.0, second))
    ranks = _signed_ranks(differences[differences != 0])
    if _sign_test(ranks) > 1 - level:
        return "indistinguishable"
    return "better" if (ranks.sum() < 0) == (better == "lower") else "worse"


def _signed_ranks(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    import pandas as pd

    return np.sign(differences) * pd.Series(np.abs(differences)).rank().to_numpy()


def _sign_test(ranks: NDArray[np.float64]) -> float:
    """The two-sided p of a sum of signed ranks under random signs."""
    n = len(ranks)
    if n <= EXACT:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
        extra = 0
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (RESAMPLES, n))
        extra = 1  # the assignment that was observed is one of the possible ones
    sums = np.abs(signs @ np.abs(ranks))
    return float((np.sum(sums >= abs(ranks.sum()) - 1e-9) + extra) / (len(sums) + extra))


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
    return sorted(steps)[needed - 1] if len(steps) >= needed else np.inf
