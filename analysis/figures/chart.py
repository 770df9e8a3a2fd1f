"""What a figure is: panels that draw themselves, saved as files or put inline into a page.

A chart draws when it is asked for, in the theme that is asked for, with its own canvas: no
global state of matplotlib's is touched and no window opens. The same chart gives the same
bytes of SVG.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape
from zlib import crc32

from analysis.figures.places import Axis, Mark, Place, Points, along, places
from analysis.figures.slim import slim
from analysis.figures.style import LIGHT, SIZE, Palette, Theme, settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
BEHIND, UNCOLOURED = 0.8, 1.1  # points, the width of lines behind those in front, and of those without a colour
LINE, TITLE_LETTER = 0.2, 7.4  # inches of each further line of a title; points, the width of its letters
SMALL, LETTER = 7.0, 4.0  # points, the size and the width of letters below a figure
_DATES = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}, "png": {}}


@dataclass(eq=False)
class Panel:
    """One pair of axes while it is drawn.

    Args:
        behind: whose lines have no name beside their ends, from the uppermost end to the lowest.
    """

    axis: Axes
    theme: Theme
    palette: Palette
    marks: list[Mark] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)

    def colour(self, name: str) -> str:
        """The colour of a series here."""
        return self.palette.colour(name, self.theme)

    def pen(self, name: str) -> dict[str, Any]:
        """How the lines of a series are drawn: in its colour, or thin and grey behind those that are in front."""
        if not self.palette.leads(name):
            return {"color": self.theme.quiet, "lw": BEHIND, "zorder": 2}
        look: dict[str, Any] = {"color": self.colour(name), "ls": self.palette.dashes(name), "zorder": 4}
        return look if self.palette.own(name) else {**look, "lw": UNCOLOURED, "zorder": 3}

    def tag(self, artist: Any, name: str) -> None:
        """Say whose an artist is, so that a page can bring it forward or hide it."""
        kind = "series" if self.palette.leads(name) else "behind"
        artist.set_gid(f"{kind}-{self.palette.place(name)}")

    def mark(self, x: float, y: float, text: str, series: str | None = None) -> None:
        """Let a place, in data coordinates, say its value when pointed at."""
        self.marks.append(Mark(float(x), float(y), text, series))

    def empty(self, why: str) -> None:
        """Say that there is nothing to show."""
        self.axis.set_axis_off()
        self.axis.text(
            0.5, 0.5, f"No data: {why}", ha="center", va="center", wrap=True, color=self.theme.muted,
            transform=self.axis.transAxes,
        )  # fmt: skip


Draw = Callable[[Panel], None]


@dataclass(frozen=True)
class _Rendered:
    data: bytes
    marks: list[Place]
    points: list[tuple[Points, Axis, Axis]]
    below: list[str]


@dataclass(frozen=True)
class Inline:
    """A chart for a page: SVG whose colours are CSS variables, and what it says when pointed at.

    Args:
        marks: single places, each with what it says.
        points: rows of tables, with the axes along which they lie.
        below: lines for below a file of it, in which nobody can point at anything: whose lines are grey.
    """

    svg: str
    marks: list[Place]
    points: list[tuple[Points, Axis, Axis]]
    below: list[str]


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure that has not been drawn yet.

    Args:
        name: of the file it is saved to; letters, digits, dashes.
        title: what it shows, in a few words.
        draw: one function for each panel, from left to right.
        caption: what a reader needs to know to read it.
        table: the numbers it shows.
        size: of one panel, in inches.
    """

    name: str
    title: str
    draw: Sequence[Draw]
    caption: str = ""
    palette: Palette = field(default_factory=Palette)
    table: pd.DataFrame | None = None
    size: tuple[float, float] = SIZE
    columns: int = 4

    @property
    def empty(self) -> bool:
        """Whether it has nothing to show."""
        return self.table is None or self.table.empty

    @property
    def whole(self) -> tuple[float, float]:
        """Width and height of all panels together, in inches."""
        down, across = self._grid
        return self.size[0] * across, self.size[1] * down

    @property
    def _grid(self) -> tuple[int, int]:
        """How many panels stand below and beside each other."""
        across = min(len(self.draw), self.columns)
        return -(-len(self.draw) // across), across

    def save(self, path: str | Path, theme: Theme = LIGHT, dpi: int = 200) -> Path:
        """Write a file whose kind its ending says: ``.svg``, ``.pdf`` or ``.png``.

        Raises:
            ValueError: another ending.
        """
        path = Path(path)
        kind = path.suffix.lower().lstrip(".")
        if kind not in FORMATS:
            raise ValueError(f"a figure is saved as {', '.join(FORMATS)}, got {path.name!r}")
        path.write_bytes(self.svg(theme).encode() if kind == "svg" else self._rendered(kind, theme, True, dpi).data)
        return path

    def svg(self, theme: Theme = LIGHT) -> str:
        """The whole figure, with its title, as the text of an SVG file; a browser names the line that is pointed at.

        Notebooks put the SVG of all their cells into one page, so its identities are no other figure's.
        """
        text = slim(self._rendered("svg", theme, True).data.decode())
        text = _identified(text, f"i{crc32(text.encode()):08x}-")
        titles = [f"<title>{escape(name)}</title>" for name in self.palette]
        text = re.sub(r' data-s="(\d+)">', lambda found: found[0] + titles[int(found[1])], text)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + text

    def inline(self, prefix: str = "") -> Inline:
        """The figure for a page that defines ``--ink``, ``--muted``, ``--grid``, ``--paper``, ``--s0``, …

        Args:
            prefix: of the identities within the SVG, which must differ between the figures of a page.
        """
        drawn = self._rendered("svg", LIGHT, False)
        text = _identified(slim(drawn.data.decode()), prefix)
        for role, colour in LIGHT.roles.items():
            text = text.replace(colour, f"var(--{role})")
        text = re.sub(r"font:([\d.]+)px [^;\"]*", r"font-size:\1px", text)  # matplotlib 3.10 and before
        text = re.sub(r"font-family:[^;\"]*;", "", text)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        return Inline(text, drawn.marks, drawn.points, drawn.below)

    def _repr_svg_(self) -> str:
        """How a notebook shows it."""
        return self.svg()

    def heading(self, of: str = "") -> list[str]:
        """The title in lines that are no wider than the figure.

        Args:
            of: what it shows, where the title leaves that to a heading above it.
        """
        return wrap(f"{self.title} on {of}" if of else self.title, int(72 * self.whole[0] / TITLE_LETTER))

    def _rendered(self, kind: str, theme: Theme, titled: bool, dpi: int = 72) -> _Rendered:
        import matplotlib as mpl

        with mpl.rc_context(settings(theme, self.name)):
            figure, panels = self._drawn(theme, titled)
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=dpi, metadata=_DATES[kind])
            marks, points = (places(figure, panels), along(figure, panels)) if kind == "svg" else ([], [])
        return _Rendered(buffer.getvalue(), marks, points, _behind(figure, panels))

    def _drawn(self, theme: Theme, titled: bool) -> tuple[Figure, list[Panel]]:
        from matplotlib.figure import Figure

        width, height = self.whole
        title = self.heading() if titled else []
        above = 0.3 * titled + LINE * max(len(title) - 1, 0)
        figure = Figure(figsize=(width, height + above), dpi=72, layout="constrained")
        axes = figure.subplots(*self._grid, squeeze=False).ravel()
        panels = [Panel(axis, theme, self.palette) for axis in axes]
        for axis in axes[len(self.draw) :]:
            axis.set_axis_off()
        for panel, draw in zip(panels, self.draw, strict=False):
            draw(panel)
        if title:
            figure.suptitle("\n".join(title), x=0.01, ha="left", fontsize=11, fontweight="bold", color=theme.ink)
        below = _behind(figure, panels) if titled else []
        if below:
            figure.set_figheight(figure.get_figheight() + 1.3 * SMALL / 72 * len(below))
            figure.supxlabel("\n".join(below), x=0.01, ha="left", fontsize=SMALL, color=theme.muted)
        return figure, panels


