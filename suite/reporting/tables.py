"""The tables of the page: verdicts, what is best where, spectra, runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.style import spans_decades
from analysis.numbers import duration, interval, number
from analysis.report import Cell, Column, Table
from analysis.report.page import Tone
from suite.clocks import told
from suite.reporting.contests import MEASURED, Contest
from suite.reporting.evidence import Evidence
from suite.reporting.names import short_optimizer, short_problem

if TYPE_CHECKING:
    import pandas as pd

TONES: dict[str, Tone] = {"best": "best", "indistinguishable": "tied", "better": "tied", "too few": "tied"}
WORDS = {"best": "best", "indistinguishable": "tied", "better": "better", "worse": "worse", "too few": "too few seeds"}
HELP = {
    "verdict": "Against the best row, by a paired test on common seeds, corrected for all pairs",
    "p": "Of the paired test, corrected by Holm's procedure",
    "improvement": "Probability that a run of this row beats one of the best row",
    "diverged": "Share of the evaluation runs, and of the tuning runs in brackets",
    "to target": "Median over seeds; a run that never reached it counts as later than any",
}


def verdict_table(contest: Contest, key: str) -> Table:
    """The verdicts on one problem, best first."""
    table = contest.verdicts()
    measures = list(contest.about["reported"])
    timed = contest.machines[:1]
    columns = [Column("optimizer"), Column("start"), Column("verdict", help=HELP["verdict"])]
    columns += [Column(measure.replace("_", " "), True) for measure in measures]
    columns += [Column("p", True, HELP["p"]), Column("beats best", True, HELP["improvement"])]
    if contest.about["target"]:
        columns += [Column(f"{contest.clock} to target", True, HELP["to target"])]
        columns += [Column("time to target", True, _by(machine)) for machine in timed]
    columns += [Column("diverged", True, HELP["diverged"])]
    spans = _spans(table, contest.ranked_by)
    rows = [_verdict_row(contest, row, spans[i], measures, timed) for i, row in enumerate(table.to_dict("records"))]
    return Table(key, f"Verdicts on {contest.name}", columns, rows, _caption(contest))


def _by(machine: str) -> str:
    return "By the clock of runs that trained alone" if machine == MEASURED else f"Priced on {machine}"


def _verdict_row(
    contest: Contest, row: Mapping[Any, Any], span: Any, measures: Sequence[str], timed: Sequence[str]
) -> list[Cell]:
    tone = TONES.get(row["verdict"], "bad" if row["verdict"] == "failed" else "worse")
    cells = [
        Cell(row["optimizer"], None, row["settings"], tone, row["optimizer"]),
        Cell(row["initializer"]),
        Cell(WORDS.get(row["verdict"], row["verdict"]), row["rank"], tone=tone),
    ]
    cells += [_measured(row, measure, tone, span if i == 0 else None) for i, measure in enumerate(measures)]
    cells += [_share(row["p"], probability=True), _share(row["improvement"])]
    if contest.about["target"]:
        cells.append(_arrival(row, contest.clock))
        cells += [_seconds(row, machine) for machine in timed]
    return [*cells, _diverged(row)]


def _measured(row: Mapping[Any, Any], measure: str, tone: Tone, span: Any) -> Cell:
    value = row[measure]
    if row["verdict"] in ("failed", "skipped"):
        return Cell(row["verdict"], math.inf)
    if math.isinf(value):
        return Cell("diverged", value, tone="bad")
    spread = interval(row[f"{measure}_low"], row[f"{measure}_high"])
    return Cell(number(value), value, spread, tone if span is not None else "", span=span)


def _spans(table: pd.DataFrame, measure: str) -> list[tuple[float, float, float] | None]:
    """Where each row's interval lies between the ends of all of them, outliers cut off."""
    names = [f"{measure}_low", measure, f"{measure}_high"]
    values = table[names].to_numpy(float)
    values = np.where(np.isnan(values), values[:, [1]], values)
    finite = values[np.isfinite(values).all(axis=1)]
    if not len(finite) or np.ptp(finite) == 0:
        return [None] * len(table)
    if spans_decades(finite):
        values, finite = np.log(values), np.log(finite)
    low, high = finite.min(), finite.max()
    shares = (values - low) / (high - low)
    return [(row[0], row[1], row[2]) if np.isfinite(row).all() else None for row in shares.tolist()]


def _share(value: float | None, probability: bool = False) -> Cell:
    if value is None or math.isnan(value):
        return Cell("")
    if probability:
        return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", value)
    return Cell(f"{value:.2f}", value)


def _arrival(row: Mapping[Any, Any], clock: str) -> Cell:
    n, reached = int(row["n"]), row["reached_target"]
    if not n:
        return Cell("")
    note = f"{reached} of {n}" if reached is not None and reached < n else ""
    found = row[f"{clock}_to_target"]
    if found is None or not math.isfinite(found):
        return Cell("not reached", 1e300, note)
    return Cell(told(found, clock), float(found), note)


