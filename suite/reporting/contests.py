"""One problem of a comparison as tables: verdicts, curves, sensitivity, the matrix of starts.

All are made of stored records and traces alone; nothing is trained, and no problem is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.arrivals import TIMED
from suite.clocks import STEPS
from suite.reporting.evidence import Evidence

if TYPE_CHECKING:
    import pandas as pd

    from analysis.statistics import Better

Row = Mapping[str, Any]
MEASURED = "measured"  # in a machine's place: the clock that ran along where runs were timed


@dataclass(frozen=True, eq=False)
class Contest:
    """What came of one problem of a comparison.

    Args:
        about: the problem's entry in the record: its budget, measures, target and minimum.
        rows: of its table, best first.
        sentence: what can be quoted of it.
    """

    evidence: Evidence
    question: Mapping[str, Any]
    about: Mapping[str, Any]
    rows: Sequence[Row]
    sentence: str = ""
    _known: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The problem as a person would write it."""
        return str(self.about["problem"])

    @property
    def ranked_by(self) -> str:
        """The measure that decides."""
        return str(self.about["ranked_by"])

    def better(self, measure: str) -> Better:
        """Whether higher or lower values of a measure are better."""
        known = self.about["better"].get(measure)
        return "higher" if known == "higher" or (known is None and measure.endswith("accuracy")) else "lower"

    def worst(self, measure: str) -> float:
        """What a run counts with that diverged."""
        return -math.inf if self.better(measure) == "higher" else math.inf

    @cached_property
    def ran(self) -> list[Row]:
        """The rows that came to a result."""
        return [row for row in self.rows if row["best"]]

    @cached_property
    def leading(self) -> list[Row]:
        """The best row of each optimizer."""
        first: dict[str, Row] = {}
        for row in self.ran:
            first.setdefault(row["optimizer"], row)
        return list(first.values())

    def seconds_of(self, row: Row) -> dict[str, float]:
        """What a step costs, by machine; and took in the mean, where the runs were timed."""
        table = self.evidence.seconds
        own = table[table["run"].isin(row["runs"][:1])]
        priced = dict(zip(own["machine"], own["seconds"], strict=True))
        clock = self._read(row, "seconds")
        return {MEASURED: clock.iloc[-1] / clock.index[-1], **priced} if len(clock) > 1 else priced

    def _read(self, row: Row, measure: str) -> pd.Series[float]:
        """The median over runs of a measure that is a clock, at each step; empty where the traces have none."""
        read = self._clocks
        return read[read["run"].isin(row["runs"]) & (read["measure"] == measure)].groupby("step")["value"].median()

    @cached_property
    def _clocks(self) -> pd.DataFrame:
        traces = self.evidence.traces
        wanted = {run for row in self.ran for run in row["runs"]}
        own = traces["run"].isin(wanted) & traces["measure"].isin(["seconds", "evaluations"])
        return traces[own].astype({"run": str, "measure": str})

    def _at(self, row: Row, steps: pd.Series[int]) -> pd.Series[float]:
        """What the contest's clock says at steps of a row."""
        per_step = {clock: math.nan if rate is None else rate for clock, rate in row["per_step"].items()}
        read = self._read(row, "evaluations")
        if not len(read):
            return steps * per_step[self.clock]
        return steps.map(read) * (per_step[self.clock] / per_step["evaluations"])

    def seconds_to_target(self, row: Row, machine: str) -> float:
        """Seconds to the target: the median of what the runs took, or its steps at what one costs.

        NaN where it was not reached, or the machine has no cost for the row.
        """
        if machine == MEASURED:
            found = row.get("time_to_target", {}).get(TIMED, {})
            return math.nan if found.get("median") is None else float(found["median"])
        steps = row["steps_to_target"]
        return math.nan if steps is None else steps * self.seconds_of(row).get(machine, math.nan)

    @property
    def clock(self) -> str:
        """The clock by which the rows are held against each other (``suite.clocks``)."""
        return str(self.about.get("clock", STEPS))  # which records of before there were others do not name

    def to_target(self, row: Row, clock: str) -> float:
        """The median by one of ``suite.clocks``; infinite where the target was not reached."""
        median = row["steps_to_target"] if clock == STEPS else row["time_to_target"].get(clock, {}).get("median")
        return math.inf if median is None else float(median)

    def time_to_target(self, row: Row, machine: str | None, clock: str = "") -> float:
        """Seconds on a machine, or without one by a clock, the contest's own unless given; infinite where the target
        was not reached."""
        found = self.to_target(row, clock or self.clock)
        return self.seconds_to_target(row, machine) if machine and math.isfinite(found) else found

    @cached_property
    def machines(self) -> list[str]:
        """The machines that a step was timed on, the one that has most of the rows first; ``MEASURED`` before them."""
        found = [machine for row in self.leading for machine in self.seconds_of(row)]
        return sorted(set(found), key=lambda machine: (machine != MEASURED, -found.count(machine)))

    # tables ------------------------------------------------------------------------------

    def verdicts(self) -> pd.DataFrame:
        """A row for each contestant, best first: what it was tuned to, its final values, its verdict, its costs."""
        import pandas as pd

        return pd.DataFrame([self._verdict(row) for row in self.rows])

    def _verdict(self, row: Row) -> dict[str, Any]:
        best = row["final"].get(self.ranked_by, {})
        known = {key: row[key] for key in ("problem", "rank", "optimizer")}
        known |= {"settings": setting(row), "initializer": row["initializer"], "verdict": row["verdict"] or "failed"}
        known |= {"p": row.get("p"), "improvement": row.get("improvement"), "n": best.get("n", 0)}
        known |= {"ranked_by": self.ranked_by}
        for measure in self.about["reported"]:
            known |= self._final(row, measure)
        for clock in dict.fromkeys((STEPS, self.clock)):
            known[f"{clock}_to_target"] = self.to_target(row, clock) if self.about["target"] else None
        known["reached_target"] = row["reached_target"] if self.about["target"] else None
        for machine in self.machines:
            known |= {f"step_seconds [{machine}]": self.seconds_of(row).get(machine, math.nan)}
            known |= {f"seconds_to_target [{machine}]": self.seconds_to_target(row, machine)}
        for phase, suffix in (("evaluation", ""), ("tuning", "_in_tuning")):
            found = row["diverged"].get(phase, {"runs": 0, "of": 0})
            known |= {f"diverged{suffix}": found["runs"], f"runs{suffix}": found["of"]}
        return known | {"edge": ", ".join(row["edge"]), "problem_met": row["problem_met"] or ""}

    def _final(self, row: Row, measure: str) -> dict[str, float]:
        """A measure's final value and interval; JSON has null for infinity, which is a run that diverged."""
        found = row["final"].get(measure)
        if found is None:
            return {measure: math.nan, f"{measure}_low": math.nan, f"{measure}_high": math.nan}
        value = self.worst(measure) if found["value"] is None else found["value"]
        ends = [math.nan if found[key] is None else found[key] for key in ("low", "high")]
        return {measure: value, f"{measure}_low": ends[0], f"{measure}_high": ends[1]}

    def curves(self, measure: str, machine: str | None = None) -> pd.DataFrame:
        """The median of a measure over seeds with its interval, at each step, of each optimizer from its best start.

        Columns ``optimizer``, ``step``, ``median``, ``low``, ``high``, ``n``, those of other clocks by which the rows
        are held against each other, and ``seconds`` on a machine, or by the clock that ran along.
        """
        import pandas as pd

        table = self._curves(measure)
        if self.clock != STEPS:
            own = {row["optimizer"]: table.loc[table["optimizer"] == row["optimizer"], "step"] for row in self.leading}
            told = pd.concat([self._at(row, own[row["optimizer"]]) for row in self.leading]) if own else math.nan
            table = table.assign(**{self.clock: told})
        if machine is None:
            return table
        parts = []
        for row in self.leading:
            own = table[table["optimizer"] == row["optimizer"]]
            each = self.seconds_of(row).get(machine, math.nan)
            seconds = own["step"].map(self._read(row, "seconds")) if machine == MEASURED else own["step"] * each
            parts.append(own.assign(seconds=seconds))
        timed = pd.concat(parts) if parts else table.assign(seconds=math.nan)
        return timed[timed["seconds"].notna()]

    def _curves(self, measure: str) -> pd.DataFrame:
        import pandas as pd

        if measure not in self._known:
            found = []
            for row in self.leading:
                for step, e in self._course(row, measure):
                    found.append((row["optimizer"], step, e.value, e.low, e.high, e.n))
            columns = ["optimizer", "step", "median", "low", "high", "n"]
            self._known[measure] = pd.DataFrame(found, columns=columns)
        return self._known[measure]

    def _course(self, row: Row, measure: str) -> Iterator[tuple[int, Any]]:
        """An estimate at each step. From where it ended on, a run that was stopped keeps its last value, and one
        that diverged counts as the worst."""
        from analysis.statistics import interval

        traces = self._traces
        own = traces[traces["run"].isin(row["runs"]) & (traces["measure"] == measure)]
        grid = own.pivot(index="step", columns="run", values="value").reindex(columns=row["runs"])
        statuses = self.evidence.by_run["status"]
        kept = [run for run in row["runs"] if statuses.get(run) in ("stopped", "reached target")]
        grid[kept] = grid[kept].ffill()
        filled = grid.fillna(self.worst(measure))
        for step, values in zip(filled.index.to_numpy(), filled.to_numpy(float), strict=True):
            yield int(step), interval(values)

    @cached_property
    def _traces(self) -> pd.DataFrame:
        traces = self.evidence.traces
        wanted = {run for row in self.leading for run in row["runs"]}
        own = traces[traces["run"].isin(wanted)]
        return own.astype({"run": str, "measure": str})

    def sensitivity(self, name: str) -> pd.DataFrame:
        """The final judging measure against one tuned setting, of each optimizer from its best start.

        Columns ``optimizer``, ``value``, ``median``, ``low``, ``high`` (the extremes over the tuning seeds),
        ``diverged`` (share of runs), ``settings`` (how many were tuned together).
        """
        import pandas as pd

        measure = str(self.about["tuned_by"])
        rows = []
        for row in self.leading:
            for trial in row["trials"]:
                if name not in trial["settings"]:
                    continue
                values = sorted(self._final_of_run(run, measure) for run in trial["runs"])
                middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
                point = {"optimizer": row["optimizer"], "value": trial["settings"][name], "median": middle}
                point |= {"low": values[0], "high": values[-1], "settings": len(trial["settings"])}
                rows.append(point | {"diverged": sum(map(math.isinf, values)) / len(values)})
        return pd.DataFrame(rows, columns=["optimizer", "value", "median", "low", "high", "settings", "diverged"])

    def tuning(self) -> pd.DataFrame:
        """The expected best judging measure against the number of trials, of each optimizer from its best start.

        A trial that ended worse than it began counts as if it had not moved; of trials that build on each other it
        is the best so far. Columns ``optimizer``,
        ``trials``, ``expected``, ``low``, ``high``: see ``analysis.statistics.tuning_curves``.
        """
        from analysis.statistics import tuning_curves

        measure = str(self.about["tuned_by"])
        start, no_worse = self.at_start(measure), np.fmin if self.better(measure) == "lower" else np.fmax
        found = {}
        for row in self.leading:
            if len(row["trials"]) > 1:
                values = [[self._final_of_run(run, measure) for run in trial["runs"]] for trial in row["trials"]]
                found[row["optimizer"]] = no_worse(np.median(values, axis=1), start)
        curves = tuning_curves(found, self.better(measure), sequential=self.sequential)
        return curves.rename(columns={"contestant": "optimizer"})

    @property
    def sequential(self) -> bool:
        """Whether trials build on those before, so that a few of them drawn anew would be no search."""
        return self.question.get("search") == "tpe"

    def _final_of_run(self, run: str, measure: str) -> float:
        """What a run is worth: its last value, or that at its best evaluation where its stopping rule keeps one."""
        runs = self.evidence.by_run
        if run not in runs.index or runs.at[run, "status"] not in ("done", "reached target", "stopped"):
            return self.worst(measure)
        found = (float(runs[c].get(run, math.nan)) for c in (f"at_best_{measure}", f"final_{measure}") if c in runs)
        return next((value for value in found if not math.isnan(value)), self.worst(measure))

    def at_start(self, measure: str) -> float:
        """The median of a measure before the first step; NaN where it is not known."""
        traces = self.evidence.traces
        wanted = {run for row in self.leading for run in row["runs"][:1]}
        own = traces[traces["run"].isin(wanted) & (traces["measure"] == measure) & (traces["step"] == 0)]["value"]
        return float(own[np.isfinite(own)].median()) if len(own) else math.nan

    def sane(self, measure: str) -> tuple[float, float]:
        """The values of a measure between which a figure looks: those not much worse than at the start."""
        first = self.at_start(measure)
        if math.isnan(first) or self.better(measure) == "higher":
            return -math.inf, math.inf
        return -math.inf, first + abs(first)

    @property
    def settings(self) -> list[str]:
        """The names of tuned settings, those that most optimizers share first."""
        names = [name for row in self.leading for name in row["settings"]]
        return sorted(set(names), key=lambda name: (-names.count(name), name))

    def matrix(self) -> pd.DataFrame:
        """The final ranking measure of each optimizer from each start: ``optimizer``, ``initializer``, ``median``, …"""
        import pandas as pd

        rows = []
        for row in self.ran:
            value = self._final(row, self.ranked_by)
            own = dict(zip(("median", "low", "high"), value.values(), strict=True))
            rows.append({"optimizer": row["optimizer"], "initializer": row["initializer"], **own})
        return pd.DataFrame(rows, columns=["optimizer", "initializer", "median", "low", "high"])


