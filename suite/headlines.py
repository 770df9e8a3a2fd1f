"""One line per problem that a person can quote: what won, by how much, with what certainty, at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.numbers import duration, number
from suite.arrivals import PRICED, TIMED
from suite.clocks import STEPS, told

if TYPE_CHECKING:
    from analysis.statistics import Estimate, TimeToTarget, Verdict
    from suite.outcome import Row
    from suite.plan import Task


@dataclass(frozen=True)
class Headline:
    """What a problem's table comes to.

    Args:
        best: the best row, in words; ``runner_up`` is the next of another optimizer, None where there is none.
        estimate: of the best row's ranking measure. It is the best by these same values, so where rows are alike it
            is somewhat too good: of four equal ones the interval holds 83 %, that of each by itself 94 to 95 %.
        lead: how much better the best is than the runner-up, the median over common seeds; None where
            runs of both diverged. ``verdict`` is on the best against it.
        better_than, worse_than, too_few: of the ``others``, how many the best is better than, how many are better
            than it seed by seed, though not by their median, and for how many there were too few seeds to tell.
        arrivals: time to the target by clock; empty without one.
        clock: by which the rows are held against each other (``suite.clocks``).
    """

    problem: str
    best: str
    measure: str
    estimate: Estimate
    runner_up: str | None
    lead: Estimate | None
    verdict: Verdict | None
    better_than: int
    worse_than: int
    too_few: int
    others: int
    steps: int
    target: str
    arrivals: Mapping[str, TimeToTarget]
    clock: str = STEPS

    def __str__(self) -> str:
        if not math.isfinite(self.estimate.value):
            rows = f"all {self.others + 1} rows" if self.others else self.best
            whose = "their" if self.others else "its"
            return f"{self.problem}: no best, for {rows} diverged (half of {whose} runs or more); {self._cost()}"
        shown = f"{self.measure} {number(self.estimate.value)}{_interval(self.estimate)} (n = {self.estimate.n})"
        return f"{self.problem}: {self._rank()}; {shown}{self._margin()}; {self._cost()}"

    def _rank(self) -> str:
        if not self.others:
            return f"{self.best} is alone"
        if self.better_than == self.others:
            others = {1: "the other", 2: "both others"}.get(self.others, f"all {self.others} others")
            return f"{self.best} is better than {others}"
        rest = self.others - self.better_than - self.worse_than - self.too_few
        told = [f"better than {self.better_than} of {self.others} others"] if self.better_than else []
        told += [f"worse than {self.worse_than} in the paired test"] if self.worse_than else []
        told += [f"not told from {rest}"] if rest else []
        told += [f"too few seeds to tell from {self.too_few}"] if self.too_few else []
        return f"no single winner, {self.best} is first by its median ({', '.join(told)})"

    def _margin(self) -> str:
        """By how much the best is ahead of the runner-up, where it is."""
        if self.runner_up is None or self.verdict is None or self.verdict.outcome != "better":
            return ""
        by = ""
        if self.lead is not None:  # by no number where most runs of the other diverged
            finite = math.isfinite(self.lead.value)
            by = f" by {number(self.lead.value)}{_interval(self.lead)}" if finite else ", which diverged"
        return f", ahead of {self.runner_up}{by} (p = {self.verdict.p:.2g})"

    def _cost(self) -> str:
        if not self.arrivals:
            return f"after {self.steps} steps"
        found = self.arrivals[STEPS]
        if math.isinf(found.median):
            return f"{self.target} not reached in {self.steps} steps ({found.reached} of {found.n} runs did)"
        same = self.arrivals.get("gradients") == found
        told = [STEPS, *([] if self.clock == STEPS else [self.clock]), *([] if same else ["gradients"])]
        clocks = [name for name in self.arrivals if name in told or name == TIMED or name.startswith(PRICED)]
        spent = [_spent(name, self.arrivals[name]) for name in clocks]
        return f"{self.target} reached in {', '.join(spent)}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the sentence."""
        from dataclasses import asdict

        return {**asdict(self), "sentence": str(self)}


def headline(task: Task, rows: Sequence[Row]) -> Headline | None:
    """The headline of a table's rows, best first; None where nothing could be run."""
    from suite.outcome import clock_of
    from suite.tables import name_of

    ranked = [row for row in rows if row.best is not None]
    if not ranked:
        return None
    best, others = ranked[0], ranked[1:]
    outcomes = [row.verdict.outcome for row in others if row.verdict is not None]
    next_row = next((row for row in others if row.contestant.optimizer != best.contestant.optimizer), None)
    target = task.target
    sign = ">=" if target is not None and target.better == "higher" else "<="
    return Headline(
        task.name,
        name_of(best),
        task.reported[0],
        best.final[task.reported[0]],
        name_of(next_row) if next_row else None,
        _lead(task, best, next_row) if next_row else None,
        next_row.verdict.flipped() if next_row and next_row.verdict else None,
        outcomes.count("worse"),
        outcomes.count("better"),
        outcomes.count("too few"),
        len(others),
        best.contestant.steps,
        f"{target.measure} {sign} {number(target.value)}" if target is not None else "",
        best.arrivals,
        clock_of(rows),
    )


def _lead(task: Task, best: Row, other: Row) -> Estimate | None:
    from analysis.statistics import interval

    pairs = zip(best.values, other.values, strict=True)
    leads = [0.0 if a == b else task.sign(task.reported[0]) * (b - a) for a, b in pairs]
    return None if -math.inf in leads else interval(leads)


def _interval(estimate: Estimate) -> str:
    told = not math.isnan(estimate.low) and (math.isfinite(estimate.low) or math.isfinite(estimate.high))
    return "" if not told else f" [{number(estimate.low)}, {number(estimate.high)}]"


def _spent(clock: str, found: TimeToTarget) -> str:
    if clock.startswith(PRICED):
        return f"{duration(found.median)} on {clock.removeprefix(PRICED)}"
    return f"{duration(found.median)} measured" if clock == TIMED else f"{told(found.median, clock)} {clock}"
