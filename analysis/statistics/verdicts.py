"""Better, worse, indistinguishable: paired exact tests on common seeds, corrected for how many there are.

Two contestants are told apart by Wilcoxon's signed-rank test, whose p is exact if neither is
better: then each difference could as well have the other sign. It asks nothing of the
values' distribution and takes a run that diverged as the worst there is. p is corrected by
Holm's procedure for all pairs of contestants, also where only the comparisons with the best
are shown: which one is best was read from the same values. A verdict rests on the two
contestants alone and not on who else was there (Benavoli, Corani & Mangili 2016).

n pairs have p ≥ 2/2ⁿ, so that few seeds cannot tell anything apart, and the more comparisons
there are the more seeds it takes: six for one comparison at 95 %, ten for 21 (seven
contestants), twelve for 66. Then the outcome is ``too few``, never ``indistinguishable``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.values import Better

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["better", "worse", "indistinguishable", "too few"]
Array = NDArray[np.float64]
EXACT = 200  # pairs up to which the distribution is computed; a normal one is as good beyond
FLIPPED: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Verdict:
    """How one contestant compares with another.

    Args:
        p: two-sided, corrected for the number of comparisons.
        n: the seeds that both have.
        improvement: the probability that a run of the first beats one of the second.
    """

    outcome: Outcome
    p: float
    n: int
    improvement: float

    def flipped(self) -> Verdict:
        """The verdict on the second against the first."""
        return Verdict(FLIPPED.get(self.outcome, self.outcome), self.p, self.n, 1 - self.improvement)


def verdict(a: ArrayLike, b: ArrayLike, better: Better, level: float = 0.95, comparisons: int = 1) -> Verdict:
    """Whether ``a`` is better or worse than ``b``, of which entry i belongs to the same seed.

    Args:
        a, b: [n]; infinite for a run that diverged.
        comparisons: that this is one of; p is multiplied by it (Bonferroni).
    """
    first, second = _pair(a, b)
    p = min(1.0, comparisons * signed_rank_p(first, second))
    return _judged(first, second, better, p, level, comparisons)


def pairwise(values: pd.DataFrame, better: Better, level: float = 0.95) -> pd.DataFrame:
    """The verdicts on all pairs of contestants, corrected together by Holm's procedure.

    Args:
        values: a row for each seed, a column for each contestant; NaN where one was not run.

    Returns:
        A row for each ordered pair: ``a``, ``b``, ``outcome`` of a against b, ``p`` (corrected), ``n``
        (common seeds) and ``improvement``. ``attrs["comparisons"]`` is the number of unordered pairs.
    """
    import pandas as pd

    matrix = values.to_numpy(dtype=np.float64)
    pairs = list(itertools.combinations(range(matrix.shape[1]), 2))
    common = [matrix[~np.isnan(matrix[:, [i, j]]).any(axis=1)][:, [i, j]].T for i, j in pairs]
    corrected = holm([signed_rank_p(a, b) if len(a) else 1.0 for a, b in common])
    rows = []
    for (i, j), (a, b), p in zip(pairs, common, corrected, strict=True):
        found = _judged(a, b, better, p, level, len(pairs))
        for first, second, seen in ((i, j, found), (j, i, found.flipped())):
            rows.append((values.columns[first], values.columns[second], seen.outcome, seen.p, seen.n, seen.improvement))
    table = pd.DataFrame(rows, columns=["a", "b", "outcome", "p", "n", "improvement"])
    table.attrs["comparisons"] = len(pairs)
    return table


def _judged(a: Array, b: Array, better: Better, p: float, level: float, comparisons: int) -> Verdict:
    improvement = probability_of_improvement(a, b, better) if len(a) else math.nan
    if p <= 1 - level:
        ranks = _signed_ranks(a, b)
        outcome: Outcome = "better" if (ranks.sum() < 0) == (better == "lower") else "worse"
    else:
        outcome = "too few" if len(a) < seeds_needed(comparisons, level) else "indistinguishable"
    return Verdict(outcome, p, len(a), improvement)


def signed_rank_p(a: ArrayLike, b: ArrayLike) -> float:
    """The exact two-sided p of Wilcoxon's signed-rank test of paired values.

    With dᵢ = aᵢ − bᵢ ≠ 0 and rᵢ the rank of |dᵢ| (ties at their mean rank), W = Σ sign(dᵢ)rᵢ is compared with
    its distribution over all 2ⁿ signs: p = P(|W*| ≥ |W|). The distribution is built rank by rank;
    beyond 200 pairs it is taken as normal with variance Σ rᵢ².

    Source: Wilcoxon 1945; ties as in Pratt & Gibbons 1981, Concepts of Nonparametric Theory, section 3.7.
    """
    ranks = _signed_ranks(*_pair(a, b))
    if not len(ranks):
        return 1.0
    doubled = np.rint(2 * np.abs(ranks)).astype(np.int64)  # mean ranks are whole or half numbers
    observed = abs(int(np.rint(2 * ranks.sum())))
    if len(ranks) > EXACT:
        return math.erfc(observed / math.sqrt(2.0 * float(np.sum(doubled**2))))
    total = int(doubled.sum())
    share = np.zeros(total + 1)  # of the signs, by the sum of the ranks whose sign is positive
    share[0] = 1.0
    for rank in doubled:
        share[rank:] = (share[rank:] + share[: total + 1 - rank]) / 2
        share[:rank] /= 2
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(share[sums >= observed].sum()))


def holm(p: ArrayLike) -> list[float]:
    """p-values corrected for their number m: max over j ≤ i of (m − j + 1)p₍ⱼ₎ in ascending order, at most 1.

    The probability of any false verdict stays below the level, whatever the tests' dependence.
    Source: Holm 1979.
    """
    found = np.asarray(p, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    grown = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    corrected = np.empty_like(found)
    corrected[order] = np.minimum(grown, 1.0)
    return [float(value) for value in corrected]


def probability_of_improvement(a: ArrayLike, b: ArrayLike, better: Better) -> float:
    """P(a run of ``a`` beats a run of ``b``) + ½ P(they are equal), over all pairs of runs.

    That is the Mann-Whitney statistic over nm. Source: Agarwal et al. 2021, section 4.3.
    """
    first, second = np.asarray(a, dtype=np.float64), np.sort(np.asarray(b, dtype=np.float64))
    below = np.searchsorted(second, first, "left")
    upto = np.searchsorted(second, first, "right")
    higher = float((below + upto).sum() / (2 * len(first) * len(second)))
    return higher if better == "higher" else 1 - higher


def seeds_needed(comparisons: int, level: float = 0.95) -> int:
    """The fewest seeds with which any verdict is possible: the smallest n with m·2/2ⁿ ≤ 1 − level."""
    return math.ceil(math.log2(2 * max(comparisons, 1) / (1 - level)) - 1e-9)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a and b must be paired, got {len(first)} and {len(second)} values")
    return first, second


def _signed_ranks(a: Array, b: Array) -> Array:
    """Of the differences that are not zero; two equal infinities do not differ."""
    from scipy.stats import rankdata

    differ = a != b
    differences = a[differ] - b[differ]
    return np.sign(differences) * rankdata(np.abs(differences))
