"""Names beside the ends of their lines, instead of a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.figures.chart import Panel

LINE = 0.066  # height of a label, as a share of the axes' height
MOST = 14  # labels beside one panel


@dataclass(frozen=True)
class End:
    """Where a line ends, in data coordinates, and what it is called."""

    name: str
    x: float
    y: float
    said: str = ""


def label_ends(panel: Panel, ends: Sequence[End]) -> None:
    """Put names to the right of the axes, as near to the lines' ends as they can be without touching.

    Those that are not in front, and names beyond the first 14, are left to pointing; a file has them below the axes.
    """
    there = [end for end in ends if np.isfinite(end.y)]
    front = [end for end in there if panel.palette.leads(end.name)]
    shown = front[:MOST]
    if len(there) > len(shown):
        left = len(there) - len(shown)
        others = sorted((end for end in there if end not in shown), key=lambda end: -_height(panel, end))
        panel.behind.extend(end.name for end in others)
        words = f"and {left} more" if len(front) > MOST else f"{left} other{'s' * (left > 1)} in grey"
        panel.axis.text(1.045, 1 + LINE, words, transform=panel.axis.transAxes, color=panel.theme.muted, va="center",
                        fontsize=8.5)  # fmt: skip
    if not shown:
        return
    right = max(end.x for end in shown)
    heights = np.array([_height(panel, end) for end in shown])
    for end, true, placed in zip(shown, heights, spread(heights, LINE), strict=True):
        colour = panel.colour(end.name)
        if end.x >= right:
            (line,) = panel.axis.plot([1.0, 1.035], [true, placed], transform=panel.axis.transAxes,
                                      color=colour, lw=0.8, clip_on=False)  # fmt: skip
            panel.tag(line, end.name)
        text = panel.axis.text(1.045, placed, end.said or end.name, transform=panel.axis.transAxes,
                               color=colour, va="center", ha="left", fontsize=8.5)  # fmt: skip
        panel.tag(text, end.name)


def _height(panel: Panel, end: End) -> float:
    """A line's end as a share of the axes' height, which scales and limits decide and the layout does not."""
    axis = panel.axis
    _, y = (axis.transScale + axis.transLimits).transform((end.x, end.y))
    return float(np.clip(y, 0.0, 1.0))


def spread(heights: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """The heights nearest to those given (in squares) that keep their order and are ``least`` apart.

    With yᵢ = heightᵢ − i·least in order, the nearest nondecreasing y is the isotonic regression,
    found by pooling neighbours that are out of order, and clipped to keep all within [0, 1].
    """
    least = min(least, 1 / max(len(heights) - 1, 1))
    order = np.argsort(heights, kind="stable")
    steps = np.arange(len(heights)) * least
    pools: list[tuple[float, int]] = []
    for y in heights[order] - steps:
        mean, count = float(y), 1
        while pools and pools[-1][0] > mean:
            before, n = pools.pop()
            mean, count = (before * n + mean * count) / (n + count), n + count
        pools.append((mean, count))
    nearest = np.concatenate([[mean] * count for mean, count in pools])
    found = np.empty_like(nearest)
    found[order] = np.clip(nearest, 0.0, 1.0 - steps[-1]) + steps
    return found
