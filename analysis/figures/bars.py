"""Bars of what a step costs, by part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.chart import Chart, Panel
from analysis.figures.style import Palette
from analysis.numbers import duration

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("data", "forward", "backward", "curvature", "update")  # of a step
OWN = "update"  # the part that is the optimizer's own, in its colour; the others are the gradient's
SHADES = {"data": 0.18, "forward": 0.34, "backward": 0.55, "curvature": 0.8, "measurement": 0.10}
WIDTH, ROW, FRAME = 4.2, 0.3, 0.95  # inches
BENT = 0.7  # inches more for a key that has curvature too
APART = 20.0  # longest over shortest step from which bars are all of one length, for nothing is seen of the short ones


def cost_bars(
    table: pd.DataFrame,
    *,
    parts: Sequence[str] = PARTS,
    name: str = "costs",
    title: str = "What a step costs",
    palette: Palette | None = None,
    why_empty: str = "no cost was measured; python -m suite cost measures them",
    **options: Any,
) -> Chart:
    """The seconds of a step, by part: what the gradient takes in grey, the optimizer's own update in its colour.

    Args:
        table: columns ``optimizer``, one of seconds for each part; ``spread``, if it is there, is
            the interquartile range of the whole step.
        parts: from left to right; those that the table does not have are left out.

    Where the longest step is more than 20 times the shortest, bars show each part's share of its own step.
    """
    parts = [part for part in parts if part in table]
    draw = partial(_draw, table=table, parts=parts, why_empty=why_empty)
    bent = "curvature" in parts and "curvature" in table and bool((table["curvature"] > 0).any())
    size = (WIDTH + BENT * bent, FRAME + ROW * max(len(table), 3))
    return Chart(name, title, [draw], palette=palette or Palette(), table=table, size=size, **options)


def _draw(panel: Panel, *, table: pd.DataFrame, parts: Sequence[str], why_empty: str) -> None:
    if table.empty:
        panel.empty(why_empty)
        return
    axis = panel.axis
    rows = table.iloc[::-1]
    whole = rows[list(parts)].sum(axis=1).to_numpy(float)
    unit, scale = _unit(float(whole.max()))
    scales = np.full(len(rows), scale)
    if whole.max() > APART * whole.min():
        unit, scales = "% of", 100 / whole
    left = np.zeros(len(rows))
    for part in parts:
        seconds = rows[part].to_numpy(float)
        widths = seconds * scales
        for at, (name, width) in enumerate(zip(rows["optimizer"], widths, strict=True)):
            own = part == OWN
            (bar,) = axis.barh(at, width, left=left[at], height=0.68, lw=0,
                               color=panel.colour(name) if own else panel.theme.muted,
                               alpha=1.0 if own else SHADES.get(part, 0.4))  # fmt: skip
            panel.tag(bar, name)
            share = f"{100 * seconds[at] / whole[at]:.0f} % of the step"
            panel.mark(left[at] + width / 2, at, f"{name}\n{part} {duration(seconds[at])}\n{share}", name)
        left += widths
    for at, (end, total) in enumerate(zip(left, whole, strict=True)):
        axis.annotate(
            duration(total), (end, at), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=8, color=panel.theme.muted,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), [str(name) for name in rows["optimizer"]])
    axis.tick_params(axis="y", labelcolor=panel.theme.ink)
    axis.set(xlabel=f"{unit} a step", xlim=(0, 1.16 * left.max()), ylim=(-0.6, len(rows) - 0.4))
    axis.grid(False)
    axis.set_title(axis.get_title(loc="left"), pad=21)  # above the key
    axis.spines["left"].set_visible(False)
    _key(panel, [part for part in parts if part in SHADES and (rows[part] > 0.01 * whole).any()])


def _key(panel: Panel, shown: Sequence[str]) -> None:
    """What the shades mean, above the bars and, where it is longer than they are, their names."""
    from matplotlib.patches import Patch

    handles = [Patch(color=panel.theme.muted, alpha=SHADES[part], lw=0, label=part) for part in shown]
    said = "update" if panel.palette.many else "update (in colour)"  # of many names most share a grey
    handles.append(Patch(color=panel.theme.series[-1 if panel.palette.many else 0], lw=0, label=said))
    panel.axis.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), frameon=False, fontsize=8,
        handlelength=0.9, handleheight=0.9, columnspacing=1.0, handletextpad=0.4, borderaxespad=0.2,
        labelcolor=panel.theme.muted,
    )  # fmt: skip


def _unit(longest: float) -> tuple[str, float]:
    """The unit in which a duration has one to three digits before the point."""
    for unit, size in (("seconds", 1.0), ("milliseconds", 1e-3), ("microseconds", 1e-6)):
        if longest >= size:
            return unit, 1 / size
    return "nanoseconds", 1e9
