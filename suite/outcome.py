"""Tune, evaluate, summarize: from a plan to rows of a table.

Every optimizer gets the same number of trials. The trial with the best median over the
tuning seeds wins, and only its runs on fresh seeds are reported. A run that diverged counts
with the worst value there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from suite.arrivals import TIMED, Arrivals
from suite.clocks import STEPS, Work, fair, work
from suite.engine import OnProgress
from suite.ledger import Ledger, Results
from suite.plan import Contestant, Plan, Task
from suite.search import round_size
from suite.spec import Result, Run
from suite.tuning import Trial, further

if TYPE_CHECKING:
    from analysis.statistics import Better, Estimate, TimeToTarget, Verdict

SKIPPED = "skipped: "
Phase = Literal["tuning", "evaluation"]


@dataclass(frozen=True, eq=False)
class Row:
    """One contestant's outcome.

    Args:
        best: the winning trial; None where no trial could be run, and ``problem`` says why.
        final: measure -> the median over the evaluation seeds and its interval.
        arrivals: the time to the target, by clock; empty without a target.
        diverged: (runs, of how many), in the tuning and in the evaluation.
        verdict: against the best row of the same problem, corrected for all pairs of its rows; None
            for that row itself, and for all where not even the first trained.
        spent: the means of what was spent before the first step; empty where the start is a mere draw.
        work: what a step evaluates; None where nothing was run.
    """

    contestant: Contestant
    best: Trial | None
    final: Mapping[str, Estimate] = field(default_factory=dict)
    arrivals: Mapping[str, TimeToTarget] = field(default_factory=dict)
    diverged: Mapping[Phase, tuple[int, int]] = field(default_factory=dict)
    values: Sequence[float] = ()  # of the ranking measure, by seed
    tried: Sequence[float] = ()  # of the judging measure, by trial; infinite where half of its runs diverged
    start: float = math.nan  # of the judging measure before the first step, the median of the tuning's runs
    verdict: Verdict | None = None
    problem: str = ""
    spent: Mapping[str, float] = field(default_factory=dict)
    work: Work | None = None

    def to_target(self, clock: str) -> float | None:
        """The median time by a clock; infinite where fewer than half of the runs got there, None without a target."""
        if not self.arrivals:
            return None
        return self.arrivals[clock].median if clock in self.arrivals else math.inf

    @property
    def steps_to_target(self) -> float | None:
        """The median, as ``to_target`` has it."""
        return self.to_target(STEPS)

    @property
    def seconds_to_target(self) -> float | None:
        """The median by the clock of runs that were timed; None where they were not."""
        return self.arrivals[TIMED].median if TIMED in self.arrivals else None

    @property
    def reached(self) -> int:
        """How many runs reached the target."""
        return self.arrivals[STEPS].reached if self.arrivals else 0

    @property
    def skipped(self) -> bool:
        """Whether it makes no sense for the problem."""
        return self.best is None and self.problem.startswith(SKIPPED)

    @property
    def trained(self) -> bool:
        """Whether it came to a value, as no row does of whose runs half or more diverged."""
        return self.best is not None and math.isfinite(next(iter(self.final.values())).value)

    @property
    def edge(self) -> tuple[str, ...]:
        """The tuned settings at an edge of their range; none where no setting is better than another."""
        return self.best.edge if self.best is not None and any(map(math.isfinite, self.values)) else ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """The outcome of a plan: rows for each task, best first."""

    plan: Plan
    rows: Mapping[Task, Sequence[Row]]
    environments: Sequence[Mapping[str, Any]]  # the distinct ones that the reported runs were made in

    @property
    def failed(self) -> bool:
        """Whether an optimizer could not be run that makes sense for the problem."""
        return any(row.problem and not row.skipped for rows in self.rows.values() for row in rows)


def clock_of(rows: Iterable[Row]) -> str:
    """The clock by which the rows of a table are held against each other."""
    return fair(row.work for row in rows if row.work is not None)


def compare(plan: Plan, ledger: Ledger, on_phase: Callable[[Phase, Sequence[Run]], OnProgress]) -> Comparison:
    """Carry out a plan.

    Args:
        on_phase: told of each phase and the runs that it will train; gives what listens to their progress.

    Raises:
        StoreError: a result cannot be stored.
    """
    contestants, tuned = _tuned(plan, ledger, partial(on_phase, "tuning"))
    winners = {c: _winner(c, tuned) for c in contestants if not _failure(c, tuned)}
    reported = dict.fromkeys(run for c, trial in winners.items() for run in c.evaluation_runs(trial))
    evaluated = ledger.obtain(list(reported), partial(on_phase, "evaluation"))
    arrivals = _arrivals(plan, evaluated, ledger)
    rows: dict[Task, list[Row]] = {}
    for contestant in contestants:
        if contestant in winners:
            row = _row(contestant, winners[contestant], tuned, evaluated, arrivals)
        else:
            row = Row(contestant, None, problem=_failure(contestant, tuned))
        rows.setdefault(contestant.task, []).append(row)
    environments = {tuple(r.environment.items()): r.environment for r in evaluated.values() if r.environment}
    return Comparison(plan, {task: _ranked(task, found) for task, found in rows.items()}, list(environments.values()))


def _tuned(
    plan: Plan, ledger: Ledger, on_start: Callable[[Sequence[Run]], OnProgress]
) -> tuple[list[Contestant], Results]:
    """The contestants with all trials that they get, and the results of their tuning.

    A search that learns from results makes its trials in rounds; any other has one.
    """
    contestants, tuned = list(plan.contestants), ledger.obtain(plan.tuning(), on_start)
    while any(len(c.trials) < c.budget and not _failure(c, tuned) for c in contestants):
        contestants = [_extended(c, tuned) for c in contestants]
        runs = dict.fromkeys(run for c in contestants for trial in c.trials for run in c.tuning_runs(trial))
        tuned |= ledger.obtain([run for run in runs if run not in tuned], on_start)
    return contestants, tuned


def _extended(contestant: Contestant, results: Results) -> Contestant:
    """With the trials of its next round."""
    if len(contestant.trials) >= contestant.budget or _failure(contestant, results):
        return contestant
    task, measure = contestant.task, contestant.task.judged_by
    costs = [task.sign(measure) * _tried(contestant, trial, measure, results) for trial in contestant.trials]
    count = min(round_size(contestant.budget), contestant.budget - len(contestant.trials))
    return replace(
        contestant, trials=[*contestant.trials, *further(contestant.optimizer, contestant.trials, costs, count)]
    )


def _failure(contestant: Contestant, results: Results) -> str:
    """Why none of a contestant's tuning runs came to a result; empty if one did."""
    tried = [results[run] for trial in contestant.trials for run in contestant.tuning_runs(trial)]
    if all(result.status in ("failed", "skipped") for result in tried):
        return f"{tried[0].status}: {tried[0].detail}"
    return ""


