"""Tables of a page as text, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analysis.report.page import Table

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "≥": r"$\geq$", "≤": r"$\leq$",
    "±": r"$\pm$", "µ": r"$\mu$", "×": r"$\times$", "<": r"$<$", ">": r"$>$", "–": "--",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip


def grid(table: Table) -> list[list[str]]:
    """Headings, then rows, as text."""
    rows = [[" ".join(filter(None, (cell.text, cell.note))) for cell in row] for row in table.rows]
    return [[column.name for column in table.columns], *rows]


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown has it."""
    rows = [[cell.replace("|", r"\|") for cell in row] for row in grid(table)]
    rule = ["---:" if column.number else "---" for column in table.columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]]) + "\n"


def latex(table: Table) -> str:
    """A table for the booktabs package."""
    sides = "".join("r" if column.number else "l" for column in table.columns)
    head, *rows = [" & ".join(map(_escaped, row)) + r" \\" for row in grid(table)]
    caption = _escaped(table.title)
    lines = [rf"% {caption}", rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    return re.sub("[" + re.escape("".join(_LATEX)) + "]", lambda found: _LATEX[found[0]], text)


def text(table: Table) -> str:
    """A table in columns, with its title above and its caption below."""
    rows = grid(table)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths, [column.number for column in table.columns]) for row in rows]
    below = ["", table.caption] if table.caption else []
    return "\n".join([table.title, "", *lines, *below]) + "\n"


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
    return "  ".join(cells).rstrip()
