"""What a figure says when it is pointed at, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.figures.chart import Panel

Place = tuple[float, float, str, int]  # x, y, text, place in the palette or −1, in an SVG's units


@dataclass(frozen=True)
class Mark:
    """A place that says its value when pointed at; ``series`` is its name in the palette, if it has one."""

    x: float
    y: float
    text: str
    series: str | None = None


@dataclass(frozen=True)
class Points:
    """Rows of a table that say their values when pointed at.

    Args:
        x, y, by: columns: where a row lies, and whose it is.
        says: (words, column, columns of the ends of its interval or none), of what it says below its name.
    """

    table: pd.DataFrame
    x: str
    y: str
    by: str
    says: Sequence[tuple[str, str, Sequence[str]]]


@dataclass(frozen=True)
class Axis:
    """Where a column lies in an SVG: at a + b·v, or a + b·log₁₀ v, between ``low`` and ``high``."""

    column: str
    log: bool
    a: float
    b: float
    low: float
    high: float


def places(figure: Figure, panels: Sequence[Panel]) -> list[Place]:
    """Where marks lie in the SVG, whose y runs down."""
    found = []
    for panel in panels:
        if not panel.marks:
            continue
        at = panel.axis.transData.transform([(m.x, m.y) for m in panel.marks])
        for (x, y), m in zip(at, panel.marks, strict=True):
            if np.isfinite(x) and np.isfinite(y):
                place = -1 if m.series is None else panel.palette.place(m.series)
                found.append((round(float(x), 1), round(float(figure.bbox.height - y), 1), m.text, place))
    return found


def along(figure: Figure, panels: Sequence[Panel]) -> list[tuple[Points, Axis, Axis]]:
    """Points with the axes of their panels."""
    return [
        (points, _axis(figure, panel.axis, 0, points.x), _axis(figure, panel.axis, 1, points.y))
        for panel in panels
        for points in panel.points
    ]


def _axis(figure: Figure, axes: Axes, which: int, column: str) -> Axis:
    """How a value becomes a place: linearly, or its logarithm does, between the ends of the x (0) or y (1) axis."""
    ends = (axes.get_xlim(), axes.get_ylim())
    places = axes.transData.transform(np.transpose(ends))[:, which]
    low, high = (float(figure.bbox.height - p) if which else float(p) for p in places)
    log = (axes.get_xscale, axes.get_yscale)[which]() == "log"
    first, last = np.log10(ends[which]) if log else ends[which]
    b = (high - low) / (last - first)
    return Axis(column, log, float(low - b * first), float(b), min(low, high), max(low, high))
