"""``python -m suite claims``: what the chapter says, tried."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.numbers import duration
from problems.names import Spec, UsageError
from problems.selection import selected
from suite import export, tables
from suite.claims.base import VERDICTS, claim, heading
from suite.claims.carrying import FAILED, FOLDER, carry_out_all, place
from suite.environment import cores
from suite.progress import count

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLOURS = {"holds": "green", "does not hold": "red", "undecided": "yellow", FAILED: "bold red"}
WORDS = {"holds": "hold", "does not hold": "do not hold", "undecided": "are undecided", FAILED: "failed"}


def claims(
    *,
    names: Sequence[str],
    section: str,
    controls: bool,
    jobs: int | None,
    results: str,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Carry claims out and print what they come to; 1 if one could not be carried out, or a control holds."""
    from suite.store import Store

    specs = asked(", ".join(names) or "all", section)
    Store(Path(results) / FOLDER).ready()
    found: list[dict[str, Any]] = []
    for record in carry_out_all(specs, results, jobs or cores(), force, controls):
        found.append(record)
        if not quiet:
            took = duration(record["seconds"])
            click.echo(f"{len(found)} of {len(specs)}  {record['claim']}: {record['verdict']} in {took}", err=True)
    found.sort(key=place)
    if as_json:
        click.echo(export.to_json({"claims": found}))
    else:
        show(tables.console(sys.stdout), found)
    wrong = any(record.get("control", {}).get("verdict") in ("holds", FAILED) for record in found)
    return int(wrong or any(record["verdict"] == FAILED for record in found))


def asked(text: str, section: str = "") -> list[Spec]:
    """The bound claims that a text names, of a section and those within it.

    Raises:
        UsageError: an unknown name, a setting out of bounds, or no claim of that section is among them.
    """
    found = [claim.bind(spec) for spec in selected(claim, text)]
    within = [spec for spec in found if _in(_section(spec), section)]
    if not within:
        known = sorted({_section(spec) for spec in found})
        raise UsageError(f"claims: none is of section {section!r}; they are of {', '.join(known)}")
    return within


def _section(spec: Spec) -> str:
    return str(claim.find(spec.name).meta.get("section", ""))


def _in(section: str, whole: str) -> bool:
    return not whole or section == whole or section.startswith(f"{whole}.")


def show(to: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Each claim with its verdict and what was observed, by section, and how many hold."""
    from rich.table import Table
    from rich.text import Text

    for title, records in groupby(found, lambda record: heading(record["section"])):
        grid = Table.grid(padding=(0, 2))
        for _ in range(3):
            grid.add_column()
        for record in records:
            grid.add_row(*_head(record))
            for line in _lines(record):
                grid.add_row("", "", line)
        tables.show(to, Text(title, style="bold"), grid, "")
    tables.show(to, *_summary(found))


def _head(record: Mapping[str, Any]) -> tuple[RenderableType, ...]:
    from rich.text import Text

    verdict = record["verdict"]
    says = Text(f"{record['claim']}  ", style="bold") + Text(record["says"], style="not bold")
    return Text(verdict, style=COLOURS[verdict]), record["section"], says


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    """What was observed, a line each, marked where it is not as claimed, and what came of the control."""
    for each in record["observations"]:
        mark = {"holds": " ", "does not hold": "x", "undecided": "?"}[each["verdict"]]
        n = f", {each['n']} seeds" if each["statistic"] != "exact" else ""
        yield f"{mark} {each['what']}: {each['shown']}  (claimed {each['claimed']}{n})"
    if record["verdict"] == FAILED:
        yield record["problem"]
    if "control" in record:
        found = record["control"]
        why = f", {found['problem']}" if found["verdict"] == FAILED else ""
        mark = "x" if found["verdict"] in ("holds", FAILED) else " "
        yield f"{mark} control, {found['settings']}: {found['verdict']}{why}"


def _summary(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    counts = Counter(record["verdict"] for record in found)
    told = ", ".join(
        f"{counts[verdict]} {verdict if counts[verdict] == 1 else WORDS[verdict]}"
        for verdict in (*VERDICTS, FAILED)
        if counts[verdict]
    )
    yield f"{count(len(found), 'claim')}: {told}"
    yield "Medians over seeds, or shares of them, with intervals that hold at 95 % for all of a claim together;"
    yield "? where an interval takes in what is claimed and what is not, x where it lies outside."
    if any("control" in record for record in found):
        yield "A control is the experiment without what the claim is about, of which it must not hold."
