"""``report``, ``figures`` and ``table`` on the command line."""

from __future__ import annotations

from typing import Any

import click
from click.exceptions import Exit

KINDS = ["verdicts", "scaling", "costs", "spectra", "claims", "runs"]
_RESULTS = click.option("--results", default="results", show_default=True, metavar="DIR", help="Where results are.")


@click.command()
@_RESULTS
@click.option("--out", metavar="FILE", help="Where to write the page.  [default: report.html in DIR]")
@click.option("--open", "open_it", is_flag=True, help="Open it in a browser.")
def report(**options: Any) -> None:
    """Write one HTML page of all results: verdicts, curves, sensitivity, costs, spectra, landscapes.

    It needs no network and no other file.
    """
    from suite.reporting.command import report

    raise Exit(report(**options))


@click.command()
@_RESULTS
@click.option("--format", "form", type=click.Choice(["svg", "pdf", "png"]), default="svg", show_default=True)
@click.option("--out", metavar="DIR", help="Where to write them.  [default: figures in DIR]")
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True)
def figures(**options: Any) -> None:
    """Write every figure of the report as a file of its own, and print their names."""
    from suite.reporting.command import figures

    raise Exit(figures(**options))


@click.command()
@click.argument(
    "kind", type=click.Choice(["verdicts", "scaling", "costs", "spectra", "claims", "runs"]), default="verdicts"
)
@_RESULTS
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "latex", "markdown", "json"]),
    default="text",
    show_default=True,
)
def table(**options: Any) -> None:
    """Print the tables of all results: of verdicts, costs, spectra, claims or runs, or of problems side by side.

    csv and json have every number in full, one row for each contestant. scaling is of problems that
    differ in one number alone, such as their depth.
    """
    from suite.reporting.command import table

    raise Exit(table(**options))