def newest(found: Sequence[Contest]) -> list[Contest]:
    """One contest for each problem: that of the comparison that was finished last."""
    first: dict[str, Contest] = {}
    for contest in found:
        first.setdefault(contest.name, contest)
    return list(first.values())


def clocks(found: Iterable[Contest]) -> list[str]:
    """The clocks by which the rows of some contests are held against each other, each once."""
    return list(dict.fromkeys(contest.clock for contest in found if contest.about["target"])) or [STEPS]


def times(found: Sequence[Contest], machine: str | None = None, clock: str = "") -> pd.DataFrame:
    """Time to the target by a clock, each problem's own unless given, or in seconds on a machine: a row per problem
    with a target, a column per optimizer.

    Infinite where it was not reached, or nothing could be run; NaN where an optimizer was not asked for, or no
    machine tells when.
    """
    import pandas as pd

    rows = {}
    for place, contest in enumerate(found):
        if contest.about["target"]:
            reached = {row["optimizer"]: contest.time_to_target(row, machine, clock) for row in contest.leading}
            rows[place] = {**{row["optimizer"]: math.inf for row in contest.rows}, **reached}
    return pd.DataFrame.from_dict(rows, orient="index")


def clock_name(machine: str) -> str:
    """Seconds on a machine, in words."""
    return "measured seconds" if machine == MEASURED else f"seconds on {machine}"


