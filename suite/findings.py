"""What a comparison says beyond each table: whether tuning decides the ranking, and whether problems agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.numbers import number

if TYPE_CHECKING:
    import pandas as pd

    from analysis.statistics import Better
    from suite.outcome import Comparison, Row
    from suite.plan import Task

WITHIN = 0.05  # of the best counts as good
MOST = 6  # contestants that are named one by one
FEW = 3  # pairs of problems, likewise


def findings(outcome: Comparison) -> dict[str, Any]:
    """As plain values, each a list that is empty where there is nothing to say.

    - ``tuning``: per problem, contestant and number of trials the expected best of the measure that
      tuning goes by (``analysis.statistics.tuning_curves``).
    - ``ranking_changes``, ``vanishing_advantages``: per problem, from which number of trials on the order
      is another, and which contestant's lead is gone once both are tuned as fairly.
    - ``sensitivity``: per problem, contestant and tuned setting the region about the best within 5 %.
    - ``rank_correlation``: Kendall's τ of the contestants' final medians between each two problems.
    - ``profile_scores``: AlgoPerf's score by time to target, on each problem by the clock by which its rows are held
      against each other (``suite.clocks``), of contestants that ran on every problem; ``profile_clocks`` are these.
    """
    from analysis.statistics import ranking_changes, tuning_curves, vanishing_advantages

    sequential = outcome.plan.question.search == "tpe"
    names = ("tuning", "ranking_changes", "vanishing_advantages", "sensitivity")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for task, rows in outcome.rows.items():
        better = task.better(task.judged_by)
        tried = _tried(rows, better)
        curves = tuning_curves(tried, better, sequential=sequential)
        tables = {"tuning": curves, "ranking_changes": ranking_changes(curves, better)}
        if not sequential:
            tables["vanishing_advantages"] = vanishing_advantages(tried, better)
        for name, table in tables.items():
            found[name] += [{"problem": task.name, **record} for record in _records(table)]
        found["sensitivity"] += [{"problem": task.name, **record} for record in _sensitivities(rows, better)]
    return {**found, **_between_problems(outcome.rows)}


def _tried(rows: Sequence[Row], better: Better) -> dict[str, Sequence[float]]:
    """The trials of the contestants that had any to choose from; one that ended worse than it began did not move.

    Expectations are of the order of their largest value: what a trial near divergence ends with says nothing.
    """
    worse = min if better == "lower" else max
    return {
        label(row): [value if math.isnan(row.start) else worse(value, row.start) for value in row.tried]
        for row in rows
        if len(row.tried) > 1
    }


def _sensitivities(rows: Sequence[Row], better: Better) -> list[dict[str, Any]]:
    """The region of each tuned setting within which the judging measure is within 5 % of its best."""
    from dataclasses import asdict

    from analysis.statistics import sensitivity

    found = []
    for row in (row for row in rows if len(row.tried) > 1):
        for place, free in enumerate(row.contestant.trials[0].free):
            at = [free.at(trial.fractions[place]) for trial in row.contestant.trials]
            region = sensitivity(at, row.tried, better, WITHIN, free.range.log)
            about = {"contestant": label(row), "optimizer": str(row.contestant.optimizer)}
            found.append({**about, "setting": free.name, "log": free.range.log, **asdict(region)})
    return found


def label(row: Row) -> str:
    """A contestant's name: the optimizer as written and its start."""
    from suite.initializers import initializer

    return f"{row.contestant.optimizer} from {initializer.short(row.contestant.initializer)}"


def _between_problems(rows: Mapping[Task, Sequence[Row]]) -> dict[str, list[dict[str, Any]]]:
    from analysis.statistics import profile_score, rank_correlation
    from suite.outcome import clock_of

    finals = _table(rows, lambda task, row: task.sign(task.reported[0]) * row.final[task.reported[0]].value)
    correlation = rank_correlation(finals)
    with_target = {task: found for task, found in rows.items() if task.target is not None}
    clocks = {task: clock_of(found) for task, found in with_target.items()}
    times = _table(with_target, lambda task, row: row.to_target(clocks[task]))
    everywhere = times.dropna().T
    scores = profile_score(everywhere) if everywhere.shape[0] > 1 and everywhere.shape[1] > 1 else None
    ordered = [] if scores is None else scores.sort_values(ascending=False, kind="stable").items()
    return {
        "rank_correlation": _records(correlation),
        "profile_scores": [{"contestant": str(name), "score": float(score)} for name, score in ordered],
        "profile_clocks": [{"problem": task.name, "clock": clock} for task, clock in clocks.items()],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in record.items()} for record in table.to_dict("records")]


