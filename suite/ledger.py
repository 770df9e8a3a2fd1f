"""Results of runs: from the store where they are, by training where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from problems.data.tables import is_file
from problems.names import Spec, parse
from problems.problem import problem
from suite import engine, interrupts
from suite.engine import OnProgress
from suite.spec import Result, Run
from suite.store import Store

Results = dict[Run, Result]


def _unheard(runs: Sequence[Run]) -> OnProgress:
    return lambda progress: None


@dataclass
class Ledger:
    """Gets the results of runs and keeps each new one in the store as soon as it is there.

    Args:
        jobs: processes to train in.
        force: train anew whatever is stored.
        train: as :func:`suite.engine.train`.
    """

    store: Store
    jobs: int = 1
    force: bool = False
    train: Callable[..., None] = field(default_factory=lambda: engine.train)
    stored: int = 0  # new results so far
    _known: Results = field(default_factory=dict)
    _data: dict[str, dict[str, str]] = field(default_factory=dict)  # of problems, as they are now
    _told: set[str] = field(default_factory=set)

    def missing(self, runs: Iterable[Run]) -> list[Run]:
        """The runs that have to be trained."""
        return [run for run in runs if self._find(run) is None]

    def obtain(self, runs: Sequence[Run], on_start: Callable[[Sequence[Run]], OnProgress] = _unheard) -> Results:
        """The result of every run.

        Args:
            on_start: told which runs will be trained; gives what listens to their progress.

        Raises:
            StoreError: a result cannot be stored; those before it are.
        """
        missing = self.missing(runs)
        interrupts.check()
        if missing:
            self.store.ready()
        failed: Results = {}

        def keep(result: Result) -> None:
            self.store.save(result)
            self.stored += 1
            (failed if result.status == "failed" else self._known)[result.run] = result
            interrupts.check()

        self.train(missing, jobs=self.jobs, on_result=keep, on_progress=on_start(missing))
        return {run: self._known.get(run) or failed[run] for run in runs}

    def _find(self, run: Run) -> Result | None:
        if run not in self._known and not self.force:
            found = self.store.find(run)
            if found is not None and self._of_the_same_data(found):
                self._known[run] = found
        return self._known.get(run)

    def _of_the_same_data(self, found: Result) -> bool:
        """Whether data that may change are still what a run was trained on."""
        text = found.run.problem
        if text not in self._data:
            self._data[text] = fingerprints(text)
        changed = [key for key, now in self._data[text].items() if found.summary.get(key, now) != now]
        if changed and text not in self._told:
            self._told.add(text)
            words = f"{text}: its data are not what they were, so its runs are trained anew"
            warnings.warn(words, stacklevel=2)
        return not changed


def fingerprints(text: str) -> dict[str, str]:
    """A bound problem's data by split, as a run's summary has them; nothing of data that cannot change, as files and
    sets of the hub can."""
    spec = parse(text)
    if not _changes(spec):
        return {}
    return {f"{name}_data": split.fingerprint for name, split in problem.build(spec).splits.items()}


def _changes(spec: Spec) -> bool:
    """Whether the data of a problem, or of one inside it, may change under the same name: they are somebody's own
    definition's, in a file that its settings name, or a set that its publisher may change."""
    inside = spec.options.values()
    nested = any(_changes(value) for value in inside if isinstance(value, Spec))
    own = ":" in spec.name or any(isinstance(v, str) and is_file(v) for v in inside)
    return nested or own or bool(spec.name in problem and problem.find(spec.name).meta.get("changes"))
