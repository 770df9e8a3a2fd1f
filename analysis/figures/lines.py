"""Lines with intervals, one for each name: what learning curves, profiles and sensitivity have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.figures.axes import Scale, set_scale
from analysis.figures.chart import Chart, Panel
from analysis.figures.labels import End, label_ends
from analysis.figures.places import Points
from analysis.figures.style import Palette

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Line:
    """How a table becomes lines.

    Args:
        x, y, low, high, by: columns; ``low`` and ``high`` bound the interval, ``by`` names the line.
        xlabel, ylabel: what the axes are called.
        xscale, yscale: ``auto`` takes a logarithm where values span decades.
        steps: the value holds until the next point.
        points: mark each point.
        rule: a horizontal line, and what it is.
        within: values outside this range are off the figure.
        notes: columns whose values are said, with these words, when a point is pointed at.
        names: ``end`` puts names at the lines' ends; ``none`` leaves them out.
    """

    x: str
    y: str
    by: str = "optimizer"
    low: str | None = None
    high: str | None = None
    xlabel: str = ""
    ylabel: str = ""
    xscale: Scale = "auto"
    yscale: Scale = "auto"
    steps: bool = False
    points: bool = False
    rule: tuple[float, str] | None = None
    within: tuple[float, float] = (-np.inf, np.inf)
    notes: dict[str, str] = field(default_factory=dict)
    names: Literal["end", "none"] = "end"


def line_chart(
    name: str,
    title: str,
    table: pd.DataFrame,
    line: Line,
    *,
    palette: Palette | None = None,
    why_empty: str = "nothing was measured",
    **options: Any,
) -> Chart:
    """A chart of lines; see :class:`Line` for what the table must have.

    Of more than ten names, unless a palette says otherwise, the first six in the table are in front of the others.
    """
    draw = partial(draw_lines, table=table, line=line, why_empty=why_empty)
    return Chart(name, title, [draw], palette=palette or Palette.of(table[line.by].unique()), table=table, **options)


def draw_lines(panel: Panel, *, table: pd.DataFrame, line: Line, why_empty: str) -> None:
    """Draw each name's line, with its interval behind it and its name at its end; of many names those in front."""
    shown = table.loc[np.isfinite(table[[line.x, line.y]].to_numpy(float)).all(axis=1)] if len(table) else table
    axis = panel.axis
    rule = [line.rule[0]] if line.rule else []
    if len(shown) and set_scale(axis, "x", table[line.x], line.xscale):  # as far as was gone, whatever came of it
        shown = shown[shown[line.x] > 0]
    if shown.empty:
        panel.empty(why_empty)
        return
    heights = shown[line.y].to_numpy(float)
    inside = heights[(line.within[0] <= heights) & (heights <= line.within[1])]
    set_scale(axis, "y", np.concatenate([inside if len(inside) else heights, rule]), line.yscale)
    bottom, top = axis.get_ylim()
    panel.points.append(Points(table, line.x, line.y, line.by, _says(line)))
    ends: list[End] = []
    for name, own in shown.sort_values(line.x, kind="stable").groupby(line.by, sort=False, observed=True):
        ends.append(_one(panel, line, str(name), own, (bottom, top)))
    if line.rule:
        axis.axhline(line.rule[0], color=panel.theme.muted, lw=1, ls=(0, (4, 3)), zorder=1)
        axis.annotate(line.rule[1], (0, line.rule[0]), xycoords=("axes fraction", "data"), xytext=(3, 3),
                      textcoords="offset points", fontsize=8, color=panel.theme.muted)  # fmt: skip
    if line.names == "end":
        label_ends(panel, ends)
    axis.set(xlabel=line.xlabel or line.x, ylabel=line.ylabel or line.y)
    axis.grid(False, axis="x")


def _says(line: Line) -> list[tuple[str, str, Sequence[str]]]:
    """What a point says below its name: ``step 100``, ``test_loss 0.12 [0.11, 0.13]``, ``runs 10``."""
    ends = (line.low, line.high) if line.low and line.high else ()
    values = [(line.xlabel or line.x, line.x, ()), (line.ylabel or line.y, line.y, ends)]
    return [*values, *((words, column, ()) for column, words in line.notes.items())]


def _one(panel: Panel, line: Line, name: str, own: pd.DataFrame, limits: tuple[float, float]) -> End:
    """One name's line; where it ends."""
    x, y = own[line.x].to_numpy(float), own[line.y].to_numpy(float)
    style: Any = "steps-post" if line.steps else "default"
    leads = panel.palette.leads(name)
    marker = "o" if len(x) == 1 or (line.points and leads) else None
    turns = _turns(y) if line.steps else slice(None)
    (drawn,) = panel.axis.plot(x[turns], y[turns], drawstyle=style, marker=marker, ms=3.2, **panel.pen(name))
    panel.tag(drawn, name)
    if line.low and line.high and leads and panel.palette.own(name):
        low, high = (np.clip(own[c].to_numpy(float), *limits) for c in (line.low, line.high))
        if np.isfinite(low).any():
            band = panel.axis.fill_between(
                x, low, high, color=panel.colour(name), alpha=0.13, lw=0, step="post" if line.steps else None
            )
            panel.tag(band, name)
    return End(name, float(x[-1]), float(y[-1]))


def _turns(y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points of a line of steps it takes to draw it: those at which it rises or falls, and both ends."""
    kept = np.ones(len(y), dtype=bool)
    kept[1:-1] = y[1:-1] != y[:-2]
    return kept
