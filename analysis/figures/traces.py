"""Gradient norms along training, as in figure 8.1 of *Deep Learning*."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.figures.axes import set_scale
from analysis.figures.chart import Chart, Panel
from analysis.figures.labels import End, label_ends
from analysis.figures.style import Palette
from analysis.numbers import plain

if TYPE_CHECKING:
    import pandas as pd

DOTS = 250  # of one run: more cannot be told apart
MARKS = 60  # of one run that can be pointed at: nearer ones cannot be aimed at
WINDOW = 25  # measurements over which the line is the median


def traces(
    table: pd.DataFrame,
    *,
    measure: str = "gradient norm",
    by: str = "optimizer",
    name: str = "gradient-norms",
    title: str = "",
    palette: Palette | None = None,
    why_empty: str = "no gradient was measured along training; python -m suite trace does",
    window: int | None = None,
    **options: Any,
) -> Chart:
    """Each measurement as a dot, and a running median (or mean) through them.

    Args:
        table: columns ``step``, ``value``, and the one that ``by`` names.
        window: measurements over which the line is the running mean instead.
    """
    draw = partial(_draw, table=table, measure=measure, by=by, why_empty=why_empty, window=window)
    words = title or f"{measure[:1].upper()}{measure[1:]} along training"
    return Chart(name, words, [draw], palette=palette or Palette.of(table[by].unique()), table=table, **options)


def _draw(panel: Panel, *, table: pd.DataFrame, measure: str, by: str, why_empty: str, window: int | None) -> None:
    shown = table[np.isfinite(table["value"].astype(float))] if len(table) else table
    if shown.empty:
        panel.empty(why_empty)
        return
    axis = panel.axis
    set_scale(axis, "x", shown["step"], "linear")
    set_scale(axis, "y", shown["value"])
    ends = []
    for name, own in shown.groupby(by, sort=False, observed=True):
        own = own.sort_values("step")
        step, value = own["step"].to_numpy(float), own["value"].to_numpy(float)
        every = slice(None, None, max(1, -(-len(step) // DOTS)))
        if len(step) > WINDOW and panel.palette.leads(str(name)):
            colour = panel.colour(str(name))
            (dots,) = axis.plot(step[every], value[every], ".", color=colour, ms=2.6, alpha=0.35, mew=0)
            panel.tag(dots, str(name))
        line = running(value, window or WINDOW, "mean" if window else "median") if len(step) > WINDOW else value
        (drawn,) = axis.plot(step[every], line[every], **panel.pen(str(name)))
        panel.tag(drawn, str(name))
        pointed = slice(None, None, max(1, -(-len(step) // MARKS)))
        for x, y in zip(step[pointed], line[pointed], strict=True):
            panel.mark(x, y, f"{name}\nstep {plain(x)}\n{measure} {plain(y)}", str(name))
        ends.append(End(str(name), step[-1], float(line[-1])))
    label_ends(panel, ends)
    axis.set(xlabel="step", ylabel=measure)
    axis.grid(False, axis="x")


def running(values: NDArray[np.float64], window: int, what: Literal["mean", "median"]) -> NDArray[np.float64]:
    """The mean or median of the ``window`` values around each one, of fewer near the ends."""
    import pandas as pd

    return pd.Series(values).rolling(window, center=True, min_periods=1).agg(what).to_numpy()
