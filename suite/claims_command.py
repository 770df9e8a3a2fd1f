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
from problems.selection import left_out, selected
from suite import export, tables
from suite.claims.base import VERDICTS, claim, heading
from suite.claims.carrying import FAILED, FOLDER, carry_out_all, control, load, place
from suite.environment import cores
from suite.progress import count, span

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLOURS = {"holds": "green", "does not hold": "red", "undecided": "yellow", FAILED: "bold red"}
INDENT = 15  # of what is said of a claim
WORDS = {"holds": "hold", "does not hold": "do not hold", "undecided": "are undecided", FAILED: "failed"}


def claims(
    *,
    names: Sequence[str],
    section: str,
    controls: bool,
    seed: int,
    jobs: int | None,
    results: str,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Carry claims out and print what they come to; 1 if one could not be carried out, or a control holds."""
    from suite.store import Store

    text = ", ".join(names) or "all"
    specs = asked(text, section, controls)
    processes = 0 if jobs == 1 else min(jobs or cores(), len(specs))  # none but this one
    Store(Path(results) / FOLDER).ready()
    to = tables.console(sys.stderr)
    if not quiet:
        tables.show(to, *tables.left_out(left_out(claim, text)), outlook(specs, results, processes, seed))
    found: list[dict[str, Any]] = []
    try:
        for record in carry_out_all(specs, results, processes, force, controls, seed):
            found.append(record)
            if not quiet:
                took = f" in {duration(record['seconds'])}" if record["seconds"] else ""
                tables.show(to, f"{len(found)} of {len(specs)}  {record['claim']}: {record['verdict']}{took}")
    except KeyboardInterrupt:
        raise _interrupted(found, len(specs), results) from None
    found.sort(key=place)
    if as_json:
        click.echo(export.to_json({"claims": found}))
    else:
        show(tables.console(sys.stdout), found)
    wrong = any(record.get("control", {}).get("verdict") in ("holds", FAILED) for record in found)
    return int(wrong or any(record["verdict"] == FAILED for record in found))


def asked(text: str, section: str = "", controls: bool = False) -> list[Spec]:
    """The bound claims that a text names, of a section and those within it.

    Args:
        controls: see that their controls can be carried out, too.

    Raises:
        UsageError: an unknown name, a setting out of bounds, or no claim of that section is among them.
    """
    found = [claim.bind(spec) for spec in selected(claim, text)]
    within = [spec for spec in found if _in(_section(spec), section)]
    if not within:
        known = sorted({_section(spec) for spec in found})
        raise UsageError(f"claims: none is of section {section!r}; they are of {', '.join(known)}")
    for spec in within if controls else ():
        if claim.find(spec.name).meta.get("control"):
            control(spec)
    return within


def outlook(specs: Sequence[Spec], results: str, processes: int, seed: int = 0) -> str:
    """How many claims are tried in how many processes, and how long those took that were tried before."""
    names = {(str(claim.short(spec)), seed) for spec in specs}
    took = [each.get("seconds", 0.0) for each in load(results) if (each["claim"], each["seed"]) in names]
    told = f"{count(len(specs), 'claim')} in {count(max(processes, 1), 'process', 'processes')}"
    if sum(took) >= 1:
        told += f"; {len(took)} tried here before, which took {span(sum(took))} of processor time"
    return told


def _interrupted(found: Sequence[Mapping[str, Any]], of: int, results: str) -> click.ClickException:
    from suite.cli import Mistake

    kept = sum(record["verdict"] != FAILED for record in found)
    first = f"{kept} of {count(of, 'claim')} and what was trained for others are" if kept else "what was trained is"
    return Mistake(
        f"interrupted; {first} kept in {Path(results) / FOLDER}, and the same command goes on from there", 130
    )


def _section(spec: Spec) -> str:
    return str(claim.find(spec.name).meta.get("section", ""))


def _in(section: str, whole: str) -> bool:
    return not whole or section == whole or section.startswith(f"{whole}.")


def show(to: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Each claim with its verdict and what was observed, by section, and how many hold."""
    from rich.padding import Padding
    from rich.text import Text

    for title, records in groupby(found, lambda record: heading(record["section"])):
        parts: list[RenderableType] = [Text(title, style="bold")]
        for record in records:
            verdict = (f"{record['verdict']:{INDENT}}", COLOURS[record["verdict"]])
            parts.append(Text.assemble(verdict, (record["claim"], "bold"), f"  {record['section']}"))
            parts.append(Padding(record["says"], (0, 0, 0, INDENT)))
            parts.append(Padding(_observed(record), (0, 0, 0, INDENT)))
        tables.show(to, *parts, "")
    tables.show(to, *_summary(found))


def _observed(record: Mapping[str, Any]) -> RenderableType:
    """The lines of a claim, marked where they are not as claimed."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    for _ in range(2):
        grid.add_column()
    for mark, line in _lines(record):
        grid.add_row(mark, line)
    return grid


def _lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was observed, what came of the control, and why there is nothing, each with its mark."""
    for each in record["observations"]:
        mark = {"holds": " ", "does not hold": "x", "undecided": "?"}[each["verdict"]]
        n = f", {count(each['n'], 'seed')}" if each["statistic"] != "exact" else ""
        yield mark, f"{each['what']}: {each['shown']}  (claimed {each['claimed']}{n})"
    if record["verdict"] == FAILED:
        yield "x", record["problem"]
    if "control" in record:
        found = record["control"]
        why = f", {found['problem']}" if found["verdict"] == FAILED else ""
        mark = "x" if found["verdict"] in ("holds", FAILED) else " "
        yield mark, f"control, {found['settings']}: {found['verdict']}{why}"


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
    if seeds := {record["seed"] for record in found} - {0}:
        yield f"Seeds from {', '.join(map(str, sorted(seeds)))} on."
    if any("control" in record for record in found):
        yield "A control is the experiment without what the claim is about, of which it must not hold."
