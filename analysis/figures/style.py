"""The look of every figure: colours, type, and when an axis is logarithmic.

The eight colours of a theme differ for people with normal, protan, deutan and tritan vision
(the tests measure by how much), and each has a contrast of at least 3.5 to the paper. More
cannot be told apart: where there are many names, few are in colour and the others in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
        quiet: of data that are there to be held against, not to be told apart.
        grid, paper: lines behind the data, and what is behind everything.
        series: of optimizers, or whatever else is told apart; the last is a grey.
    """

    ink: str
    muted: str
    quiet: str
    grid: str
    paper: str
    series: tuple[str, ...]

    @property
    def roles(self) -> dict[str, str]:
        """Every colour by name: ``ink``, ``muted``, ``quiet``, ``grid``, ``paper``, ``s0``, ``s1``, …"""
        own = {"ink": self.ink, "muted": self.muted, "quiet": self.quiet, "grid": self.grid, "paper": self.paper}
        return own | {f"s{i}": colour for i, colour in enumerate(self.series)}


LIGHT = Theme(
    "#1b2230", "#5c6675", "#b4bbc6", "#e4e7ec", "#fefefe",
    ("#1a6fe0", "#d43b47", "#16917f", "#a87b00", "#5a1fe0", "#d63aa9", "#6b2c0a", "#46484c"),
)  # fmt: skip
DARK = Theme(
    "#e7eaf0", "#9aa5b5", "#525c6c", "#2c3442", "#141820",
    ("#45a6f5", "#e8474f", "#55d89a", "#efda75", "#8c68ff", "#dd459f", "#fb8e13", "#d3dae2"),
)  # fmt: skip
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))


OWN = len(LIGHT.series) - 1  # names that have a colour to themselves where there are many; the others share the last
FEW = 10  # names of which each can be in colour, and be read beside the end of its line
FRONT = 6  # names in front of a figure where there are more


class Palette:
    """How each name looks, the same in every figure.

    Of up to ten names each has one of eight colours, the ninth and tenth dashed. Of more, the first seven have a
    colour each, which nobody else has, and the others share a grey; and a figure brings some forward (:meth:`focus`).

    Args:
        names: in the order in which they get colours; names met later follow, from the eleventh on in grey.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._place: dict[str, int] = {}
        self._front: frozenset[str] | None = None
        for name in names:
            self.place(name)
        self.many = len(self._place) > FEW

    @classmethod
    def of(cls, names: Iterable[object]) -> Palette:
        """The palette of a figure by itself: of many names the first six are in front, few get colours as they come."""
        known = list(dict.fromkeys(map(str, names)))
        return cls(known).focus(known) if len(known) > FEW else cls()

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def place(self, name: str) -> int:
        """Which of the names it is, counted from 0."""
        return self._place.setdefault(name, len(self._place))

    def shares(self, other: Palette) -> bool:
        """Whether names have the same places in both: one is the other, perhaps with other names in front."""
        return self._place is other._place

    def focus(self, first: Iterable[str], beside: Iterable[str] = ()) -> Palette:
        """The same palette for a figure that brings forward few: of ``first`` six, and those ``beside`` them.

        After the very first those that have a colour to themselves go before others. Of up to ten names all stay in
        front.
        """
        if not self.many:
            return self
        ordered = list(dict.fromkeys(first))
        ordered[1:] = sorted(ordered[1:], key=lambda name: not self.own(name))
        found = Palette()
        found._place, found.many = self._place, True
        found._front = frozenset([*ordered[:FRONT], *beside])
        return found

    def leads(self, name: str) -> bool:
        """Whether a name stands in front; the others are what it is held against."""
        return self._front is None or name in self._front

    def own(self, name: str) -> bool:
        """Whether its colour is nobody else's."""
        return self.place(name) < (OWN if self.many else FEW)

    def role(self, name: str) -> str:
        """The name of its colour among those of a theme: ``s0``, ``s1``, …"""
        place = self.place(name)
        return f"s{place % (OWN + 1) if self.own(name) else OWN}"

    def colour(self, name: str, theme: Theme = LIGHT) -> str:
        """The colour of a name."""
        return theme.roles[self.role(name)]

    def dashes(self, name: str) -> Any:
        """How its lines are drawn."""
        place = self.place(name)
        turn = max(0, place - OWN) if self.many else place // (OWN + 1)
        return DASHES[turn % len(DASHES)]


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
