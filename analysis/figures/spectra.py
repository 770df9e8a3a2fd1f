"""Spectra: densities with their extreme eigenvalues, and what becomes of them along training.

Tables have a row for each spectrum: ``step``, ``matrix``, ``loss``, ``stable_below`` (the
curvature from which on the optimizer's steps on a quadratic grow, or none), ``top`` and
``bottom`` (eigenvalues as lists, outermost first), ``grid`` and ``density`` (lists, or none),
``negative``, ``negative_low``, ``negative_high`` (the share of negative eigenvalues and its
interval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis.figures.axes import set_scale
from analysis.figures.chart import Chart, Panel
from analysis.figures.labels import End, label_ends
from analysis.figures.style import Palette
from analysis.numbers import number

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 4  # spectra in one panel
FLOOR = 1e-6  # densities below this share of the largest are not drawn
FAR = 3.0  # times the largest eigenvalue: a stability limit beyond it is told, not drawn
LARGEST, SMALLEST, LIMIT = "largest", "smallest", "limit of stability"
WHY = "no spectrum was measured; python -m suite spectrum does"


def densities(table: pd.DataFrame, *, name: str = "spectra", title: str = "Spectrum", **options: Any) -> Chart:
    """Densities on a logarithmic scale, extreme eigenvalues as ticks at the bottom; at most four steps."""
    several = len(table) and table["matrix"].nunique() > 1
    rows = (
        [table.iloc[i] for i in sorted({round(i) for i in np.linspace(0, len(table) - 1, SHOWN)})] if len(table) else []
    )
    named = {_name(row, several): row for row in rows}
    draw = partial(_densities, named=named)
    options = {"caption": "Ticks are the extreme eigenvalues.", "palette": Palette(named), **options}
    return Chart(name, title, [draw], table=table, **options)


def course(
    table: pd.DataFrame, *, name: str = "sharpness", title: str = "Extreme eigenvalues along training", **options: Any
) -> Chart:
    """The extreme eigenvalues of the first matrix over steps, and the limit up to which the optimizer is stable."""
    options = {"palette": Palette((LARGEST, SMALLEST)), **options}
    return Chart(name, title, [partial(_course, table=_first(table))], table=table, **options)


def index(table: pd.DataFrame, *, name: str = "index", title: str = "Index against loss", **options: Any) -> Chart:
    """The share of negative eigenvalues against the loss, as Dauphin et al. (2014) plot it; steps beside."""
    return Chart(name, title, [partial(_index, table=_first(table))], table=table, **options)


def outliers(table: pd.DataFrame, *, name: str = "outliers", title: str = "Outliers", **options: Any) -> Chart:
    """How many eigenvalues of the first matrix stand above the rest, beside the number of classes.

    Of softmax classifiers about as many as classes (Sagun et al. 2018; Papyan 2019).

    Args:
        table: with columns ``outliers`` (none where no gap stands out) and ``classes``.
    """
    return Chart(name, title, [partial(_outliers, table=_first(table))], table=table, **options)


def _first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first matrix."""
    return table[table["matrix"] == table["matrix"].iloc[0]] if len(table) else table


def _name(row: Any, several: Any) -> str:
    return f"step {row['step']}" + (f", {row['matrix'].replace('_', ' ')}" if several else "")


def _densities(panel: Panel, *, named: Mapping[str, Any]) -> None:
    if not named:
        panel.empty(WHY)
        return
    axis = panel.axis
    curves = {name: _curve(row) for name, row in named.items() if row["density"] is not None}
    if curves:
        set_scale(axis, "y", np.concatenate([curve for _, curve in curves.values()]), "log")
    for place, (name, row) in enumerate(named.items()):
        ends = np.concatenate([row["top"], row["bottom"]])
        (ticks,) = axis.plot(ends, np.full(len(ends), 0.02 + 0.05 * place), "|", ms=8, mew=1.4,
                             color=panel.colour(name), transform=axis.get_xaxis_transform())  # fmt: skip
        panel.tag(ticks, name)
        if name in curves:
            grid, curve = curves[name]
            (line,) = axis.plot(grid, curve, color=panel.colour(name), lw=1.3)
            panel.tag(line, name)
            for x, y in zip(grid[::4], curve[::4], strict=True):
                panel.mark(x, y, f"{name}\neigenvalue {number(x)}\ndensity {number(y)}", name)
    axis.set(xlabel="eigenvalue", ylabel="density" if curves else "")
    if not curves:
        axis.set(yticks=[], ylim=(0, 1))
    _key(panel, list(named))


def _curve(row: Any) -> tuple[Any, Any]:
    grid, curve = np.asarray(row["grid"], float), np.asarray(row["density"], float)
    return grid, np.where(curve > FLOOR * curve.max(), curve, np.nan)


