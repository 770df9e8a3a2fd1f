"""What there is: names with their settings, and data sets. Needs neither torch nor pandas."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click

from problems.data.catalog import Source, catalog
from problems.registry import Entry
from suite import export, tables


def show_names(kinds: Sequence[str], as_json: bool) -> None:
    """Print the names of each kind, one line of what each is, and its settings."""
    if as_json:
        found = {kind: [export.of_entry(entry) for entry in export.REGISTRIES[kind]] for kind in kinds}
        click.echo(export.to_json(found))
        return
    to = tables.console(sys.stdout)
    for kind in kinds:
        rows = [(entry.name, line) for entry in export.REGISTRIES[kind] for line in _lines(entry)]
        tables.show_lines(to, kind if len(kinds) > 1 else "", rows)
    if "optimizers" in kinds:
        tables.show(to, "Any torch.optim class works as torch.<Name>, your own as file.py:Name.")


def _lines(entry: Entry[object]) -> Iterator[str]:
    """What a name is, then its settings with bounds and defaults."""
    yield entry.summary
    for parameter in entry.parameters:
        tuned = f"; tuned {entry.tune[parameter.name]}" if parameter.name in entry.tune else ""
        yield f"  {parameter}{tuned}"


def show_data(as_json: bool) -> None:
    """Print the data sets, where each is, and how to get those that are not here."""
    if as_json:
        click.echo(export.to_json({"data": [_of_source(source) for source in catalog()]}))
        return
    rows = [(source.name, line) for source in catalog() for line in _told(source)]
    tables.show_lines(tables.console(sys.stdout), "", rows)


def _of_source(source: Source) -> dict[str, object]:
    where = source.where()
    return {
        "name": source.name,
        "summary": source.summary,
        "download_bytes": source.size,
        "where": str(where) if where else None,
        "needed_by": source.needed_by,
    }


def _told(source: Source) -> Iterator[str]:
    where = source.where()
    size = f", {source.size / 1e6:.1f} MB to download" if source.size else ""
    yield f"{source.summary}{size}"
    yield f"  for {', '.join(source.needed_by)}"
    yield f"  {where}" if where else f"  not here: python -m suite data fetch {source.name}"
