"""What there is: names with their settings, and data sets. Needs neither torch nor pandas, unless asked for all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import click

from problems import facts
from problems.data.catalog import Source, catalog
from problems.entries import Entry
from problems.facts import Facts
from problems.selection import selected
from suite import export, tables

SEVERAL = ("problems", "optimizers", "initializers")  # of which commands take lists


def show_names(kinds: Sequence[str], as_json: bool, full: bool = False) -> None:
    """Print the names of each kind, one line of what each is, and its settings.

    Args:
        full: make each problem whose data is here, to tell what it is now and on these data.
    """
    if as_json:
        found = {kind: [_of_name(entry, kind, full) for entry in export.entries(kind)] for kind in kinds}
        click.echo(export.to_json(found))
        return
    to = tables.console(sys.stdout)
    for kind in kinds:
        rows = [(entry.name, line) for entry in export.entries(kind) for line in _lines(entry, kind, full)]
        tables.show_lines(to, kind if len(kinds) > 1 else "", rows)
        if kind in SEVERAL:
            tables.show(to, _groups(kind), *_families(kind))


def _groups(kind: str) -> str:
    """The words that stand for several names of a kind, where a command takes several."""
    registry = export.REGISTRIES[kind]
    counts = [f"{word} ({len(selected(registry, word))})" for word in registry.groups]
    return f"Several at once: {', '.join(counts)}, patterns such as {registry.names()[0][:4]}*; -name leaves one out."


def _families(kind: str) -> Iterator[str]:
    """The packages whose definitions go by their own names, which is told without importing them."""
    for name, family in export.REGISTRIES[kind].families.items():
        missing = "" if find_spec(family.package.partition(".")[0]) else ", which is not installed"
        yield f"{name}.<Name> is a class of {family.package}, {name}.* all of them that run as they are{missing}."
    if export.REGISTRIES[kind].families:
        yield "file.py:<Name> is your own, file.py:* all of that file."


def _of_name(entry: Entry[Any], kind: str, full: bool) -> dict[str, Any]:
    return {**export.of_entry(entry), **(_facts(entry, full) if kind == "problems" else {})}


def _facts(entry: Entry[Any], full: bool) -> Facts:
    """What is known of a problem with default settings, or what it is found to be; {} where neither is possible."""
    return (facts.made_here(entry) if full else None) or facts.known().get(entry.name, {})


def _lines(entry: Entry[Any], kind: str, full: bool) -> Iterator[str]:
    """What a name is and where it comes from, then its settings with bounds and defaults."""
    yield entry.summary
    if kind == "problems":
        yield from _origin(entry, _facts(entry, full))
    for parameter in entry.parameters:
        tuned = f"; tuned {entry.tune[parameter.name]}" if parameter.name in entry.tune else ""
        yield f"  {parameter}{tuned}"


def _origin(entry: Entry[Any], found: Facts) -> Iterator[str]:
    """The source of a definition, its data, its size and its target."""
    given = "computed" if entry.meta.get("embedded") else "given"
    yield f"  from {entry.meta.get('source', 'its author')}; data: {entry.meta.get('data', given)}"
    if not found:
        return
    counts = ", ".join(f"{count} {name}" for name, count in found["examples"].items())
    examples = "no examples" if found["examples"] == {"train": 1} else f"examples: {counts}"
    yield f"  {found['parameters']} parameters; {examples}" + (
        "" if found["minimum"] is None else f"; minimum: {found['minimum']:.4g}"
    )
    target = found["target"]
    if target:
        sign = {"higher": ">=", "lower": "<="}[target["better"]]
        yield f"  target: {target['measure']} {sign} {target['value']:.4g}, {target['origin']}"


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
