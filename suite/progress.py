"""How far training is, on stderr: bars on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suite.engine import OnProgress, Progress
from suite.spec import Run

if TYPE_CHECKING:
    from rich.console import Console

SECONDS = 10.0  # between two lines where there is no terminal
TELLING = 0.03  # share of the work from which its rate says something about the rest


class Display:
    """Shows the phases of a command one after the other, each with its rate and the time left.

    Args:
        quiet: show nothing.
    """

    def __init__(self, to: Console, quiet: bool = False) -> None:
        self.to, self.quiet = to, quiet
        self._bars: Any = None

    def __enter__(self) -> Display:
        if self.to.is_terminal and not self.quiet:
            self._bars = _bars(self.to)
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def phase(self, name: str, runs: Sequence[Run]) -> OnProgress:
        """Begin a phase; what it gives listens to the phase's progress."""
        if self.quiet or not runs:
            return lambda progress: None
        if self._bars is None:
            return Lines(self.to, name, runs)
        return _Bar(self._bars, name, runs)


class Meter:
    """Rate and time left of a phase."""

    def __init__(self, runs: Sequence[Run]) -> None:
        from suite.estimate import Course

        self.course = Course(runs)
        self.began = time.monotonic()

    def share(self, progress: Progress) -> float:
        """The share of the work that is done."""
        return self.course.share(progress.done)

    def words(self, progress: Progress) -> str:
        """``12,345 steps/s, 8 s left``."""
        elapsed, share = max(time.monotonic() - self.began, 1e-9), self.share(progress)
        rate = f"{progress.done / elapsed:,.0f} steps/s"
        if progress.done >= progress.total:
            return f"{rate}, took {span(elapsed)}"
        return f"{rate}, {span(elapsed * (1 - share) / share)} left" if share > TELLING else rate


class Lines:
    """A line at most every ten seconds, and one at the end."""

    def __init__(self, to: Console, name: str, runs: Sequence[Run]) -> None:
        self.to, self.name, self.runs = to, name, count(len(runs), "run")
        self.meter = Meter(runs)
        self.last = time.monotonic()
        self.over = False

    def __call__(self, progress: Progress) -> None:
        if self.over:
            return
        self.over = progress.done >= progress.total
        if self.over or time.monotonic() - self.last > SECONDS:
            self.last = time.monotonic()
            share = self.meter.share(progress)
            self.to.print(f"{self.name}: {share:4.0%} of {self.runs}, {self.meter.words(progress)}")


class _Bar:
    def __init__(self, bars: Any, name: str, runs: Sequence[Run]) -> None:
        self.bars, self.meter = bars, Meter(runs)
        self.task = bars.add_task(f"{name} {count(len(runs), 'run')}", total=1.0, words="starting")

    def __call__(self, progress: Progress) -> None:
        words = self.meter.words(progress)
        self.bars.update(self.task, completed=self.meter.share(progress), words=words)


def _bars(to: Console) -> Any:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}"),
    )
    return Progress(*columns, console=to)


def span(seconds: float) -> str:
    """A duration in words: ``8 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(n: int, one: str, many: str = "") -> str:
    """``1 thread``, ``2 threads``."""
    return f"{n} {one if n == 1 else many or one + 's'}"
