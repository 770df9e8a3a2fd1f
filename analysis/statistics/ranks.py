"""Whether what does well on one problem does well on another."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def rank_correlation(scores: pd.DataFrame, method: Literal["kendall", "spearman"] = "kendall") -> pd.DataFrame:
    """The rank correlation of contestants between each two problems, each problem's better end turned the same way.

    Args:
        scores: a row per contestant, a column per problem; lower is better in all, or higher; infinite
            where all runs diverged, NaN where the contestant was not run.
        method: Kendall's τ_b or Spearman's ρ.

    Returns:
        A row for each pair of problems: ``a``, ``b``, ``correlation`` in [−1, 1], ``p`` of no correlation, and
        ``n`` contestants on both; NaN where fewer than three are, or all are equal.
    """
    import pandas as pd
    from scipy import stats

    test = {"kendall": stats.kendalltau, "spearman": stats.spearmanr}[method]
    rows = []
    for a, b in itertools.combinations(scores.columns, 2):
        both = scores[[a, b]].dropna().rank()
        found, p = np.nan, np.nan
        if len(both) > 2 and (both.nunique() > 1).all():
            found, p = test(both[a], both[b])
        rows.append((a, b, float(found), float(p), len(both)))
    return pd.DataFrame(rows, columns=["a", "b", "correlation", "p", "n"])