def _table(rows: Mapping[Task, Sequence[Row]], value: Any) -> pd.DataFrame:
    """Contestants by problems."""
    import pandas as pd

    columns = {
        task.name: {label(row): value(task, row) for row in found if row.best is not None}
        for task, found in rows.items()
    }
    return pd.DataFrame(columns, dtype="float64")


Records = Sequence[Mapping[str, Any]]


def lines(found: Mapping[str, Records]) -> Iterator[str]:
    """The findings in a few lines, under a heading for each kind."""
    yield from _headed("the best to expect of so many trials", _leaders(found["ranking_changes"]))
    gone = [lost["problem"] for lost in found["vanishing_advantages"]]
    told = {problem: gone.count(problem) for problem in dict.fromkeys(gone)}
    counts = ((problem, f"{n} pair{'s' * (n > 1)} (--json names them)") for problem, n in told.items())
    yield from _headed("leads seen with few trials that are gone with all of them", counts)
    yield from _headed("powers of ten of lr within 5 % of the best", _widths(found["sensitivity"]))
    yield from _headed("between problems", _across(found))


def _headed(heading: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    told = list(rows)
    if told:
        wide = max(len(name) for name, _ in told)
        yield heading
        yield from (f"  {name:<{wide}}  {text}" for name, text in told)


def _across(found: Mapping[str, Records]) -> Iterator[tuple[str, str]]:
    known = [f for f in found["rank_correlation"] if not math.isnan(f["correlation"])]
    if known:
        yield "rank correlation of final medians (Kendall)", _agreement(known)
    scores = found["profile_scores"]
    if scores:
        told = ", ".join(f"{f['contestant']} {number(f['score'])}" for f in scores[:MOST])
        rest = f", and {len(scores) - MOST} more (--json)" if len(scores) > MOST else ""
        clocks = " or ".join(dict.fromkeys(f["clock"] for f in found["profile_clocks"]))
        yield f"profile score ({clocks} to target, up to 4 times the quickest; 1 at best)", told + rest


def _leaders(changes: Records) -> Iterator[tuple[str, str]]:
    """Who is the best of each problem, from which number of trials on."""
    leaders: dict[str, list[tuple[int, str]]] = {}
    for change in changes:
        of_problem = leaders.setdefault(change["problem"], [])
        if not of_problem or of_problem[-1][1] != change["first"]:
            of_problem.append((change["trials"], change["first"]))
    for problem, firsts in leaders.items():
        yield problem, "; ".join(f"from {n} trials on {first}" if n > 1 else first for n, first in firsts)


def _widths(regions: Records) -> Iterator[tuple[str, str]]:
    """How wide the good region of the rate is, of each optimizer from its best start."""
    widths: dict[str, dict[str, str]] = {}
    for region in regions:
        if region["log"] and region["setting"].split(".")[-1] == "lr" and not math.isnan(region["best"]):
            beyond = "+" if region["open_low"] or region["open_high"] else ""  # it may go on past the range
            of_problem = widths.setdefault(region["problem"], {})
            of_problem.setdefault(region["optimizer"], f"{region['contestant']} {region['width']:.1f}{beyond}")
    for problem, wide in widths.items():
        rest = f", and {len(wide) - MOST} more (--json)" if len(wide) > MOST else ""
        yield problem, ", ".join(list(wide.values())[:MOST]) + rest


def _agreement(known: Records) -> str:
    if len(known) <= FEW:
        return "; ".join(f"{f['a']} and {f['b']} {f['correlation']:.2f} (n = {f['n']})" for f in known)
    found = [f["correlation"] for f in known]
    return f"{min(found):.2f} to {max(found):.2f} between {len(known)} pairs of problems (--json names them)"
