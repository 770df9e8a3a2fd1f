"""What a page consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from analysis.figures import Chart, Palette

Tone = Literal["", "best", "tied", "worse", "bad"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: what it says.
        value: what it sorts by, where that is not its text.
        note: said smaller, after the text: an interval, a unit.
        tone: how it stands out.
        series: the name whose colour it has, if any.
        span: where low, value and high lie between the ends of the column's range, in [0, 1],
            drawn as a bar with a dot.
    """

    text: str
    value: float | None = None
    note: str = ""
    tone: Tone = ""
    series: str | None = None
    span: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Column:
    """A column's heading, whether it holds numbers, and what the heading means."""

    name: str
    number: bool = False
    help: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts and copies; rows stand in the order given until a reader sorts them.

    Args:
        ranked: whether the tones of its cells say which are best and tied: each form explains how it shows these.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    ranked: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart, or several of which a reader chooses one, such as one against steps and one against seconds.

    Args:
        variants: by the words on their buttons; the first is shown.
        of: what they show, where their titles leave that to the section's; files that are saved say it.
    """

    variants: Mapping[str, Chart]
    of: str = ""

    @property
    def first(self) -> Chart:
        """The one that is shown."""
        return next(iter(self.variants.values()))


@dataclass(frozen=True)
class Headline:
    """One finding that can be quoted.

    Args:
        where: what it is about, linked to the section ``to``.
        who: the winner, in its colour; ``value`` and ``note`` are what it reached.
        text: how sure that is, and at what cost.
    """

    where: str
    to: str
    who: str
    value: str
    note: str
    text: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Terms and what they are here."""

    title: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Observed:
    """A quantity as it was found and as it was expected, in words and drawn on one line.

    Args:
        span: where low, value and high lie between the ends of the line, in [0, 1].
        expected: the part of the line within which it was expected, likewise.
        tone: how what was found stands out.
    """

    what: str
    found: str
    claim: str
    span: tuple[float, float, float]
    expected: tuple[float, float]
    tone: Tone = ""


@dataclass(frozen=True)
class Statement:
    """A sentence, what it comes to, and what was observed of it.

    Args:
        where: its source, said smaller.
    """

    text: str
    where: str
    verdict: str
    tone: Tone
    observed: Sequence[Observed]


@dataclass(frozen=True)
class Statements:
    """Sentences with their verdicts, one below the other."""

    title: str
    items: Sequence[Statement]


Block = Table | Figure | Facts | Statements


@dataclass(frozen=True)
class Section:
    """A heading, a few words, tables and figures."""

    key: str
    title: str
    blocks: Sequence[Block]
    lead: Sequence[str] = ()
    group: str = ""


@dataclass(frozen=True)
class Page:
    """A whole report.

    Args:
        summary: one sentence below the title.
        headlines: shown first, as cards.
        notes: what a reader must know of the whole: what was left out, what was thinned.
        series: names in the order of the key at the top; their colours are the palette's.
    """

    title: str
    summary: str
    headlines: Sequence[Headline] = ()
    sections: Sequence[Section] = ()
    notes: Sequence[str] = ()
    series: Sequence[str] = ()
    palette: Palette = field(default_factory=Palette)
