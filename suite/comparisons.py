"""Comparisons on disk: what was asked, which runs it came to, and the rows of its tables.

``<results>/comparisons/<digest>.json`` has what ``compare --json`` prints, and for each row the
identities of its runs: of the evaluation, and of each trial of the tuning with its settings. So
tables and figures come from the folder of results alone, also where the data, the definitions
or the versions that made them are not.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import records

if TYPE_CHECKING:
    from suite.outcome import Comparison, Row
    from suite.tuning import Trial

FOLDER = "comparisons"


def save(outcome: Comparison, results: str | Path) -> Path:
    """Keep a comparison; the same one, carried out again, is replaced.

    Raises:
        StoreError: the disk is full or the folder cannot be written to.
    """
    record = of_comparison(outcome)
    key = [
        record["question"],
        sorted(run for row in record["rows"] for trial in row["trials"] for run in trial["runs"]),
    ]
    return records.save(record, Path(results) / FOLDER, key)


def of_comparison(outcome: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    from suite import __version__, export

    told = export.of_comparison(outcome)
    rows = [row for found in outcome.rows.values() for row in found]
    with_runs = [{**plain, **_runs(row)} for plain, row in zip(told["rows"], rows, strict=True)]
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    problems = [
        {
            **plain,
            "reported": list(task.reported),
            "better": {m: task.better(m) for m in (task.judged_by, *task.reported)},
        }
        for plain, task in zip(told["problems"], outcome.plan.tasks, strict=True)
    ]
    return {**told, "problems": problems, "rows": with_runs, "finished": finished, "version": __version__}


def _runs(row: Row) -> dict[str, Any]:
    """Which runs a row came from."""
    contestant = row.contestant
    trials = [
        {"settings": _settings(trial), "runs": [run.id for run in contestant.tuning_runs(trial)]}
        for trial in contestant.trials
    ]
    return {
        "settings": _settings(row.best) if row.best else {},
        "full_batch": contestant.full_batch,
        "runs": [run.id for run in contestant.evaluation_runs(row.best)] if row.best else [],
        "trials": trials,
    }


def _settings(trial: Trial) -> dict[str, float]:
    """What was tuned, by path."""
    return {free.name: free.at(at) for free, at in zip(trial.free, trial.fractions, strict=True)}


def load(results: str | Path = "results") -> list[dict[str, Any]]:
    """The comparisons of a folder, the one that was finished last first."""
    return sorted(records.load(Path(results) / FOLDER), key=lambda record: record["finished"], reverse=True)