def _seconds(row: Mapping[Any, Any], machine: str) -> Cell:
    value = row[f"seconds_to_target [{machine}]"]
    return Cell(duration(value), value) if value is not None and math.isfinite(value) else Cell("–", 1e300)


def _diverged(row: Mapping[Any, Any]) -> Cell:
    def share(part: float, whole: float) -> float:
        return 100 * part / whole if whole else 0.0

    if not row["runs"]:
        return Cell("")
    here, there = share(row["diverged"], row["runs"]), share(row["diverged_in_tuning"], row["runs_in_tuning"])
    return Cell(f"{here:.0f} %", here, f"({there:.0f} %)", "bad" if here > 0 else "")


def _caption(contest: Contest) -> str:
    about, question = contest.about, contest.question
    words = [
        f"Final values on the {contest.ranked_by.partition('_')[0]} split: median over fresh seeds, with its interval."
    ]
    if any(row["edge"] for row in contest.rows):
        words.append("! marks a best setting at the edge of its search range: a better one may lie beyond.")
    if any(row.get("verdict") == "too few" for row in contest.rows):
        words.append(f"{question['seeds']} seeds are too few to tell some rows apart.")
    whole = {row["optimizer"]: row["steps"] for row in contest.rows if row.get("full_batch") and "steps" in row}
    if whole and contest.about["batch_size"]:
        each = ", ".join(f"{name} {steps}" for name, steps in whole.items())
        words.append(f"Steps of full batches, where the others took {about['steps']} of minibatches: {each}.")
    if about["minimum"] is not None:
        words.append(f"The known minimum of the training loss is {number(about['minimum'])}.")
    words += [
        f"{row['optimizer']} from {row['initializer']}: {row['problem_met']}."
        for row in contest.rows
        if row["problem_met"]
    ]
    return " ".join(words)


# over all problems ----------------------------------------------------------------------


def glance(contests: Sequence[Contest], names: Sequence[str]) -> Table:
    """Every optimizer on every problem, from its best start: its value, and whether it is best or tied."""
    columns = [Column("optimizer"), Column("best or tied", True, "On how many of the problems")]
    columns += [Column(contest.name, True, f"Final {contest.ranked_by.replace('_', ' ')}") for contest in contests]
    rows = []
    for name in names:
        cells = [_glance_cell(contest, name) for contest in contests]
        led = sum(cell.tone in ("best", "tied") for cell in cells)
        met = sum(cell.text != "" for cell in cells)
        rows.append([Cell(name, series=name), Cell(f"{led} of {met}", float(led)), *cells])
    rows.sort(key=lambda row: -(row[1].value or 0.0))
    return Table(
        "glance", "At a glance", columns, rows,
        "Final values of each problem from each optimizer's best start.", ranked=True,
    )  # fmt: skip


def _glance_cell(contest: Contest, name: str) -> Cell:
    for row in contest.leading:
        if row["optimizer"] == name:
            value = row["final"][contest.ranked_by]["value"]
            if value is None:
                return Cell("diverged", contest.worst(contest.ranked_by), tone="bad")
            return Cell(number(value), value, tone=TONES.get(row["verdict"], "worse"))
    return Cell("")


def spectrum_table(evidence: Evidence) -> Table:
    """The ends of each spectrum."""
    columns = [Column("problem"), Column("optimizer"), Column("step", True), Column("matrix"), Column("layer")]
    columns += [Column(name, True) for name in ("loss", "gradient norm", "largest", "smallest")]
    columns.append(Column("negative", True, "Share of negative eigenvalues"))
    rows = []
    for row in evidence.spectra.to_dict("records"):
        texts = [row["problem"], row["optimizer"] or "", str(row["step"]), row["matrix"], row["layer"] or "all"]
        ends = [row["top"][0] if row["top"] else None, row["bottom"][0] if row["bottom"] else None]
        values = [row["loss"], row["gradient_norm"], *ends, row["negative"]]
        rows.append([*map(Cell, texts), *map(_optional, values)])
    return Table("spectra", "Spectra", columns, rows)


def _optional(value: float | None) -> Cell:
    return Cell("") if value is None or math.isnan(value) else Cell(number(value), value)


def run_table(evidence: Evidence) -> Table:
    """Every run: what it was, what came of it."""
    columns = [Column("run"), Column("problem"), Column("optimizer"), Column("start"), Column("seed", True)]
    columns += [Column("steps", True), Column("status"), Column("train loss", True)]
    rows = []
    for row in evidence.runs.to_dict("records"):
        texts = [row["run"], short_problem(row["problem_text"]), short_optimizer(row["optimizer_text"])]
        texts += [row["initializer"], str(row["seed"]), str(row["steps"]), row["status"]]
        rows.append([*map(Cell, texts), _optional(row.get("final_train_loss"))])
    return Table("runs", "Runs", columns, rows)
