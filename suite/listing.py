"""What there is: names with their settings, and data sets. Needs neither torch nor pandas, unless asked for all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from problems.data.catalog import Source, catalog, source
from problems.names import Spec
from problems.problem import problem
from problems.registry import Entry
from suite import export, tables


def show_names(kinds: Sequence[str], as_json: bool, full: bool = False) -> None:
    """Print the names of each kind, one line of what each is, and its settings.

    Args:
        full: make each problem whose data is here, and tell what is known of it then.
    """
    if as_json:
        found = {kind: [_of_name(entry, kind, full) for entry in export.REGISTRIES[kind]] for kind in kinds}
        click.echo(export.to_json(found))
        return
    to = tables.console(sys.stdout)
    for kind in kinds:
        rows = [(entry.name, line) for entry in export.REGISTRIES[kind] for line in _lines(entry, kind, full)]
        tables.show_lines(to, kind if len(kinds) > 1 else "", rows)
    if "optimizers" in kinds:
        tables.show(to, "Any torch.optim class works as torch.<Name>, your own as file.py:Name.")


def _of_name(entry: Entry[object], kind: str, full: bool) -> dict[str, Any]:
    return {**export.of_entry(entry), **(_facts(entry) if full and kind == "problems" else {})}


def _facts(entry: Entry[object]) -> dict[str, Any]:
    """Size, examples, target and minimum of a problem with default settings; {} if it cannot be made here."""
    data = entry.meta.get("data")
    if any(p.required for p in entry.parameters) or (data and source(data).where() is None):
        return {}
    made = problem.build(problem.bind(Spec(entry.name)))
    return {
        "parameters": made.size,
        "examples": {name: len(split) for name, split in made.splits.items()},
        "target": asdict(made.target) if made.target else None,
        "minimum": made.minimum.loss if made.minimum else None,
    }


def _lines(entry: Entry[object], kind: str, full: bool) -> Iterator[str]:
    """What a name is and where it comes from, then its settings with bounds and defaults."""
    yield entry.summary
    if kind == "problems" and "source" in entry.meta:
        yield f"  from {entry.meta['source']}; data: {entry.meta.get('data', 'its own, or given')}"
    facts = _facts(entry) if full and kind == "problems" else {}
    if facts:
        examples = ", ".join(f"{count} {name}" for name, count in facts["examples"].items())
        target = facts["target"]
        sign = target and {"higher": ">=", "lower": "<="}[target["better"]]
        wanted = f"{target['measure']} {sign} {target['value']:g} ({target['origin']})" if target else "none"
        yield f"  {facts['parameters']} parameters; examples: {examples}; target: {wanted}"
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