def _winner(contestant: Contestant, results: Results) -> Trial:
    """The trial with the best median of the judging measure, of equals the one with the lower loss, then the first."""
    task = contestant.task
    measures = (task.judged_by, f"{task.judged_by.partition('_')[0]}_loss")

    def costs(trial: Trial) -> tuple[float, ...]:
        return tuple(task.sign(m) * _tried(contestant, trial, m, results) for m in measures)

    return min(contestant.trials, key=costs)


def _tried(contestant: Contestant, trial: Trial, measure: str, results: Results) -> float:
    """The median of a measure over a trial's runs; infinite if half of them diverged."""
    task = contestant.task
    found = [results[run] for run in contestant.tuning_runs(trial)]
    return task.sign(measure) * _median([_cost(task, measure, result) for result in found])


def _cost(task: Task, measure: str, result: Result) -> float:
    """The final value of a measure, turned so that lower is better; infinite if the run did not get there."""
    value = _final(result).get(measure, math.nan)
    if result.status in ("diverged", "failed", "skipped") or math.isnan(value):
        return math.inf
    return task.sign(measure) * value


def _final(result: Result) -> dict[str, float]:
    """The last value of each measure; where the run's stopping rule keeps the best evaluation, that one's."""
    end = result.summary.get("best_step", math.inf)
    return {measure: value for step, measure, value in result.trace if step <= end}


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _row(contestant: Contestant, trial: Trial, tuned: Results, evaluated: Results, arrivals: Arrivals) -> Row:
    from analysis.statistics import interval

    task = contestant.task
    runs = contestant.evaluation_runs(trial)
    results = [evaluated[run] for run in runs]
    final = {}
    for measure in task.reported:
        values = [task.sign(measure) * _cost(task, measure, result) for result in results]
        final[measure] = interval(values)
        if measure == task.reported[0]:
            ranking = values
    failed = [result for result in results if result.status == "failed"]
    tries = [tuned[run] for t in contestant.trials for run in contestant.tuning_runs(t)]
    return Row(
        contestant,
        trial,
        final,
        arrivals.of(task, results),
        {"tuning": _diverged(tries), "evaluation": _diverged(results)},
        ranking,
        [_tried(contestant, t, task.judged_by, tuned) for t in contestant.trials],
        _start(task.judged_by, tries),
        problem=f"{len(failed)} of {len(results)} runs failed: {failed[0].detail}" if failed else "",
        spent=_spent(results),
        work=work(results, len(task.made.train)),
    )


