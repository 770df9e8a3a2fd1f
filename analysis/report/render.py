"""A page as the text of one HTML file."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures import DARK, LIGHT, Chart, Theme
from analysis.report.page import Facts, Figure, Page, Table

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).with_name("templates")
DIGITS = 6  # of numbers in the data that go with a figure
ROWS = 3000  # of a figure's data beyond which it is not put into the page


def render(page: Page) -> str:
    """The page; the same page gives the same text."""
    blocks = [block for section in page.sections for block in section.blocks]
    charts = [chart for block in blocks if isinstance(block, Figure) for chart in block.variants.values()]
    drawn = {chart: _drawn(chart, f"f{i}-", chart.palette.shares(page.palette)) for i, chart in enumerate(charts)}
    return _templates().get_template("page.html").render(page=page, drawn=drawn)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"kind": _kind, "variables": _variables}
    made.globals |= {"light": LIGHT, "dark": DARK}
    return made


def _kind(block: Any) -> str:
    return {Table: "table", Figure: "figure", Facts: "facts"}[type(block)]


def _variables(theme: Theme) -> str:
    """A theme's colours as CSS variables."""
    return ";".join(f"--{role}:{colour}" for role, colour in theme.roles.items())


def _drawn(chart: Chart, prefix: str, shared: bool) -> dict[str, str]:
    """The SVG of a chart, what it says when pointed at, and its numbers as CSV, safe inside ``<script>``.

    Args:
        shared: whether its names are those of the page's key, which then brings them forward.
    """
    inline = chart.inline(prefix)
    marks = json.dumps(inline.marks, ensure_ascii=False, separators=(",", ":"))
    svg = inline.svg if shared else re.sub(r' data-s="\d+"', "", inline.svg)
    return {"svg": svg, "marks": marks.replace("<", "\\u003c"), "data": _data(chart).replace("<", "‹")}


def _data(chart: Chart) -> str:
    """The numbers as CSV; empty where there are none, or too many for a page."""
    if chart.table is None or not 0 < len(chart.table) <= ROWS:
        return ""
    plain = chart.table[[c for c in chart.table if not isinstance(chart.table[c].iloc[0], list)]]
    return plain.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
