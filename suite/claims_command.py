"""``python -m suite claims``: what the chapter says, tried."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from analysis.numbers import duration
from problems.names import Spec, UsageError, parse
from problems.selection import selected
from suite import export, tables
from suite.claims.base import VERDICTS, claim
from suite.claims.carrying import FAILED, carry_out_all, place
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
    """Carry claims out and print what they come to; 1 if one could not be carried out or a control holds."""
    from suite.store import Store

    specs = asked(", ".join(names) or "all", section)
    if controls:
        specs = [control(spec) for spec in specs]
    Store(results).ready()
    found: list[dict[str, Any]] = []
    for record in carry_out_all(specs, results, jobs or cores(), force):
        found.append(record)
        if not quiet:
            took = f" in {duration(record['seconds'])}" if "seconds" in record else ""
            click.echo(f"{len(found)} of {len(specs)}  {record['claim']}: {record['verdict']}{took}", err=True)
    found.sort(key=place)
    if as_json:
        click.echo(export.to_json({"controls": controls, "claims": found}))
    else:
        show(tables.console(sys.stdout), found, controls)
    wrong = ("holds", FAILED) if controls else (FAILED,)
    return int(any(record["verdict"] in wrong for record in found))


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


def control(spec: Spec) -> Spec:
    """The control of a claim: the same experiment without what the claim is about, of which it must not hold."""
    changes = parse(f"control({claim.find(spec.name).meta['control']})").options
    return claim.bind(spec.replace(**changes))


def show(to: Console, found: Sequence[Mapping[str, Any]], controls: bool = False) -> None:
    """Each claim with its verdict and what was observed, and how many hold."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column()
    for record in found:
        grid.add_row(*_head(record))
        for line in _lines(record):
            grid.add_row("", "", line)
        grid.add_row()
    tables.show(to, grid, *_summary(found, controls))


def _head(record: Mapping[str, Any]) -> tuple[RenderableType, ...]:
    from rich.text import Text

    verdict = record["verdict"]
    says = Text(f"{record['claim']}  ", style="bold") + Text(record["says"], style="not bold")
    return Text(verdict, style=COLOURS[verdict]), record["section"], says


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    """What was observed, a line each, marked where it is not as claimed."""
    for each in record["observations"]:
        mark = {"holds": " ", "does not hold": "x", "undecided": "?"}[each["verdict"]]
        n = f", {each['n']} seeds" if each["statistic"] != "exact" else ""
        yield f"{mark} {each['what']}: {each['shown']}  (claimed {each['claimed']}{n})"
    if record["verdict"] == FAILED:
        yield record["problem"]


def _summary(found: Sequence[Mapping[str, Any]], controls: bool) -> Iterator[str]:
    counts = Counter(record["verdict"] for record in found)
    told = ", ".join(
        f"{counts[verdict]} {verdict if counts[verdict] == 1 else WORDS[verdict]}"
        for verdict in (*VERDICTS, FAILED)
        if counts[verdict]
    )
    yield f"{count(len(found), 'control' if controls else 'claim')}: {told}"
    if controls:
        yield "A control is a claim's experiment without what it is about: none may hold."
    yield "Medians over seeds, or shares of them, with intervals that hold at 95 % for all of a claim together;"
    yield "? where an interval takes in what is claimed and what is not, x where it lies outside."
