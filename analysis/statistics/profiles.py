"""Performance profiles: over many problems, how often a contestant is how much slower than the quickest.

What a contestant did not solve counts against it, what it was not run on does not: shares are of the
problems that it was run on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TAU_MAX = 4.0  # AlgoPerf's: four times as slow as the quickest counts as not solved


def performance_ratios(times: pd.DataFrame) -> pd.DataFrame:
    """r = t/min t, by how much each contestant is slower than the quickest on each problem.

    Args:
        times: a row per problem, a column per contestant; infinite where the target was not reached, NaN
            where the contestant was not run.

    Returns:
        Ratios ≥ 1, infinite where the target was not reached, also where nobody did, NaN where the contestant was
        not run; without the problems on which some time is 0.
    """
    times = times.astype("float64")
    if (times <= 0).to_numpy().any():
        # a target that is met at the start has ratios 0/0; the first evaluation after it is no measure of speed
        times = times.mask(times.min(axis=1) <= 0)
        times = times.dropna(how="all")
    return times.div(times.min(axis=1), axis=0).mask(np.isinf(times), np.inf)


def performance_profile(times: pd.DataFrame, tau: Iterable[float] | None = None) -> pd.DataFrame:
    """ρ(τ), the share of problems that a contestant solves within τ times the quickest's time.

    Problems that some contestant's start already solves are left out: beside a time of 0 no other has a ratio.

    Args:
        times: as for :func:`performance_ratios`.
        tau: where to evaluate, each ≥ 1; at 1 and at every jump if None.

    Returns:
        A row per τ, a column per contestant; step functions that are continuous from the right.

    Source: Dolan & Moré 2002.
    """
    import pandas as pd

    ratios = performance_ratios(times)
    if tau is None:
        flat = ratios.to_numpy().ravel()
        tau = np.unique([1.0, *flat[np.isfinite(flat)]])
    where = np.asarray(list(tau), dtype=np.float64)
    shares = {
        name: np.searchsorted(np.sort(run), where, "right") / max(len(run), 1)
        for name, run in ((name, column.dropna()) for name, column in ratios.items())
    }
    return pd.DataFrame(shares, index=pd.Index(where, name="tau"), columns=ratios.columns)


def profile_score(times: pd.DataFrame, tau_max: float = TAU_MAX) -> pd.Series[float]:
    """1/(τ_max − 1) ∫₁^τ_max ρ(τ) dτ by contestant, in [0, 1]: AlgoPerf's score.

    Exactly, the mean over problems of max(0, τ_max − r)/(τ_max − 1).

    Args:
        times: as for :func:`performance_ratios`.
        tau_max: > 1.

    Source: Dahl et al. 2023, Benchmarking Neural Network Training Algorithms, section 4.3.
    """
    if tau_max <= 1:
        raise ValueError(f"tau_max must be > 1, got {tau_max}")
    ratios = performance_ratios(times)
    return ((tau_max - ratios).clip(lower=0) / (tau_max - 1)).mean()


def score_per_budget(times: pd.DataFrame, budgets: Iterable[float], tau_max: float = TAU_MAX) -> pd.DataFrame:
    """The score where only what is reached within a budget counts as solved: a row per budget.

    Args:
        times: as for :func:`performance_ratios`.
        budgets: in the unit of the times, the same for every problem.
    """
    import pandas as pd

    rows = {budget: profile_score(times.mask(times > budget, np.inf), tau_max) for budget in budgets}
    return pd.DataFrame(rows).T.rename_axis("budget")


def solved_per_budget(times: pd.DataFrame, budgets: Iterable[float]) -> pd.DataFrame:
    """The share of problems that each contestant solves within a budget: a row per budget.

    Source: Moré & Wild 2009, whose data profiles scale budgets by a problem's dimension.
    """
    import pandas as pd

    rows = {budget: (times <= budget).astype("float64").where(times.notna()).mean() for budget in budgets}
    return pd.DataFrame(rows).T.rename_axis("budget")
