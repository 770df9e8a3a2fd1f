"""Where experiments train: every run by the suite's own engine, kept in the store like any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from suite.ledger import Ledger
from suite.outcome import compare
from suite.plan import Question, plan
from suite.spec import Result, Run
from suite.store import Store

K = TypeVar("K", bound=Hashable)


class ExperimentError(RuntimeError):
    """A run of an experiment failed or made no sense, so that it says nothing."""


@dataclass(frozen=True)
class Arm:
    """One of the treatments that an experiment holds against each other, as texts.

    Args:
        options: any other field of :class:`suite.spec.Run` that ``python -m suite run`` has an option for, and
            ``until_target``; what is left out is the problem's own. Of arms that are tuned, any of
            :class:`suite.plan.Question`.
    """

    problem: str
    optimizer: str
    initializer: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)


def arm(problem: str, optimizer: str, initializer: str = "default", **options: Any) -> Arm:
    """An :class:`Arm`."""
    return Arm(problem, optimizer, initializer, options)


class Lab:
    """Trains arms, each on the same seeds, so that what is compared has the same minibatches.

    Args:
        results: the folder in which every run is kept, and found again.
        seed: the first of the seeds: an experiment that was designed on some may be carried out on others.
    """

    def __init__(self, results: str | Path, force: bool = False, seed: int = 0) -> None:
        self.ledger = Ledger(Store(results), 1, force)
        self.seed = seed

    def seeds(self, count: int) -> range:
        """So many seeds, those of every arm, for what an experiment draws itself."""
        return range(self.seed, self.seed + count)

    def train(self, arms: Mapping[K, Arm], seeds: int) -> dict[K, Runs]:
        """The runs of each arm.

        Raises:
            UsageError: an unknown name, a setting out of bounds, missing data.
            ExperimentError: a run failed, or its start makes no sense for its problem.
        """
        asked = {key: _runs(each, self.seeds(seeds)) for key, each in arms.items()}
        found = self.ledger.obtain(list(dict.fromkeys(run for runs in asked.values() for run in runs)))
        return {key: Runs([found[run] for run in runs]) for key, runs in asked.items()}

    def tune(self, arms: Mapping[K, Arm], seeds: int, trials: int = 11) -> dict[K, Runs]:
        """The runs of each arm with its best setting, tuned as ``compare`` tunes it: on two seeds of its own.

        All seeds have that one setting: how well another tuning would have done is in no interval.

        Raises:
            UsageError, ExperimentError: as ``train``.
        """
        found = {}
        for key, each in arms.items():
            question = Question(each.problem, each.optimizer, each.initializer, trials=trials, seeds=1, **each.options)
            outcome = compare(plan(question), self.ledger, lambda phase, runs: lambda progress: None)
            [[row]] = outcome.rows.values()
            if row.best is None or row.problem:
                raise ExperimentError(f"{each.optimizer} on {each.problem}: {row.problem}")
            [first] = row.contestant.evaluation_runs(row.best)
            runs = [replace(first, seed=seed) for seed in self.seeds(seeds)]
            results = self.ledger.obtain(runs)
            found[key] = Runs([results[run] for run in runs])
        return found


def _runs(asked: Arm, seeds: Sequence[int]) -> list[Run]:
    """The runs of an arm, one for each seed."""
    from suite.commands import one_run

    own = {**dict.fromkeys(("steps", "epochs", "batch_size", "eval_every")), "grow_every": 0, "probes": ""}
    own |= {"order": "reshuffle", "stop": "", "device": "cpu", "dtype": "float32"}
    options = dict(asked.options)
    until = options.pop("until_target", False)
    every = options.get("eval_every")
    options["eval_every"] = None if every is None else str(every)
    first = one_run(
        problem=asked.problem, optimizer=asked.optimizer, initializer=asked.initializer, seed=0, **{**own, **options}
    )
    return [replace(first, seed=seed, until_target=until) for seed in seeds]


class Runs(Sequence[Result]):
    """The results of an arm, one for each seed, and what experiments ask of them: lists with a value of each.

    Raises:
        ExperimentError: one of them failed or was skipped.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = list(results)
        for each in self.results:
            if each.status in ("failed", "skipped"):
                raise ExperimentError(f"{each.run.optimizer} on {each.run.problem} {each.status}: {each.detail}")

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, i: Any) -> Any:
        return self.results[i]

    @property
    def diverged(self) -> list[bool]:
        """Whether each diverged."""
        return [each.status == "diverged" for each in self.results]

    def final(self, measure: str) -> list[float]:
        """The last value of a measure; of a run that diverged the worst there is: −∞ of an accuracy, else ∞."""
        worst = -math.inf if measure.endswith("accuracy") else math.inf
        return [worst if r.status == "diverged" else r.summary[f"final_{measure}"] for r in self.results]

    def course(self, measure: str) -> list[list[tuple[int, float]]]:
        """(step, value) of a measure, in order."""
        return [[(step, value) for step, name, value in each.trace if name == measure] for each in self.results]

    def steps_until(self, measure: str, good: Callable[[float], bool]) -> list[float]:
        """The step of the first evaluation at which a measure is good; infinite where it never was."""
        return [next((float(step) for step, value in each if good(value)), math.inf) for each in self.course(measure)]

    def steps_to_target(self) -> list[float]:
        """The step of the first evaluation that met the problem's target; infinite where none did."""
        reached = [each.summary["steps_to_target"] for each in self.results]
        return [math.inf if step is None else float(step) for step in reached]

    def counted(self, kind: str) -> list[float]:
        """How often ``value``, ``gradient`` or ``hvp`` was asked for."""
        return [float(each.summary.get(f"{kind}_calls", 0)) for each in self.results]


def ratios(of: Iterable[float], to: Iterable[float]) -> list[float]:
    """of/to by seed; 1 where both are 0 or both are infinite, which tells them not apart."""

    def ratio(a: float, b: float) -> float:
        if a == b:
            return 1.0
        return math.inf if b == 0 else a / b

    return [ratio(a, b) for a, b in zip(of, to, strict=True)]


def differences(of: Iterable[float], less: Iterable[float]) -> list[float]:
    """of − less by seed; 0 where both are the same infinity."""
    return [0.0 if a == b else a - b for a, b in zip(of, less, strict=True)]


def slope(x: Iterable[float], y: Iterable[float]) -> float:
    """That of the straight line through (log x, log y) by least squares: the power p of y ∝ xᵖ.

    Raises:
        ExperimentError: one of them is not positive and finite, as where a run diverged or never arrived.
    """
    import numpy as np

    found = list(x), list(y)
    for each in (value for values in found for value in values):
        if not 0 < each < math.inf:
            raise ExperimentError(f"no power can be told where one of the values is {each:g}")
    return float(np.polyfit(np.log(found[0]), np.log(found[1]), 1)[0])