def _key(panel: Panel, names: Sequence[str]) -> None:
    """Names at the top right, each in its colour, where spectra are thinnest."""
    for i, name in enumerate(names):
        text = panel.axis.text(0.98, 0.97 - 0.075 * i, name, transform=panel.axis.transAxes, ha="right", va="top",
                               fontsize=8.5, color=panel.colour(name))  # fmt: skip
        panel.tag(text, name)


def _course(panel: Panel, *, table: pd.DataFrame) -> None:
    if table.empty:
        panel.empty(WHY)
        return
    axis = panel.axis
    steps = table["step"].to_numpy(float)
    ends = []
    for end, name in (("top", LARGEST), ("bottom", SMALLEST)):
        rows = [np.asarray(values, float) for values in table[end]]
        for i in range(min(map(len, rows))):
            values = [row[i] for row in rows]
            (line,) = axis.plot(steps, values, "o-", ms=3, lw=1.6 if i == 0 else 0.7, color=panel.colour(name),
                                alpha=1 if i == 0 else 0.4)  # fmt: skip
            panel.tag(line, name)
            for x, y in zip(steps, values, strict=True):
                panel.mark(x, y, f"step {x:.0f}\n{name if i == 0 else f'{i + 1}. {name}'} {number(y)}", name)
            if i == 0:
                ends.append(End(name, steps[-1], values[-1]))
    _limit(panel, table)
    axis.set_xscale("symlog", linthresh=1)
    axis.set(xlim=(-0.1, 1.1 * max(steps[-1], 1)), xlabel="step", ylabel="eigenvalue")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    label_ends(panel, ends)


def _limit(panel: Panel, table: pd.DataFrame) -> None:
    """The curvature up to which the optimizer's steps on a quadratic shrink, where it has such a limit."""
    largest = [max(values) for values in table["top"] if len(values)]
    if not largest or "stable_below" not in table or table["stable_below"].isna().any():
        return
    limit = table["stable_below"].astype(float).to_numpy()
    style: dict[str, Any] = {"color": panel.theme.muted, "fontsize": 8}
    least = float(limit.min())
    if least > FAR * max(largest):
        panel.axis.text(0.02, 0.97, f"{LIMIT} ≥ {number(least)}, above", va="top",
                        transform=panel.axis.transAxes, **style)  # fmt: skip
        return
    panel.axis.plot(table["step"], limit, "--", lw=1, color=panel.theme.muted)
    panel.axis.annotate(LIMIT, (table["step"].iloc[0], limit[0]), xytext=(3, 3), textcoords="offset points", **style)


def _outliers(panel: Panel, *, table: pd.DataFrame) -> None:
    own = table[table["outliers"].notna()] if "outliers" in table else table[:0]
    if own.empty:
        panel.empty("no gap in the spectrum stands out; ask for more eigenvalues with --top")
        return
    axis, classes = panel.axis, int(table["classes"].iloc[0])
    axis.axhline(classes, ls="--", lw=1, color=panel.theme.muted)
    axis.annotate(f"{classes} classes", (0.02, classes), xycoords=("axes fraction", "data"), xytext=(0, 4),
                  textcoords="offset points", fontsize=8, color=panel.theme.muted)  # fmt: skip
    axis.plot(own["step"], own["outliers"], "o", ms=5, color=panel.theme.series[0])
    for step, count in zip(own["step"], own["outliers"], strict=True):
        panel.mark(step, count, f"step {step}\n{count:.0f} outliers")
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set(xlim=(-0.1, 1.2 * max(table["step"].max(), 1)), xlabel="step", ylabel="eigenvalues above the largest gap",
             ylim=(0, 1.25 * max(classes, own["outliers"].max())))  # fmt: skip


def _index(panel: Panel, *, table: pd.DataFrame) -> None:
    own = table[table["negative"].notna()] if len(table) else table
    if own.empty:
        panel.empty("the share of negative eigenvalues needs spectrum --density")
        return
    axis = panel.axis
    loss, share = own["loss"].to_numpy(float), own["negative"].to_numpy(float)
    error = np.nan_to_num(np.abs(np.stack([share - own["negative_low"], own["negative_high"] - share])))
    axis.errorbar(loss, share, yerr=error, fmt="o-", ms=4, lw=1.2, capsize=2, color=panel.theme.series[0])
    for step, x, y in zip(own["step"], loss, share, strict=True):
        axis.annotate(str(step), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8, color=panel.theme.muted)
        panel.mark(x, y, f"step {step}\nloss {number(x)}\nnegative {number(y)}")
    axis.set(xlabel="loss", ylabel="share of negative eigenvalues")
