"""How much care a setting needs: the final metric against it, and how wide the good region is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.values import Better

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sensitivity:
    """How the final metric depends on one setting.

    Args:
        at, best: the setting that did best, and its metric.
        low, high: the ends of the region about it in which the metric is within the tolerance.
        width: of that region, in powers of ten on a logarithmic scale.
        open_low, open_high: whether the region reaches the end of what was tried; it may go on.
        share: of the trials that are within the tolerance.
        diverged: the share of the trials that diverged.
        n: settings tried.
    """

    at: float
    best: float
    low: float
    high: float
    width: float
    open_low: bool
    open_high: bool
    share: float
    diverged: float
    n: int


def sensitivity(
    settings: ArrayLike, values: ArrayLike, better: Better, within: float = 0.05, log: bool = True
) -> Sensitivity:
    """The region of a setting in which the metric is within a share of the best.

    Good is |v − v*| ≤ within·|v*|. Between two settings tried the metric is taken as linear in the
    setting, or in its logarithm; next to a trial that diverged the region ends at the last good one.
    Trials with the same setting, which differ in others, count with the best of them.

    Args:
        settings: [n], > 0 if logarithmic.
        values: [n], the metric; ±∞ or NaN for a trial that diverged.
        within: ≥ 0; 0.05 is 5 %.

    Raises:
        ValueError: no trial, or settings that have no logarithm.
    """
    x, raw = np.asarray(settings, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != raw.shape or not len(x):
        raise ValueError(f"settings and values must have one entry per trial, got shapes {x.shape} and {raw.shape}")
    if log and (x <= 0).any():
        raise ValueError(f"settings on a logarithmic scale must be > 0, got {x.min():g}")
    sign = 1.0 if better == "higher" else -1.0
    finite = np.isfinite(raw)
    diverged = float(1 - finite.mean())
    if not finite.any():
        none = math.nan
        return Sensitivity(none, none, none, none, 0.0, False, False, 0.0, diverged, len(x))
    score = np.where(finite, sign * raw, -np.inf)
    best = float(score.max())
    floor = best - within * abs(best)
    grid, tops = _upper_envelope(x, score)
    at = int(np.argmax(tops))
    scale = np.log10(grid) if log else grid
    low, open_low = _edge(scale, tops, at, -1, floor)
    high, open_high = _edge(scale, tops, at, 1, floor)
    share = float((score >= floor).mean())
    ends = (10**low, 10**high) if log else (low, high)
    return Sensitivity(
        float(grid[at]), sign * best, *ends, high - low, open_low, open_high, share, diverged, len(x)
    )  # fmt: skip


def _upper_envelope(x: Array, score: Array) -> tuple[Array, Array]:
    """The distinct settings, ascending, and the best score of each."""
    grid, place = np.unique(x, return_inverse=True)
    tops = np.full(len(grid), -np.inf)
    np.maximum.at(tops, place, score)
    return grid, tops


def _edge(scale: Array, tops: Array, at: int, step: int, floor: float) -> tuple[float, bool]:
    """Where the score falls below the floor on the way from ``at``, and whether it never does."""
    while 0 <= at + step < len(scale):
        here, there = tops[at], tops[at + step]
        if there < floor:
            way = (here - floor) / (here - there) if math.isfinite(there) else 0.0
            return float(scale[at] + way * (scale[at + step] - scale[at])), False
        at += step
    return float(scale[at]), True


def against_setting(trials: pd.DataFrame, setting: str, value: str) -> pd.DataFrame:
    """The final metric against one setting, over the seeds and whatever else differs.

    Args:
        trials: a row per run.
        setting: the column of the setting, such as ``optimizer.lr``.
        value: the column of the metric; ±∞ or NaN where the run diverged.

    Returns:
        A row per value of the setting, ascending: ``median``, ``low`` and ``high`` (the extremes) of the
        runs that did not diverge, ``diverged``, the share that did, and ``n``, all runs.
    """
    import pandas as pd

    known = trials[[setting, value]].dropna(subset=[setting])
    finite = known[value].where(np.isfinite(known[value].astype("float64")))
    grouped = finite.groupby(known[setting])
    return pd.DataFrame(
        {
            "median": grouped.median(),
            "low": grouped.min(),
            "high": grouped.max(),
            "diverged": 1 - grouped.count() / grouped.size(),
            "n": grouped.size(),
        }
    )
