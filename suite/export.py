"""Comparisons, plans and names as plain values for JSON, which knows no infinity: those become null."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from problems.bounds import Range
from problems.entries import Entry
from problems.names import render
from problems.parameters import Parameter
from problems.problem import problem
from problems.registry import Registry
from suite.claims import claim
from suite.clocks import CLOCKS
from suite.initializers import bias, initializer
from suite.optimizers import optimizer
from suite.probes import probe
from suite.schedules import schedule
from suite.stopping import stop

if TYPE_CHECKING:
    from suite.outcome import Comparison, Row
    from suite.plan import Plan, Task

REGISTRIES: dict[str, Registry[Any]] = {
    "problems": problem,
    "optimizers": optimizer,
    "initializers": initializer,
    "biases": bias,
    "schedules": schedule,
    "probes": probe,
    "stops": stop,
    "claims": claim,
}
WRAPPERS = {"transforms": "problems", "strategies": "optimizers"}  # what makes one of these of another


def entries(kind: str) -> list[Entry[Any]]:
    """What is listed as a kind: ``problems`` without the transforms, ``optimizers`` without the strategies."""
    found = list(REGISTRIES[WRAPPERS.get(kind, kind)])
    return [e for e in found if e.wraps is (kind in WRAPPERS)] if kind in (*WRAPPERS, *WRAPPERS.values()) else found


def to_json(value: Any) -> str:
    """JSON text as the standard has it."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def of_entry(entry: Entry[Any]) -> dict[str, Any]:
    """A registered name with its settings."""
    settings = [_of_parameter(p, entry.tune.get(p.name)) for p in entry.parameters]
    meta = {key: value for key, value in entry.meta.items() if isinstance(value, str | int | float)}
    return {"name": entry.name, "summary": entry.summary, "aliases": entry.aliases, "settings": settings, **meta}


def _of_parameter(parameter: Parameter, tune: Range | None) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "kind": parameter.kind,
        "required": parameter.required,
        "default": None if parameter.required else _plain(parameter.default),
        "bound": str(parameter.bound) if parameter.bound else None,
        "tune": asdict(tune) if tune else None,
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | tuple) else render(value)


def of_plan(plan: Plan) -> dict[str, Any]:
    """What a comparison will do."""
    return {
        "question": asdict(plan.question),
        "problems": [_of_task(task) for task in plan.tasks],
        "tuning_runs": len(plan.tuning_guess()),
        "evaluation_runs": len(plan.contestants) * plan.seeds,
        "skipped": [dict(zip(("problem", "initializer", "reason"), s, strict=True)) for s in plan.skipped],
        "left_out": of_left_out(plan.left_out),
    }


def of_left_out(found: Mapping[str, str]) -> list[dict[str, str]]:
    """What patterns do not stand for, and why."""
    return [{"name": name, "reason": reason} for name, reason in found.items()]


def of_comparison(outcome: Comparison) -> dict[str, Any]:
    """The tables of a comparison, best first, what they come to, and what they were measured on."""
    from suite.findings import findings
    from suite.headlines import headline
    from suite.outcome import clock_of

    headlines = [headline(task, list(rows)) for task, rows in outcome.rows.items()]
    planned = of_plan(outcome.plan)
    for about, rows in zip(planned["problems"], outcome.rows.values(), strict=True):
        about["clock"] = clock_of(rows)
    return {
        **planned,
        "rows": [row for task, rows in outcome.rows.items() for row in _of_rows(task, list(rows))],
        "headlines": [line.to_dict() for line in headlines if line is not None],
        "findings": findings(outcome),
        "environments": [dict(environment) for environment in outcome.environments],
    }


def _of_task(task: Task) -> dict[str, Any]:
    target = task.target
    return {
        "problem": task.name,
        "steps": task.steps,
        "batch_size": task.batch_size,
        "tuned_by": task.judged_by,
        "ranked_by": task.reported[0],
        "target": asdict(target) if target else None,
        "minimum": task.made.minimum.loss if task.made.minimum else None,
    }


def _unranked(row: Row) -> str | None:
    return "best" if row.trained else "diverged" if row.best else "skipped" if row.skipped else None


def _of_rows(task: Task, rows: list[Row]) -> Iterator[dict[str, Any]]:
    for rank, row in enumerate(rows, 1):
        contestant = row.contestant
        yield {
            "problem": task.name,
            "rank": rank,
            "optimizer": str(contestant.optimizer),
            "initializer": str(initializer.short(contestant.initializer)),
            "best": str(row.best.spec) if row.best else None,
            "edge": list(row.edge),
            "final": {measure: asdict(estimate) for measure, estimate in row.final.items()},
            "steps": contestant.steps,
            "per_step": {clock: row.work.per_step(clock) for clock in CLOCKS} if row.work else {},
            "steps_to_target": row.steps_to_target,
            "reached_target": row.reached,
            "seconds_to_target": row.seconds_to_target,
            "time_to_target": {clock: asdict(found) for clock, found in row.arrivals.items()},
            "diverged": {phase: {"runs": n, "of": of} for phase, (n, of) in row.diverged.items()},
            "verdict": row.verdict.outcome if row.verdict else _unranked(row),
            "p": row.verdict.p if row.verdict else None,
            "improvement": row.verdict.improvement if row.verdict else None,
            "problem_met": row.problem or None,
            "spent_on_start": dict(row.spent),
        }
