"""Tables and figures → one HTML page that needs nothing else: no network, no server, no other file."""

from analysis.report.page import (
    Block,
    Cell,
    Column,
    Facts,
    Figure,
    Headline,
    Observed,
    Page,
    Section,
    Statement,
    Statements,
    Table,
)
from analysis.report.render import render

__all__ = [
    "Block", "Cell", "Column", "Facts", "Figure", "Headline", "Observed", "Page", "Section", "Statement", "Statements",
    "Table", "render",
]  # fmt: skip
