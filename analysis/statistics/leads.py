"""Leads that are gone once both are tuned alike: which contestant's advantage was one of few trials only.

Whether a leads b with k trials is judged by a permutation test. If the trials of both are of one
distribution, any n of them could as well be a's: the lead λₖ, the difference of the expected best
of k, is compared with those of the trials dealt out anew. Over all k at once the statistic is
maxₖ |λₖ|/sₖ, sₖ the deviation of λₖ over such deals, so p holds for every k together (Westfall & Young
1993), and it is multiplied by the number of pairs (Bonferroni). Percentile-bootstrap intervals for
each pair and k would find leads that are gone in nine of ten tables of twelve equal contestants.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.tuning import best_weights, comparable
from analysis.statistics.values import Better

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
DEALS = 999  # at least
FIRST = 200  # of them, or more, give sₖ
NUMBERS = 4_000_000  # that are alive at once, roughly


def vanishing_advantages(
    trials: Mapping[str, ArrayLike], better: Better, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Where a contestant's advantage over another is gone once both are tuned with as many trials.

    The probability that any pair is named of contestants whose trials do not differ is at most 1 − level.

    Args:
        trials: as for :func:`analysis.statistics.tuning_curves`.
        seed: of the deals.

    Returns:
        A row for each pair of which ``a`` leads ``b`` at some number of trials beyond doubt and no longer at
        the largest that both have: ``a``, ``b``, ``lead``, the difference where it was first beyond doubt,
        ``trials``, the number from which on it was not, ``left``, the difference at the end, and
        ``reversed``, whether b then leads beyond doubt.
    """
    import pandas as pd

    sign = 1.0 if better == "higher" else -1.0
    made = {name: sign * values for name, values in comparable(trials, better).items()}
    pairs = list(itertools.combinations(made, 2))
    alike: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for a, b in pairs:
        alike.setdefault((len(made[a]), len(made[b])), []).append((a, b))
    found: dict[tuple[str, str], tuple[Array, NDArray[np.bool_]]] = {}
    for own in alike.values():
        first, second = (np.stack([made[pair[i]] for pair in own]) for i in (0, 1))
        leads, p = _judged(first, second, math.ceil(2 * len(pairs) / (1 - level)), seed)
        found |= dict(zip(own, zip(leads, p * len(pairs) <= 1 - level, strict=True), strict=True))
    rows = []
    for a, b in pairs:
        lead, sure = found[a, b]
        for one, other, ahead in ((a, b, lead), (b, a, -lead)):
            at = np.flatnonzero(sure & (ahead > 0))
            if len(at) and at[-1] < len(ahead) - 1:
                lost = bool(sure[-1] and ahead[-1] < 0)
                rows.append((one, other, ahead[at[0]], int(at[-1]) + 2, ahead[-1], lost))
    return pd.DataFrame(rows, columns=["a", "b", "lead", "trials", "left", "reversed"])


def _judged(a: Array, b: Array, deals: int, seed: int) -> tuple[Array, Array]:
    """The leads [pairs, K] of the trials [pairs, n] of some over those [pairs, m] of others, and p of each."""
    most = min(a.shape[1], b.shape[1])
    pooled = np.sort(np.concatenate([a, b], axis=1), axis=1)
    leads = np.sort(a, axis=1) @ best_weights(a.shape[1], most) - np.sort(b, axis=1) @ best_weights(b.shape[1], most)
    spread, as_far, dealt = np.empty(0), np.zeros(leads.shape), 0
    for weights in _deals(a.shape[1], b.shape[1], max(DEALS, deals), len(a), seed):
        again = (pooled @ weights.reshape(len(weights), -1)).reshape(len(pooled), -1, most)
        if not dealt:
            spread = again.std(axis=1)
        dealt += again.shape[1]
        furthest = _over(np.abs(again), spread[:, None]).max(axis=2)
        as_far += (furthest[:, :, None] >= (1 - 1e-9) * _over(np.abs(leads), spread)[:, None]).sum(axis=1)
    return leads, (1 + as_far) / (1 + dealt)


def _over(leads: Array, spread: Array) -> Array:
    """Leads in deviations; none where no deal makes any."""
    return np.divide(leads, spread, out=np.zeros(leads.shape), where=spread > 0)


def _deals(n: int, m: int, count: int, pairs: int, seed: int) -> Iterator[Array]:
    """What n + m values in order count in the lead of n of them over the others, in blocks [n + m, deals, K]."""
    random, most = np.random.default_rng(seed), min(n, m)
    of_first, of_second = best_weights(n, most), best_weights(m, most)
    block = max(FIRST, NUMBERS // (most * (pairs + n + m)))
    for done in range(0, count, block):
        mine = n > np.argsort(random.random((min(block, count - done), n + m)), axis=1).T
        first, second = np.cumsum(mine, axis=0) - 1, np.cumsum(~mine, axis=0) - 1
        yield np.where(mine[..., None], of_first[first], -of_second[second])
