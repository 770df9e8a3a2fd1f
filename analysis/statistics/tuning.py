"""Tuning counts: how good the best of k trials is, and at which k the ranking changes.

An optimizer with many settings may be the best after a hundred trials and the worst after
four. A trial that diverged counts with the worst value that any trial of its problem has,
since an expectation knows no infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.values import Better

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
RESAMPLES = 999


def expected_best(values: ArrayLike, better: Better, reported: ArrayLike | None = None) -> Array:
    """The expected value of the best of k trials, for k = 1 … n, from the n that were made.

    With v₍₁₎ … v₍ₙ₎ from the worst to the best, E[best of k] = Σ v₍ᵢ₎ ((i/n)ᵏ − ((i − 1)/n)ᵏ): k trials drawn
    from those made, with replacement (Dodge et al. 2019, Show Your Work, section 3.1). It takes the
    trials as independent draws, which random search makes; a grid's are better spread. Nothing is better than
    the best that was made, so near k = n it expects somewhat too little (Tang et al. 2020).

    Args:
        values: [n], what tuning goes by; ±∞ for a trial that diverged, which then counts as the worst
            finite one.
        reported: [n], what is wanted of the trial chosen, such as its test accuracy; the values if None.

    Returns:
        [n], the expectation for each number of trials.
    """
    return _expected(_finite(values, better), better, None if reported is None else _finite(reported, better))


def running_best(values: ArrayLike, better: Better) -> Array:
    """The best of the first k trials, for k = 1 … n: for a search whose trials build on each other."""
    found = _finite(values, better)
    return np.maximum.accumulate(found) if better == "higher" else np.minimum.accumulate(found)


def tuning_curves(
    trials: Mapping[str, ArrayLike], better: Better, level: float = 0.95, seed: int = 0, sequential: bool = False
) -> pd.DataFrame:
    """The expected best against the number of trials, of every contestant on one problem.

    Args:
        trials: contestant -> [n] values of its trials; a trial that diverged counts with the worst
            finite value of all contestants.
        sequential: whether trials build on each other; the curve is then the best so far, without a band.

    Returns:
        A row per contestant and number of trials: ``contestant``, ``trials``, ``expected``, and the ends
        ``low`` and ``high`` of the percentile-bootstrap interval over trials, NaN where there is none. It shows
        how much a curve rests on single trials and is no interval at its level: with 11 it holds the truth nine times
        in ten at one trial, and five or six times in ten at all of them, as no bootstrap knows of values beyond
        the best that was seen (Tang et al. 2020).
    """
    import pandas as pd

    frames = []
    for name, found in comparable(trials, better).items():
        curve = running_best(found, better) if sequential else _expected(found, better)
        low, high = np.full((2, len(found)), np.nan)
        if len(found) > 1 and not sequential:
            curves = _resampled(found, better, seed)
            low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
        budget = np.arange(1, len(found) + 1)
        frames.append(pd.DataFrame({"contestant": name, "trials": budget, "expected": curve, "low": low, "high": high}))
    columns = ["contestant", "trials", "expected", "low", "high"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def ranking_changes(curves: pd.DataFrame, better: Better) -> pd.DataFrame:
    """The numbers of trials from which on the contestants stand in another order.

    Args:
        curves: as :func:`tuning_curves` gives them.

    Returns:
        A row for the smallest budget and for each at which the order changes: ``trials``, ``first``, the
        best then, and ``order``, all from best to worst.
    """
    import pandas as pd

    wide = curves.pivot(index="trials", columns="contestant", values="expected").dropna()
    sign = -1.0 if better == "higher" else 1.0
    rows: list[tuple[int, str, tuple[str, ...]]] = []
    for trials, values in zip(wide.index, wide.to_numpy(), strict=True):
        order = tuple(str(wide.columns[i]) for i in np.argsort(sign * values, kind="stable"))
        if not rows or rows[-1][2] != order:
            rows.append((int(trials), order[0], order))
    return pd.DataFrame(rows, columns=["trials", "first", "order"])


def _expected(values: Array, better: Better, reported: Array | None = None) -> Array:
    """Of finite values [..., n]: the sums over the last axis, weighted by (i/n)ᵏ − ((i − 1)/n)ᵏ."""
    n = values.shape[-1]
    order = np.argsort(values if better == "higher" else -values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values if reported is None else reported, order, axis=-1)
    return ordered @ best_weights(n, n)


def best_weights(n: int, most: int) -> Array:
    """[n, most] what the i-th of n values, from the worst to the best, counts in the expected best of k = 1 … most."""
    return np.diff((np.arange(n + 1)[:, None] / n) ** np.arange(1, most + 1), axis=0)


def _resampled(values: Array, better: Better, seed: int) -> Array:
    """The curves [resamples, n] of trials drawn anew."""
    n = len(values)
    return _expected(values[np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))], better)


def _finite(values: ArrayLike, better: Better, worst: float | None = None) -> Array:
    found = np.array(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or np.isnan(found).any():
        raise ValueError(f"values must be at least one number and none of them NaN, got {found.tolist()}")
    finite = found[np.isfinite(found)]
    if worst is None:
        worst = _worst(finite, better)
    return np.where(np.isfinite(found), found, worst)


def _worst(finite: Array, better: Better) -> float:
    if not len(finite):
        raise ValueError("every trial diverged: there is no value to count them with")
    return float(finite.min() if better == "higher" else finite.max())


def comparable(trials: Mapping[str, ArrayLike], better: Better) -> dict[str, Array]:
    """The trials of all contestants, finite; none where all of them diverged."""
    raw: Sequence[Array] = [np.asarray(values, dtype=np.float64) for values in trials.values()]
    finite = np.concatenate([values[np.isfinite(values)] for values in raw]) if raw else np.empty(0)
    if not len(finite):
        return {}
    worst = _worst(finite, better)
    return {name: _finite(values, better, worst) for name, values in zip(trials, raw, strict=True)}
