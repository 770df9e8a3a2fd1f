"""Where runs execute: this process, or several processes of this machine."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from problems.names import UsageError, parse
from suite.processes import CONTEXT, end_with_parent, kill, manager
from suite.spec import Result, Run

MOST = 256  # runs that one task may hold; more lanes than that gain nothing anywhere
TRIES = 3  # how often a task is given to a new process after the one that held it died


@dataclass(frozen=True)
class Progress:
    """How far a batch of runs is: steps done and planned, summed over runs."""

    done: int
    total: int


OnResult = Callable[[Result], None]
OnProgress = Callable[[Progress], None]


def group_key(run: Run) -> tuple[Any, ...]:
    """What runs must have in common to train as lanes: all but numbers, seeds and initializers."""
    from suite.settings import structure

    ends = (run.until_target, run.stop)
    budget = (run.steps, run.eval_every, run.batch_size, run.order, run.grow_every, *ends, run.probes)
    return (run.problem, structure(parse(run.optimizer)), *budget, run.timed, run.device, run.dtype)


def groups(runs: Iterable[Run], most: int = MOST) -> list[list[Run]]:
    """The runs in groups that can train together, none larger than ``most``, in order of appearance."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(group_key(run), []).append(run)
    return [group[i : i + most] for group in found.values() for i in range(0, len(group), most)]


def train(
    runs: Sequence[Run],
    *,
    jobs: int = 1,
    on_result: OnResult,
    on_progress: OnProgress = lambda progress: None,
) -> None:
    """Train all runs, those that share a problem and an optimizer together as lanes.

    Args:
        jobs: processes to use, each with one thread; 1 trains in this process. Two
            processes with a thread each beat one with two, and a run's bits then depend on
            nothing but itself.
        on_result: called in this process with each run's result as soon as it is finished.

    Raises:
        UsageError: a problem or an optimizer cannot be made as asked; results of the others
            have been reported.
    """
    from suite.estimate import dearest_first

    total = sum(run.steps for run in runs)
    done = 0

    def on_steps(steps: int) -> None:
        nonlocal done
        done += steps
        on_progress(Progress(done, total))

    together = dearest_first(tasks(runs))
    if jobs == 1 or len(together) <= 1 or any(run.timed for run in runs):  # a clock wants the machine to itself
        for task in together:
            run_task(task, on_result, on_steps)
    elif together:
        _Pool(together, min(jobs, len(together)), on_result, on_steps).run()


def tasks(runs: Iterable[Run]) -> list[list[Run]]:
    """The groups in parts of as many lanes as the calibration says, each of which any process may take."""
    from suite.calibrate import lanes_for
    from suite.threads import one_thread

    found = []
    with one_thread():
        for group in groups(runs):
            try:
                width = lanes_for(group[0], len(group))
            except UsageError:  # which its training will raise, when the others are done
                width = len(group)
            found += [group[i : i + width] for i in range(0, len(group), width)]
    return found


def run_task(task: Sequence[Run], on_result: OnResult, on_steps: Callable[[int], None]) -> None:
    """Train one task in this process."""
    from suite.runner import train_group
    from suite.threads import one_thread

    with one_thread():
        train_group(task, on_result, on_steps)


# several processes ----------------------------------------------------------------------


_outbox: Any = None  # in a worker: the queue to the process that asked


def _enter(outbox: Any) -> None:
    global _outbox
    _outbox = outbox
    end_with_parent()


def _work(task: list[Run]) -> None:
    run_task(task, lambda result: _outbox.put(result), lambda steps: _outbox.put(steps))
    _outbox.put(None)  # everything of this task is in the queue


class _Pool:
    """Gives tasks to processes; a task whose process died is given to another, less what it had finished."""

    def __init__(self, tasks: list[list[Run]], jobs: int, on_result: OnResult, on_steps: Callable[[int], None]) -> None:
        self.tasks, self.jobs = tasks, jobs
        self.on_result, self.on_steps = on_result, on_steps
        self.finished: set[Run] = set()
        self.error: UsageError | None = None

    def run(self) -> None:
        todo = self.tasks
        for attempt in range(TRIES):
            died = self._attempt(todo)
            todo = [left for task in died if (left := [run for run in task if run not in self.finished])]
            if not todo:
                break
            if attempt == TRIES - 1:
                for run in (run for task in todo for run in task):
                    detail = f"the process that trained it died {TRIES} times (out of memory?)"
                    self.on_result(Result(run, "failed", detail))
        if self.error is not None:
            raise self.error

    def _attempt(self, tasks: list[list[Run]]) -> list[list[Run]]:
        """Run the tasks; those whose process died."""
        shared = manager()
        outbox = shared.Queue()
        pool = ProcessPoolExecutor(self.jobs, CONTEXT, _enter, (outbox,))
        died: list[list[Run]] = []
        try:
            pending: dict[Future[None], list[Run]] = {pool.submit(_work, task): task for task in tasks}
            while pending:
                over, _ = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                self._drain(outbox)
                for future in over:
                    task = pending.pop(future)
                    try:
                        future.result()
                    except BrokenProcessPool:
                        died.append(task)
                    except UsageError as error:
                        self.error = error
            self._drain(outbox)
        except BaseException:
            kill(pool)
            raise
        pool.shutdown()
        return died

    def _drain(self, outbox: Any) -> None:
        while True:
            try:
                message = outbox.get_nowait()
            except (queue.Empty, EOFError, OSError):
                return
            if isinstance(message, Result):
                self.finished.add(message.run)
                self.on_result(message)
            elif message is not None:
                self.on_steps(message)
