"""The look of every figure: colours, type, and when an axis is logarithmic.

The eight colours of a theme differ for people with normal, protan, deutan and tritan vision
(the tests measure by how much), and each has a contrast of at least 3.5 to the paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

DECADES = 1.5  # an axis is logarithmic where positive values span so many powers of ten
SIZE = (4.2, 2.9)  # inches of one panel: 3 beside each other on a page, 1 on a phone


@dataclass(frozen=True)
class Theme:
    """Colours by what they are for.

    Args:
        ink, muted: text, and text that stands back.
        grid, paper: lines behind the data, and what is behind everything.
        series: of optimizers, or whatever else is told apart.
    """

    ink: str
    muted: str
    grid: str
    paper: str
    series: tuple[str, ...]

    @property
    def roles(self) -> dict[str, str]:
        """Every colour by name: ``ink``, ``muted``, ``grid``, ``paper``, ``s0``, ``s1``, …"""
        own = {"ink": self.ink, "muted": self.muted, "grid": self.grid, "paper": self.paper}
        return own | {f"s{i}": colour for i, colour in enumerate(self.series)}


LIGHT = Theme(
    "#1b2230", "#5c6675", "#e4e7ec", "#fefefe",
    ("#1a6fe0", "#d43b47", "#16917f", "#a87b00", "#5a1fe0", "#d63aa9", "#6b2c0a", "#46484c"),
)  # fmt: skip
DARK = Theme(
    "#e7eaf0", "#9aa5b5", "#2c3442", "#141820",
    ("#45a6f5", "#e8474f", "#55d89a", "#efda75", "#8c68ff", "#dd459f", "#fb8e13", "#d3dae2"),
)  # fmt: skip
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))


class Palette:
    """One colour for each name, the same in every figure; from the ninth name on, lines are dashed too.

    Args:
        names: in the order in which they get colours; names met later follow.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._place: dict[str, int] = {}
        for name in names:
            self.place(name)

    def place(self, name: str) -> int:
        """Which of the names it is, counted from 0."""
        return self._place.setdefault(name, len(self._place))

    def colour(self, name: str, theme: Theme = LIGHT) -> str:
        """The colour of a name."""
        return theme.series[self.place(name) % len(theme.series)]

    def dashes(self, name: str) -> Any:
        """How its lines are drawn."""
        return DASHES[self.place(name) // len(LIGHT.series) % len(DASHES)]


def settings(theme: Theme, salt: str) -> Any:
    """Matplotlib's settings for a theme, a mapping, on top of seaborn's ``ticks``."""
    import seaborn as sns

    own = {
        "axes.edgecolor": theme.muted,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.labelcolor": theme.muted,
        "axes.labelsize": 9,
        "axes.linewidth": 0.7,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": theme.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 9.5,
        "axes.unicode_minus": True,
        "figure.facecolor": theme.paper,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.7,
        "lines.solid_capstyle": "round",
        "pdf.fonttype": 42,
        "savefig.facecolor": theme.paper,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "xtick.labelsize": 8.5,
        "xtick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.color": theme.muted,
        "ytick.labelsize": 8.5,
        "ytick.major.size": 0,
        "ytick.minor.size": 0,
    }
    return {**sns.axes_style("ticks"), **own}


def spans_decades(values: ArrayLike) -> bool:
    """Whether values are all positive and span enough powers of ten for a logarithmic axis."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return bool(len(finite) and finite.min() > 0 and np.log10(finite.max() / finite.min()) >= DECADES)
