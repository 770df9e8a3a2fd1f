"""Final values, best first: a dot and its interval for each name, so that thirty can be read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.axes import set_scale
from analysis.figures.chart import Chart, Panel
from analysis.figures.style import Palette
from analysis.numbers import interval, number

if TYPE_CHECKING:
    import pandas as pd

WIDTH, ROW, FRAME = 4.6, 0.2, 0.75  # inches


def ranking(
    table: pd.DataFrame,
    *,
    measure: str,
    name: str = "ranking",
    title: str = "",
    palette: Palette | None = None,
    why_empty: str = "nothing came to a result",
    **options: Any,
) -> Chart:
    """The final values of a measure with their intervals, one below the other in the order of the table.

    Args:
        table: columns ``optimizer``, ``median``, ``low``, ``high``, ``marked`` (whether it is best or tied, which
            stands in its colour before the grey of the others). A value that is not finite diverged.
    """
    words = measure.replace("_", " ")
    draw = partial(_draw, table=table, words=words, why_empty=why_empty)
    size = (WIDTH, FRAME + ROW * max(len(table), 3))
    return Chart(
        name, title or f"Final {words}", [draw], palette=palette or Palette(), table=table, size=size, **options
    )


def _draw(panel: Panel, *, table: pd.DataFrame, words: str, why_empty: str) -> None:
    if table.empty:
        panel.empty(why_empty)
        return
    axis = panel.axis
    ends = table[["median", "low", "high"]].to_numpy(float)
    set_scale(axis, "x", ends[np.isfinite(ends[:, 0])])
    for at, row in enumerate(table.to_dict("records")):
        name, value, spread = str(row["optimizer"]), float(row["median"]), (float(row["low"]), float(row["high"]))
        said = number(value) if np.isfinite(value) else "diverged"
        axis.annotate(said, (1, at), xycoords=("axes fraction", "data"), xytext=(6, 0), va="center_baseline",
                      textcoords="offset points", fontsize=8, color=panel.theme.muted)  # fmt: skip
        if not np.isfinite(value):
            continue
        colour = panel.colour(name) if row["marked"] else panel.theme.quiet
        drawn = axis.plot(spread, (at, at), color=colour, lw=2.2, alpha=0.55)
        drawn += axis.plot(value, at, "o", color=colour, ms=4.5, zorder=3)
        for artist in drawn:
            panel.tag(artist, name)
        panel.mark(value, at, f"{name}\n{words} {said} {interval(*spread)}".rstrip(), name)
    axis.set_yticks(range(len(table)), [str(name) for name in table["optimizer"]])
    for label, marked in zip(axis.get_yticklabels(), table["marked"], strict=True):
        label.set_color(panel.theme.ink if marked else panel.theme.muted)
    axis.set(xlabel=f"final {words}", ylim=(len(table) - 0.4, -0.6))
    axis.grid(False, axis="y")
    axis.spines["left"].set_visible(False)
