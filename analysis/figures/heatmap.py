"""The initializer × optimizer matrix as a heat map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.figures.chart import Chart, Panel
from analysis.figures.style import Palette, spans_decades
from analysis.numbers import interval, plain

if TYPE_CHECKING:
    import pandas as pd

CELL, ROW, FRAME, LINE = 0.95, 0.36, 0.86, 0.14  # inches
WRAP = 14  # letters below a column
NARROW = 4.2


def heat_map(
    table: pd.DataFrame,
    *,
    value: str = "median",
    rows: str = "optimizer",
    columns: str = "initializer",
    better: Literal["higher", "lower"] = "lower",
    name: str = "matrix",
    title: str = "Initializer and optimizer",
    palette: Palette | None = None,
    why_empty: str = "nothing was measured from any start",
    **options: Any,
) -> Chart:
    """A value for each pair, darker where it is better; the best of each row is in bold, what diverged says so.

    Args:
        table: columns as named, one row for each pair, with ``low`` and ``high`` if there are intervals, and
            ``marked`` if it says which are in bold.
        better: which values are.
    """
    draw = partial(_draw, table=table, value=value, by=(rows, columns), better=better, why_empty=why_empty)
    down, across = (table[c].nunique() if len(table) else 0 for c in (rows, columns))
    lines = max((_below(str(c)).count("\n") + 1 for c in table[columns].unique()), default=1) if len(table) else 1
    size = (max(NARROW, 1.6 + CELL * across), FRAME + LINE * lines + ROW * max(down, 3))
    return Chart(name, title, [draw], palette=palette or Palette(), table=table, size=size, **options)


def _below(name: str) -> str:
    """A column's name in lines that stay below the column."""
    if len(name) <= WRAP:
        return name
    parts = wrap(re.sub(r"([(_])", r"\1 ", name), WRAP, break_long_words=False)
    return re.sub(r"([(_]) ", r"\1", "\n".join(parts))


def _draw(panel: Panel, *, table: pd.DataFrame, value: str, by: tuple[str, str], better: str, why_empty: str) -> None:
    import seaborn as sns

    if table.empty:
        panel.empty(why_empty)
        return
    rows, columns = by
    names, starts = (list(dict.fromkeys(table[c])) for c in by)
    grid = table.pivot(index=rows, columns=columns, values=value).reindex(index=names, columns=starts)
    values = grid.to_numpy(float)
    shades = _shades(values, better)
    drawn = sns.heatmap(
        shades, ax=panel.axis, cmap=sns.color_palette("mako_r", as_cmap=True), vmin=-0.1, vmax=1.25, cbar=False,
        linewidths=2, linecolor=panel.theme.paper, mask=~np.isfinite(shades),
        xticklabels=[_below(str(start)) for start in starts], yticklabels=names,
    )  # fmt: skip
    drawn.set(xlabel=columns, ylabel="")
    drawn.tick_params(axis="both", rotation=0, labelcolor=panel.theme.ink, length=0)
    drawn.grid(False)
    _write(panel, table.set_index([rows, columns]), names, starts, (values, shades))


def _write(
    panel: Panel, table: pd.DataFrame, names: Sequence[str], starts: Sequence[str], grids: tuple[Any, Any]
) -> None:
    """The value in each cell, and what it says when pointed at."""
    values, shades = grids
    spans = dict(zip(table.index, zip(table["low"], table["high"], strict=True), strict=True)) if "low" in table else {}
    marked = table.get("marked")
    for i, name in enumerate(names):
        best = plain(float(values[i, np.nanargmax(shades[i])])) if np.isfinite(shades[i]).any() else ""
        for j, start in enumerate(starts):
            if (name, start) not in table.index:
                panel.axis.text(j + 0.5, i + 0.5, "–", ha="center", va="center", color=panel.theme.muted)
                continue
            shade, finite = shades[i, j], np.isfinite(values[i, j])
            ink = panel.theme.muted if not finite else "#ffffff" if shade > 0.5 else "#10202c"
            said = plain(float(values[i, j])) if finite else "diverged"
            bold = said == best and len(starts) > 1 if marked is None else marked[name, start]
            weight = "bold" if bold else "normal"
            panel.axis.text(j + 0.5, i + 0.5, said, ha="center", va="center", color=ink, fontsize=8.5, weight=weight)
            spread = interval(*spans[name, start]) if spans and finite else ""
            panel.mark(j + 0.5, i + 0.5, f"{name}\n{start}\n{said} {spread}".rstrip(), name)


def _shades(values: Any, better: str) -> Any:
    """How good each value is, in [0, 1], on a logarithmic scale where values span decades."""
    finite = np.where(np.isfinite(values), values, np.nan)
    if spans_decades(finite):
        finite = np.log(finite)
    if np.isnan(finite).all():
        return finite
    low, high = np.nanmin(finite), np.nanmax(finite)
    share = np.full_like(finite, 0.5) if high == low else (finite - low) / (high - low)
    share = np.where(np.isnan(finite), np.nan, share)
    return share if better == "higher" else 1 - share
