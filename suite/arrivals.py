"""When the runs of a comparison reached its targets, by every clock that there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from problems.names import UsageError
from suite.clocks import EPOCHS, EVALUATIONS, STEPS
from suite.spec import Result

if TYPE_CHECKING:
    import pandas as pd

    from analysis.statistics import TimeToTarget
    from suite.plan import Task

TIMED = "measured seconds"
CLOCKS = {
    STEPS: "step",
    EVALUATIONS: "evaluations",
    EPOCHS: "epochs",
    "gradients": "gradients",
    "examples": "examples",
    TIMED: "measured_seconds",
}
PRICED = "seconds on "  # and the name of the machine


class Arrivals:
    """The traces of results with their clocks: steps, evaluations, epochs, …, measured and priced seconds.

    Args:
        results: of the evaluation; none may be left out that will be asked for.
        examples: bound problem -> examples in its training split.
        costs: as ``suite.load_costs`` gives them; may be empty.
    """

    def __init__(self, results: Iterable[Result], examples: Mapping[str, int], costs: pd.DataFrame) -> None:
        import pandas as pd

        from analysis.statistics import with_clocks
        from suite.costs import price
        from suite.frames import row

        found = list(results)
        self._ids = {result.run: result.run.id for result in found}
        runs = pd.DataFrame([row({**result.to_dict(), "traces": []}) for result in found])
        rows = [(self._ids[r.run], *measured) for r in found for measured in r.trace]
        traces = pd.DataFrame(rows, columns=["run", "step", "measure", "value"])
        self._traces, self._priced = traces, pd.DataFrame(columns=["machine"])
        if len(runs):
            runs["train_examples"] = runs["problem_text"].map(examples)
            self._traces = with_clocks(traces, runs)
            with suppress(UsageError):  # none of these runs has a cost yet
                self._priced = price(traces, costs, runs) if len(costs) else self._priced

    def of(self, task: Task, results: Sequence[Result]) -> dict[str, TimeToTarget]:
        """The time to a task's target over runs, by clock; what is not known of all of them is absent."""
        if task.target is None:
            return {}
        clocks = {name: self._times(task, results, self._traces, column) for name, column in CLOCKS.items()}
        for machine, traces in self._priced.groupby("machine"):
            clocks[f"{PRICED}{machine}"] = self._times(task, results, traces, "seconds")
        return {name: found for name, found in clocks.items() if found is not None}

    def _times(self, task: Task, results: Sequence[Result], traces: pd.DataFrame, clock: str) -> TimeToTarget | None:
        from analysis.statistics import time_to_target, times_to_target

        target = task.target
        assert target is not None
        ids = [self._ids[result.run] for result in results]
        # a run that diverged, or that its stopping rule ended, will never get there
        ended = [self._ids[r.run] for r in results if r.status not in ("done", "reached target")]
        if clock not in traces:
            return None
        own = traces[traces["run"].isin(ids)]
        found = times_to_target(own, target.measure, target.value, target.better, clock, ended)
        if set(ids) - set(found.index) - set(ended) or not len(found):
            return None
        whole = found.reindex(ids)
        return time_to_target(whole["time"].fillna(float("inf")), whole["reached"].eq(True))
