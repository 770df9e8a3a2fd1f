"""``python -m suite report``, ``figures`` and ``table``: what is in a folder of results, and nothing else."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from problems.names import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.report import Table
    from suite.reporting.evidence import Evidence
    from suite.reporting.scaling import Series


def report(*, results: str, out: str | None, open_it: bool) -> int:
    """Write the page, and open it if asked to; the exit code."""
    from analysis.report import render
    from suite.reporting.page import page

    path = Path(out) if out else Path(results) / "report.html"
    if path.is_dir():
        raise UsageError(f"report: out must be a file, and {path} is a folder; write {path / 'report.html'}")
    text = render(page(_evidence(results)))
    _write(path, text.encode())
    click.echo(path)
    if open_it and not webbrowser.open(path.resolve().as_uri()):
        click.echo("no browser was found to open it with", err=True)
    return 0


def figures(*, results: str, form: str, out: str | None, theme: str) -> int:
    """Write every figure as a file; the exit code."""
    from analysis.figures import DARK, LIGHT
    from suite.reporting import contests, focus
    from suite.reporting.figures import every

    evidence = _evidence(results)
    found = contests.every(evidence)
    folder = Path(out) if out else Path(results) / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"figures: {folder} cannot be made: {error.strerror or error}") from error
    for chart in every(evidence, found, focus.palette(list(evidence.names()), contests.newest(found))):
        if not chart.empty:
            click.echo(chart.save(folder / f"{chart.name}.{form}", {"light": LIGHT, "dark": DARK}[theme]))
    return 0


def table(*, results: str, kind: str, form: str) -> int:
    """Print the tables of a kind; the exit code."""
    evidence = _evidence(results)
    if form in ("csv", "json"):
        frame = _frame(evidence, kind)
        if frame.empty:
            raise UsageError(_none_of(kind))
        click.echo(_plain(frame, form), nl=False)
        return 0
    from analysis.report import forms

    shown = _tables(evidence, kind)
    above = "### {}\n\n" if form == "markdown" and len(shown) > 1 else ""  # the others have titles
    click.echo("\n".join(f"{above.format(one.title)}{getattr(forms, form)(one)}" for one in shown), nl=False)
    return 0


def _evidence(results: str) -> Evidence:
    """A folder's results.

    Raises:
        UsageError: there is no such folder, or nothing in it.
    """
    from suite.reporting.evidence import Evidence

    found = Evidence.read(results)
    if found.empty:
        raise UsageError(f"{results}: no results in it yet; python -m suite compare makes some")
    return found


def _frame(evidence: Evidence, kind: str) -> pd.DataFrame:
    """A kind's numbers as one tidy table."""
    import pandas as pd

    from suite.reporting import claims
    from suite.reporting.contests import every
    from suite.reporting.scaling import series

    if kind in ("verdicts", "scaling"):
        found = every(evidence)
        frames = [c.verdicts() for c in found] if kind == "verdicts" else [one.frame() for one in series(found)]
        return pd.DataFrame([row for frame in frames for row in frame.to_dict("records")])
    if kind == "claims":
        return claims.frame(evidence.claims)
    return {"costs": evidence.costs, "spectra": evidence.spectra, "runs": evidence.runs}[kind]


def _plain(frame: pd.DataFrame, form: str) -> str:
    from suite import export

    if form == "csv":
        return frame.to_csv(index=False, lineterminator="\n")
    rows: list[dict[Any, Any]] = frame.to_dict("records")
    return export.to_json(rows) + "\n"


def _tables(evidence: Evidence, kind: str) -> list[Table]:
    """A kind's tables as a person reads them.

    Raises:
        UsageError: there are none, or the kind is too wide to be read.
    """
    from suite.reporting import tables
    from suite.reporting.claims import claims_table
    from suite.reporting.contests import every, newest
    from suite.reporting.cost_tables import cost_tables
    from suite.reporting.scaling import series

    if kind in ("verdicts", "scaling"):
        found = every(evidence)
        if kind == "scaling":
            return _scaling(series(found))
        if not found:
            raise UsageError(_none_of(kind))
        names = list(dict.fromkeys(evidence.names()))
        latest = newest(found)
        several = [tables.glance(latest, names)] if len(latest) > 1 else []
        return several + [tables.verdict_table(contest, contest.name) for contest in found]
    if kind == "costs" and not evidence.costs.empty:
        return cost_tables(evidence)
    if kind == "spectra" and not evidence.spectra.empty:
        return [tables.spectrum_table(evidence)]
    if kind == "claims" and evidence.claims:
        return [claims_table(evidence.claims)]
    if kind == "runs" and not evidence.runs.empty:
        return [tables.run_table(evidence)]
    raise UsageError(_none_of(kind))


def _none_of(kind: str) -> str:
    """That there is nothing of a kind, and what makes some."""
    made = {"costs": "cost", "spectra": "spectrum", "runs": "run", "claims": "claims"}
    if kind in made:
        return f"table: there are no {kind} in these results; python -m suite {made[kind]} makes some"
    if kind == "verdicts":
        return "table: no comparison was finished in these results; python -m suite compare makes one"
    return (
        "table: no problems compared in these results differ in one number alone, as linear_net(depth=3) and "
        "linear_net(depth=30) do"
    )


def _scaling(found: Sequence[Series]) -> list[Table]:
    from suite.reporting.scaling import scaling_tables

    if not found:
        raise UsageError(_none_of("scaling"))
    return [table for one in found for table in scaling_tables(one, one.name)]


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    from suite.store import StoreError

    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