def _spent(results: Sequence[Result]) -> dict[str, float]:
    """The mean of each cost of a start over runs."""
    found = [{k: v for k, v in result.summary.items() if k.startswith("start_")} for result in results]
    names = dict.fromkeys(name for one in found for name in one)
    return {name: sum(one.get(name, 0) for one in found) / len(found) for name in names}


def _start(measure: str, results: Sequence[Result]) -> float:
    """The median of a measure before the first step."""
    found = [value for r in results for step, name, value in r.trace if step == 0 and name == measure]
    finite = [value for value in found if math.isfinite(value)]
    return _median(finite) if finite else math.nan


def _diverged(results: Sequence[Result]) -> tuple[int, int]:
    return sum(result.status == "diverged" for result in results), len(results)


def _arrivals(plan: Plan, evaluated: Results, ledger: Ledger) -> Arrivals:
    from suite.costs import load_costs

    examples = {str(task.spec): len(task.made.train) for task in plan.tasks}
    return Arrivals(evaluated.values(), examples, load_costs(ledger.store.folder))


def _ranked(task: Task, rows: Sequence[Row]) -> list[Row]:
    """Best first, each with its verdict against the best; rows without a result at the end."""
    measures = (task.reported[0], task.reported[-1])

    def place(row: Row) -> tuple[float, ...]:
        return tuple(task.sign(measure) * row.final[measure].value for measure in measures)

    ordered = sorted((row for row in rows if row.best is not None), key=place)
    verdicts = _against_the_best(ordered, task.better(measures[0]))
    judged = [replace(row, verdict=found) for row, found in zip(ordered, verdicts, strict=True)]
    return judged + [row for row in rows if row.best is None]


def _against_the_best(ordered: Sequence[Row], better: Better) -> list[Verdict | None]:
    import pandas as pd

    from analysis.statistics import Verdict, pairwise

    if not ordered or not ordered[0].trained:
        return [None] * len(ordered)
    table = pairwise(pd.DataFrame({i: row.values for i, row in enumerate(ordered)}), better)
    first = table[table["b"] == 0]
    found = zip(first["outcome"], first["p"], first["n"], first["improvement"], strict=True)
    return [None, *(Verdict(*columns) for columns in found)]
