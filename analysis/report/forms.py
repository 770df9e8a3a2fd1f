"""Tables of a page as text, Markdown and LaTeX."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from analysis.report.page import Table, Tone

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "≥": r"$\geq$", "≤": r"$\leq$",
    "±": r"$\pm$", "µ": r"$\mu$", "×": r"$\times$", "<": r"$<$", ">": r"$>$", "–": "--",
    "−": "$-$", "√": r"$\surd$", "‖": r"$\|$", "∞": r"$\infty$", "∂": r"$\partial$", "→": r"$\to$", "∝": r"$\propto$",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip
_GREEK = {
    "αβγδεζηθ": "alpha beta gamma delta epsilon zeta eta theta",
    "ικλμνξπρ": "iota kappa lambda mu nu xi pi rho",
    "στυφχψω": "sigma tau upsilon phi chi psi omega",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
}
_LATEX |= {m: rf"$\{name}$" for some, names in _GREEK.items() for m, name in zip(some, names.split(), strict=True)}
_RAISED = {"<super>": "^", "<sub>": "_"}  # as Unicode decomposes ², ᵀ and ᵢ


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


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown has it; the best bold, what cannot be told from it in italics."""
    marks = {"best": "**", "tied": "*"}
    rows = grid(table, lambda text: text.replace("|", r"\|"), lambda text, tone: text.join([marks.get(tone, "")] * 2))
    rule = ["---:" if column.number else "---" for column in table.columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]]) + "\n"


def latex(table: Table) -> str:
    """A table for the booktabs package; the best bold, what cannot be told from it in italics."""
    sides = "".join("r" if column.number else "l" for column in table.columns)
    marks = {"best": r"\textbf", "tied": r"\textit"}
    cells = grid(table, _escaped, lambda text, tone: f"{marks[tone]}{{{text}}}" if tone in marks else text)
    head, *rows = [" & ".join(row) + r" \\" for row in cells]
    lines = [rf"% {_escaped(table.title)}", rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    return "".join(map(_latex, text))


def _latex(mark: str) -> str:
    """A character as LaTeX has it, whose fonts have no Greek and nothing raised but in formulas."""
    kind, _, code = unicodedata.decomposition(mark).partition(" ")
    if mark not in _LATEX and kind in _RAISED:
        inner = chr(int(code, 16))
        return f"${_RAISED[kind]}{{{_LATEX.get(inner, inner).strip('$')}}}$"
    return _LATEX.get(mark, mark)


def latex_marks() -> dict[str, str]:
    """Every character that LaTeX has otherwise, and how, for a page that copies its tables."""
    return _LATEX | {mark: told for mark in map(chr, range(0xA0, 0x2100)) if (told := _latex(mark)) != mark}


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
