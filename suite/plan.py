"""What a comparison consists of: which runs, decided before the first of them is trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from problems.names import Spec, UsageError
from problems.problem import Problem, Target, problem
from problems.references import RAISED
from problems.selection import left_out, selected
from suite.environment import check_device
from suite.errors import told
from suite.initializers import initializer
from suite.optimizers import Needs, Optimizer, optimizer
from suite.probes.base import canonical, probes_of
from suite.search import check, first_round
from suite.spec import Run
from suite.stopping import rule_of, stop
from suite.targets import targets
from suite.tuning import Trial, trials

if TYPE_CHECKING:
    from analysis.statistics import Better

TUNING_SEEDS = (1_000_000, 1_000_001)  # far from the evaluation seeds 0, 1, 2, …
MOST = 100_000  # trials, and seeds: to write down so many runs takes seconds
LEAST = {"seeds": 1, "trials": 1, "steps": 0, "epochs": 0, "batch_size": 0}
SEEDS = 15  # unless more rows need more
SPARE = 3  # seeds beyond the fewest, which tell two rows apart only where every seed favours the same one
EVALUATIONS = 20  # of a run that is reported: the resolution of its steps to target
OPTIMIZERS = "sgd, momentum, nesterov, adagrad, rmsprop, adam"
INITIALIZERS = "default, glorot_normal"


@dataclass(frozen=True)
class Question:
    """What a person wants compared.

    Args:
        problems, optimizers, initializers: texts, separated by commas (see ``problems.selection``); no problems for
            the ``quick`` ones.
        trials: settings tried of each optimizer.
        seeds: fresh seeds on which the best setting is run again; None for as many as all pairs of rows need to be
            told apart and a few more, 15 at least.
        steps, batch_size: of every run; None for each problem's own. An optimizer that is meant for full batches
            takes these then, as many as make the same number of epochs.
        epochs: in place of steps: as many as these take.
        stop: a stopping rule of every run (``suite.stopping``); empty for none.
        timed: the runs that are reported train one at a time against a clock.
        probes: what is measured along the runs that are reported (``suite.probes``).
        search: how settings are searched; see :mod:`suite.search`.
        target: in place of the problems' own; see :mod:`suite.targets`.
    """

    problems: str = ""
    optimizers: str = OPTIMIZERS
    initializers: str = INITIALIZERS
    trials: int = 11
    seeds: int | None = None
    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    search: str = "auto"
    target: str = ""
    device: str = "cpu"
    dtype: str = "float32"
    stop: str = ""
    timed: bool = False
    probes: str = ""


@dataclass(frozen=True, eq=False)
class Task:
    """One problem with its budget and the measures by which it is judged."""

    spec: Spec  # bound
    made: Problem
    steps: int
    batch_size: int
    target: Target | None  # the problem's own, or the one that was asked for

    @property
    def name(self) -> str:
        """The problem as a person would write it."""
        return str(problem.short(self.spec))

    @property
    def judged_by(self) -> str:
        """The measure that tuning goes by: of the validation split, where there is one."""
        target = self.made.target
        if target is not None and target.measure.startswith("valid_"):
            return target.measure
        return "train_loss" if self.made.valid is None else "valid_loss"

    @property
    def reported(self) -> tuple[str, ...]:
        """The final measures that are shown, the one that ranks first: of the test split, where there is one."""
        split = list(self.made.splits)[-1]
        own = self.judged_by.partition("_")[2]
        return tuple(f"{split}_{name}" for name in dict.fromkeys((own, *self.made.metrics, "loss")))

    def better(self, measure: str) -> Better:
        """Whether higher or lower values of a measure are better."""
        return "higher" if self.made.better(measure) == "higher" else "lower"

    def sign(self, measure: str) -> float:
        """What turns values of a measure so that lower is better: 1 or −1."""
        return -1.0 if self.better(measure) == "higher" else 1.0


@dataclass(frozen=True, eq=False)
class Contestant:
    """One optimizer from one start on one task, with the settings that will be tried."""

    task: Task
    optimizer: Spec  # as written
    initializer: Spec  # bound
    trials: Sequence[Trial]
    question: Question
    seeds: int  # fresh ones

    @property
    def budget(self) -> int:
        """How many trials it gets in all: those of a search in rounds are known up to the first only."""
        return self.question.trials if self.trials[0].free else len(self.trials)

    @cached_property
    def full_batch(self) -> bool:
        """Whether it gets all examples at each step: nobody said how many, and it is meant for all."""
        return self.question.batch_size is None and wants_all(self.trials[0].spec)

    @property
    def steps(self) -> int:
        """Of each run: of full batches, as many as make the epochs of the others, unless a person said how many."""
        if not self.full_batch or self.question.steps is not None:
            return self.task.steps
        return max(1, round(self.task.steps * self.task.batch_size / len(self.task.made.train)))

    def tuning_runs(self, trial: Trial) -> list[Run]:
        """The runs that decide how good a trial is: only their ends are looked at, unless a rule may end them."""
        every = self.steps // EVALUATIONS if self.question.stop else self.steps
        return [self._run(trial, seed, max(every, 1)) for seed in TUNING_SEEDS]

    def evaluation_runs(self, trial: Trial) -> list[Run]:
        """The runs that are reported."""
        every = max(1, self.steps // EVALUATIONS)
        question = self.question
        return [self._run(trial, seed, every, question.timed, question.probes) for seed in range(self.seeds)]

    def _run(self, trial: Trial, seed: int, eval_every: int, timed: bool = False, probes: str = "") -> Run:
        return Run(
            str(self.task.spec),
            str(trial.spec),
            str(self.initializer),
            seed=seed,
            steps=self.steps,
            eval_every=eval_every,
            batch_size=0 if self.full_batch else self.task.batch_size,
            device=self.question.device,
            dtype=self.question.dtype,
            stop=self.question.stop,
            timed=timed,
            probes=probes,
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a comparison will do.

    Args:
        skipped: (problem, initializer, reason) of starts that make no sense for a problem.
        left_out: what patterns do not stand for -> the reason.
    """

    question: Question
    contestants: Sequence[Contestant]
    skipped: Sequence[tuple[str, str, str]] = field(default=())
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """The fresh seeds of every contestant."""
        return self.contestants[0].seeds

    @property
    def rows(self) -> int:
        """How many contestants the fullest table has."""
        return max(Counter(contestant.task for contestant in self.contestants).values())

    @property
    def tasks(self) -> list[Task]:
        """The problems, in the order they were named."""
        return list(dict.fromkeys(contestant.task for contestant in self.contestants))

    def tuning(self) -> list[Run]:
        """Every run of the tuning, once."""
        return list(dict.fromkeys(r for c in self.contestants for t in c.trials for r in c.tuning_runs(t)))

    def tuning_guess(self) -> list[Run]:
        """Runs as many as those of the whole tuning, and like them where later trials depend on earlier ones."""
        later = [
            r for c in self.contestants for i in range(len(c.trials), c.budget) for r in c.tuning_runs(c.trials[0])
        ]
        return self.tuning() + later

    def evaluation_guess(self) -> list[Run]:
        """Runs like those of the evaluation, whose settings are not known before the tuning."""
        return [run for c in self.contestants for run in c.evaluation_runs(c.trials[len(c.trials) // 2])]


def plan(question: Question) -> Plan:
    """What a question comes to; problems are made and data read, nothing is trained.

    Raises:
        UsageError: an unknown name, a setting out of bounds, missing data, or nothing to run.
    """
    from suite.starting import not_applicable

    _check_numbers(question)
    check_device(question.device)
    question = replace(question, probes=canonical(question.probes))
    if question.stop:
        question = replace(question, stop=str(stop.bind(question.stop)))
    check(question.search)
    first = first_round(question.search, question.trials)
    optimizers = [(spec, trials(spec, first, question.search)) for spec in selected(optimizer, question.optimizers)]
    for _, tried in optimizers:
        needs_of(tried[0].spec)
    initializers = [initializer.bind(spec) for spec in selected(initializer, question.initializers)]
    starts: list[tuple[Task, Spec]] = []
    skipped = []
    for task in _tasks(question):
        rule_of(question.stop, task.made)  # which must fit every problem, as the probes must
        probes_of(question.probes, task.made, task.batch_size)
        for start in initializers:
            why_not = not_applicable(start, task.made)
            if why_not:
                skipped.append((task.name, str(initializer.short(start)), why_not))
            else:
                starts.append((task, start))
    if not starts:
        reasons = "; ".join(f"{start} on {name}: {why}" for name, start, why in skipped)
        raise UsageError(f"compare: nothing to run ({reasons}); add --initializers default")
    rows = max(Counter(task for task, _ in starts).values()) * len(optimizers)
    seeds = question.seeds or max(SEEDS, seeds_needed(rows) + SPARE)
    question = replace(question, seeds=seeds)
    contestants = [
        Contestant(task, asked, start, tried, question, seeds) for task, start in starts for asked, tried in optimizers
    ]
    return Plan(question, contestants, skipped, _left_out(question))


def _check_numbers(question: Question) -> None:
    for name, least in LEAST.items():
        value = getattr(question, name)
        if value is None and name != "trials":
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"compare: {name} must be a whole number, got {value!r}")
        if value < least:
            raise UsageError(f"compare: {name} must be >= {least}, got {value}")
        if name in ("trials", "seeds") and value > MOST:
            raise UsageError(f"compare: {name} must be at most {MOST:,}, got {value:,}")
    if question.steps is not None and question.epochs is not None:
        raise UsageError("compare: give steps or epochs, not both")


def _left_out(question: Question) -> dict[str, str]:
    found = left_out(problem, question.problems) if question.problems else {}
    return found | left_out(optimizer, question.optimizers) | left_out(initializer, question.initializers)


def seeds_needed(rows: int) -> int:
    """The fewest seeds with which any two of so many rows could be told apart."""
    from analysis.statistics import seeds_needed

    return seeds_needed(math.comb(rows, 2))


def problem_specs(text: str) -> list[Spec]:
    """The problems that a text names, or those of a quick comparison if it is empty."""
    return selected(problem, text or "quick")


def _tasks(question: Question) -> list[Task]:
    specs = [problem.bind(spec) for spec in problem_specs(question.problems)]
    made: list[Problem] = [problem.build(spec) for spec in specs]
    wanted = targets(question.target, [(str(problem.short(s)), m) for s, m in zip(specs, made, strict=True)])
    return [_task(spec, m, target, question) for spec, m, target in zip(specs, made, wanted, strict=True)]


def _task(spec: Spec, made: Problem, target: Target | None, question: Question) -> Task:
    size = made.batch_size if question.batch_size is None else question.batch_size
    epoch = steps_per_epoch(made, size)
    own = problem.find(spec.name).meta.get("compare_steps", made.epochs * epoch)
    asked = question.steps if question.epochs is None else question.epochs * epoch
    return Task(spec, made, own if asked is None else asked, size, target)


def wants_all(spec: Spec) -> bool:
    """Whether a bound optimizer is meant for the whole training split at each step."""
    return needs_of(spec).full_batch


def needs_of(spec: Spec) -> Needs:
    """What a bound optimizer asks for.

    Raises:
        UsageError: it is somebody's own, and raises or returns something else.
    """
    try:
        made = optimizer.build(spec)
    except UsageError:
        raise
    except RAISED as error:
        raise UsageError(f"{spec.name} cannot be made: {told(error)}") from error
    if not isinstance(made, Optimizer):
        got = type(made).__name__
        raise UsageError(f"{spec.name} must return an Optimizer, as first_order(init, update) does; got {got}")
    return made.needs


def steps_per_epoch(made: Problem, batch_size: int) -> int:
    """How many minibatches an epoch has; 0 takes all examples in one.

    Raises:
        UsageError: a minibatch larger than the training split.
    """
    count = len(made.train)
    if not 0 <= batch_size <= count:
        raise UsageError(
            f"{made.name}: batch size must be in [1, {count}], the number of training examples, "
            f"or 0 for all of them, got {batch_size}"
        )
    return count // batch_size if batch_size else 1


def default_eval_every(made: Problem, batch_size: int, steps: int, most: int = 100) -> int:
    """An evaluation at each epoch, or at each k-th where that would be more than ``most``."""
    epoch = steps_per_epoch(made, batch_size)
    return epoch * max(1, math.ceil(steps / (epoch * most)))
