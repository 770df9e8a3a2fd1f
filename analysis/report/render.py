"""A page as the text of one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures import DARK, LIGHT, Chart, Theme
from analysis.figures.places import Axis, Points
from analysis.report import forms
from analysis.report.numbers import Numbers
from analysis.report.page import Facts, Figure, Page, Statements, Table

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).with_name("templates")
ROWS = 3000  # of a figure's data beyond which it is not put into the page, unless its points say their values


def render(page: Page) -> str:
    """The page; the same page gives the same text."""
    blocks = [block for section in page.sections for block in section.blocks]
    charts = {chart: block.of for block in blocks if isinstance(block, Figure) for chart in block.variants.values()}
    numbers = Numbers()
    drawn = {
        chart: _drawn(chart, of, f"f{i}-", chart.palette.shares(page.palette), numbers)
        for i, (chart, of) in enumerate(charts.items())
    }
    return _templates().get_template("page.html").render(page=page, drawn=drawn, numbers=list(numbers))


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
    made.filters |= {"kind": _kind, "variables": _variables, "breakable": _breakable, "copied": _copied}
    made.globals |= {"light": LIGHT, "dark": DARK}
    return made


def _kind(block: Any) -> str:
    return {Table: "table", Figure: "figure", Facts: "facts", Statements: "statements"}[type(block)]


def _copied(table: Table) -> dict[str, list[Sequence[str]]]:
    """What of a table is copied: by form its lines before the rows, those of the rows in their order, those after."""
    made = {"markdown": forms.markdown(table), "latex": forms.latex(table)}
    return {form: [lines.before, lines.rows, lines.after] for form, lines in made.items()}


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line after an underscore."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _variables(theme: Theme) -> str:
    """A theme's colours as CSS variables."""
    return ";".join(f"--{role}:{colour}" for role, colour in theme.roles.items())


def _drawn(chart: Chart, of: str, prefix: str, shared: bool, numbers: Numbers) -> dict[str, Any]:
    """The SVG of a chart, the identity of its numbers, and what it says when pointed at and in a file, safe inside
    ``<script>``.

    Args:
        shared: whether its names are those of the page's key, which then brings them forward.
    """
    inline = chart.inline(prefix)
    points = [_pointed(chart, numbers, *along) for along in inline.points]
    told = {"marks": inline.marks, "points": points, "above": chart.heading(of), "below": inline.below}
    said = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    svg = inline.svg if shared else inline.svg.replace(" data-s=", " data-o=")
    there = chart.table is not None and len(chart.table) > 0 and (bool(points) or len(chart.table) <= ROWS)
    data = numbers.add(chart.table) if there and chart.table is not None else ""
    width, height = (round(72 * inches) for inches in chart.whole)
    return {"svg": svg, "width": width, "height": height, "said": said.replace("<", "\\u003c"), "data": data}


def _pointed(chart: Chart, numbers: Numbers, points: Points, x: Axis, y: Axis) -> dict[str, Any]:
    """Rows that say their values: where they lie, and whose they are, by their place in the palette."""
    whose = [chart.palette.place(str(name)) for name in points.table[points.by].unique()]
    return {"data": numbers.add(points.table), "by": points.by, "whose": whose, "says": points.says,
            **{key: [axis.column, axis.log, *(round(v, 3) for v in (axis.a, axis.b, axis.low, axis.high))]
               for key, axis in (("x", x), ("y", y))}}  # fmt: skip
