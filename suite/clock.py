"""The time that stretches of a running program take, without the clock's own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from analysis.replay.accelerator import accelerator

EMPTY, TIMES = 200, 5  # stretches that hold nothing, in a row, from which the clock's own time is told


class Clock:
    """Seconds spent in named stretches of a running program; on an accelerator by its own events.

    A processor's clock takes 0.1 to 1 µs to read, which is much beside a step of 50 µs. So each stretch is told
    less what an empty one takes, and one within which others ran less what timing those took besides. An
    accelerator's events take longer between kernels than by themselves: there :meth:`correct` finds how long.
    """

    def __init__(self, device: str) -> None:
        self.accelerator = accelerator(device)
        self.stretches: dict[str, list[tuple[Any, Any]]] = {}
        self.running = True
        self.inside, self.around = self._own()
        self._share = self.inside / ((self.inside + self.around) or 1.0)  # of what timing a stretch takes
        self.pause = self._pause()

    def now(self) -> Any:
        return time.perf_counter() if self.accelerator is None else self.accelerator.mark()

    def delay(self) -> None:
        """Let an accelerator wait for ``pause`` seconds, so that what is launched meanwhile follows without gaps.

        What lies between two events is else the time that it took to launch them, where that is longer.
        """
        if self.accelerator is not None:
            self.accelerator.delay()

    def timed(self, name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """The action, its stretches kept under a name."""

        def act(*arguments: Any) -> Any:
            if not self.running:
                return action(*arguments)
            began = self.now()
            result = action(*arguments)
            self.stretches.setdefault(name, []).append((began, self.now()))
            return result

        return act

    def take(self, name: str) -> tuple[float, int]:
        """Seconds in the stretches of a name so far, and how many there were; they are forgotten."""
        found = self.stretches.pop(name, [])
        return max(0.0, self.total(found) - len(found) * self.inside), len(found)

    def total(self, stretches: Sequence[tuple[Any, Any]]) -> float:
        """Seconds in stretches, as they were marked."""
        if self.accelerator is None:
            return float(sum(b - a for a, b in stretches))
        self.accelerator.wait()
        return sum(self.accelerator.between(a, b) for a, b in stretches)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Without timing the stretches of what runs inside."""
        self.running = False
        try:
            yield
        finally:
            self.running = True

    def correct(self, timed: float, untimed: float) -> None:
        """Let each stretch so far, and from now on, be told less its share of what timing them all took.

        Args:
            timed: seconds of the whole in which they were timed, and ``untimed`` of the same with the clock stopped.
        """
        each = max(0.0, timed - untimed) / sum(map(len, self.stretches.values()))
        self.inside, self.around = each * self._share, each * (1 - self._share)

    def _pause(self) -> float:
        if self.accelerator is None:
            return 0.0
        for _ in range(2):  # what comes first is loaded first
            began = self.now()
            self.delay()
            ended = self.now()
            self.accelerator.wait()
        return self.accelerator.between(began, ended)

    def _own(self) -> tuple[float, float]:
        """Seconds that an empty stretch is long, and that timing one takes from outside it."""
        self.inside = 0.0
        empty = self.timed("", lambda: None)
        inside, around = [], []
        for _ in range(TIMES):
            self.delay()
            began = self.now()
            for _ in range(EMPTY):
                empty()
            whole = self.total([(began, self.now())]) / EMPTY
            long, count = self.take("")
            inside.append(long / count)
            around.append(whole - long / count)
        return statistics.median(inside), statistics.median(around)
