"""Tables of a page as text, Markdown and LaTeX."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.report.page import Table, Tone

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"$\sim$", "^": r"\textasciicircum{}", "≥": r"$\geq$", "≤": r"$\leq$",
    "±": r"$\pm$", "µ": r"$\mu$", "×": r"$\times$", "<": r"$<$", ">": r"$>$", "|": "$|$", "–": "--", "′": "$'$",
    "−": "$-$", "√": r"$\surd$", "‖": r"$\|$", "∞": r"$\infty$", "∂": r"$\partial$", "→": r"$\to$", "∝": r"$\propto$",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip
_NAMED = {
    "αβγδεζηθ": "alpha beta gamma delta epsilon zeta eta theta",
    "ικλμνξπρ": "iota kappa lambda mu nu xi pi rho",
    "στυφχψωϵϕ": "sigma tau upsilon phi chi psi omega epsilon phi",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
    "∇ℓ∑∏∫∓⊗⊙⋯": "nabla ell sum prod int mp otimes odot cdots",
    "≈≠≡∼≪≫∈∀∃∅⊂∪∩": "approx neq equiv sim ll gg in forall exists emptyset subset cup cap",
    "←↔↦⇒⌈⌉⌊⌋⟨⟩": "leftarrow leftrightarrow mapsto Rightarrow lceil rceil lfloor rfloor langle rangle",
}
_LATEX |= {m: rf"$\{name}$" for some, names in _NAMED.items() for m, name in zip(some, names.split(), strict=True)}
_RAISED = {"<super>": "^", "<sub>": "_"}  # as Unicode decomposes ², ᵀ and ᵢ
_ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0307": "dot"}  # after what they stand on
_ACCENTED = re.compile(rf"(.)([{''.join(_ACCENTS)}]?)", re.DOTALL)
_MINUS = re.compile(r"(?<![\w)\]])-(?=\.?\d|inf\b)|(?<=\de)-(?=\d)")  # a hyphen before a number
WIDTH = 100  # of a comment


Mark = Callable[[str, Tone], str]  # the text of a cell, shown as its tone says


def grid(table: Table, escaped: Callable[[str], str] = str, mark: Mark | None = None) -> list[list[str]]:
    """Headings, then rows, as text; in a ranked table what is best and tied is marked."""
    marked = mark if mark is not None and table.ranked else lambda text, tone: text
    rows = [[marked(escaped(_told(cell.text, cell.note)), cell.tone) for cell in row] for row in table.rows]
    return [[escaped(column.name) for column in table.columns], *rows]


def _told(text: str, note: str) -> str:
    """A cell and its note, in parentheses where it would read on from the cell."""
    return " ".join(filter(None, (text, f"({note})" if text and note[:1].isalnum() else note)))


def caption(table: Table, best: str, tied: str) -> str:
    """What stands below a table; of a ranked one how what is best and tied is told."""
    told = f"{best} is the best, {tied} cannot be told from it." if table.ranked else ""
    return " ".join(filter(None, (table.caption, told)))


@dataclass(frozen=True)
class Lines:
    """A table line by line: one of ``rows`` for each of its rows, which a reader may have sorted."""

    before: Sequence[str]
    rows: Sequence[str]
    after: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([*self.before, *self.rows, *self.after]) + "\n"


def markdown(table: Table) -> Lines:
    """A table as GitHub's Markdown has it; the best bold, what cannot be told from it in italics."""
    marks = {"best": "**", "tied": "*"}
    rows = grid(table, lambda text: text.replace("|", r"\|"), lambda text, tone: text.join([marks.get(tone, "")] * 2))
    rule = ["---:" if column.number else "---" for column in table.columns]
    head, under, *lines = [f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]]]
    return Lines([head, under], lines)


def latex(table: Table) -> Lines:
    """A table for the booktabs package; the best bold, what cannot be told from it in italics."""
    sides = "".join("r" if column.number else "l" for column in table.columns)
    marks = {"best": r"\textbf", "tied": r"\textit"}
    cells = grid(table, _escaped, lambda text, tone: f"{marks[tone]}{{{text}}}" if tone in marks else text)
    head, *rows = [" & ".join(row) + r" \\" for row in cells]
    said = [table.title, *textwrap.wrap(caption(table, "Bold", "italic"), WIDTH)]
    before = [*(f"% {_escaped(line)}" for line in said), rf"\begin{{tabular}}{{{sides}}}"]
    return Lines([*before, r"\toprule", head, r"\midrule"], rows, [r"\bottomrule", r"\end{tabular}"])


def _escaped(text: str) -> str:
    """A text as LaTeX has it."""
    plain = unicodedata.normalize("NFC", _MINUS.sub("−", text))
    return _ACCENTED.sub(lambda found: _latex(*found.groups()), plain)


def _latex(mark: str, accent: str) -> str:
    """A character, and the accent that stands on it, as LaTeX has them, whose fonts have no Greek and nothing raised
    but in formulas.
    """
    kind, _, code = unicodedata.decomposition(mark).partition(" ")
    told = _LATEX.get(mark, mark)
    if mark not in _LATEX and kind in _RAISED:
        inner = chr(int(code, 16))
        told = f"${_RAISED[kind]}{{{_LATEX.get(inner, inner).strip('$')}}}$"
    return rf"$\{_ACCENTS[accent]}{{{told.strip('$')}}}$" if accent else told


def text(table: Table) -> str:
    """A table in columns, its title above and its caption below; * after the best, = after what is tied with it."""
    marks = {"best": "*", "tied": "="} if table.ranked else {}
    rows = grid(table, mark=lambda text, tone: text + marks.get(tone, " "))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths, [column.number for column in table.columns]) for row in rows]
    said = caption(table, "*", "=")
    below = ["", said] if said else []
    return "\n".join([table.title, "", *lines, *below]) + "\n"


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
    return "  ".join(cells).rstrip()
