"""Results of runs: from the store where they are, by training where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from suite import engine
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
        failed: Results = {}

        def keep(result: Result) -> None:
            self.store.save(result)
            self.stored += 1
            (failed if result.status == "failed" else self._known)[result.run] = result

        self.train(missing, jobs=self.jobs, on_result=keep, on_progress=on_start(missing))
        return {run: self._known.get(run) or failed[run] for run in runs}

    def _find(self, run: Run) -> Result | None:
        if run not in self._known and not self.force:
            found = self.store.find(run)
            if found is not None:
                self._known[run] = found
        return self._known.get(run)