def _identified(svg: str, prefix: str) -> str:
    """The SVG with a prefix before each identity and wherever it is named."""
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}", svg)


def _behind(figure: Figure, panels: Sequence[Panel]) -> list[str]:
    """Whose lines are grey, in lines as wide as the figure; of one panel, in the order of their ends."""
    orders = [panel.behind for panel in panels if panel.behind]
    if not orders:
        return []
    there = {name for order in orders for name in order}
    names = orders[0] if len(orders) == 1 else [name for name in panels[0].palette if name in there]
    said = f"In grey{', from the top' if len(orders) == 1 else ''}: {', '.join(names)}"
    letters = int(72 * figure.get_figwidth() / LETTER)
    return wrap(said, letters, break_long_words=False, break_on_hyphens=False)


def beside(name: str, title: str, charts: Sequence[Chart], **options: Any) -> Chart:
    """Several charts as the panels of one."""
    import pandas as pd

    tables = [chart.table for chart in charts if chart.table is not None]
    options = {"palette": charts[0].palette, "table": pd.concat(tables) if tables else None, **options}
    draws = [partial(_headed, chart.title, draw) for chart in charts for draw in chart.draw]
    return Chart(name, title, draws, **options)


def _headed(title: str, draw: Draw, panel: Panel) -> None:
    panel.axis.set_title(title)
    draw(panel)