def untuned(rows: Sequence[Row]) -> list[str]:
    """The optimizers that had one trial, as nothing of them was left to tune, by name."""
    free = {row["optimizer"]: any(trial["settings"] for trial in row["trials"]) for row in rows}
    return sorted(name for name, tuned in free.items() if not tuned)


def setting(row: Row) -> str:
    """The best values of what was tuned, with ``!`` where one lies at the edge of its range."""
    edges = {edge.partition(" ")[0] for edge in row["edge"]}
    return ", ".join(f"{name}={value:g}{'!' if name in edges else ''}" for name, value in row["settings"].items())


def contests(evidence: Evidence, record: Mapping[str, Any]) -> list[Contest]:
    """The problems of a comparison, in its order."""
    found = []
    for about in record["problems"]:
        rows = [row for row in record["rows"] if row["problem"] == about["problem"]]
        if rows:
            told = {headline["problem"]: headline["sentence"] for headline in record.get("headlines") or ()}
            sentence = str(told.get(about["problem"], ""))
            found.append(Contest(evidence, record["question"], about, rows, sentence))
    return found


def every(evidence: Evidence) -> list[Contest]:
    """The problems of all comparisons of a folder, the last finished first."""
    return [contest for record in evidence.compared for contest in contests(evidence, record)]
