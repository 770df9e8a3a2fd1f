"""The time that stretches of a running program take, without the clock's own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

DELAY = 10_000_000  # cycles for which an accelerator waits
EMPTY, TIMES = 200, 5  # stretches that hold nothing, in a row, from which the clock's own time is told


class Clock:
    """Seconds spent in named stretches of a running program; on an accelerator by its own events.

    A processor's clock takes 0.1 to 1 µs to read, which is much beside a step of 50 µs. So each stretch is told
    less what an empty one takes, and one within which others ran less what timing those took besides.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self.stretches: dict[str, list[tuple[Any, Any]]] = {}
        self.inside, self.around = (0.0, 0.0) if self.cuda else self._own()

    def now(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def delay(self) -> None:
        """Keep an accelerator busy for a few milliseconds, so that what is launched meanwhile follows without gaps.

        What lies between two events is else the time that it took to launch them, where that is longer.
        """
        if self.cuda:
            torch.cuda._sleep(DELAY)

    def timed(self, name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """The action, its stretches kept under a name."""

        def act(*arguments: Any) -> Any:
            began = self.now()
            result = action(*arguments)
            self.stretches.setdefault(name, []).append((began, self.now()))
            return result

        return act

    def take(self, name: str) -> tuple[float, int]:
        """Seconds in the stretches of a name so far, and how many there were; they are forgotten."""
        if self.cuda:
            torch.cuda.synchronize()
        found = self.stretches.pop(name, [])
        total = sum(a.elapsed_time(b) / 1e3 if self.cuda else b - a for a, b in found)
        return max(0.0, total - len(found) * self.inside), len(found)

    def _own(self) -> tuple[float, float]:
        """Seconds that an empty stretch is long, and that timing one takes from outside it."""
        self.inside = 0.0
        empty = self.timed("", lambda: None)
        inside, around = [], []
        for _ in range(TIMES):
            began = self.now()
            for _ in range(EMPTY):
                empty()
            whole = (self.now() - began) / EMPTY
            long, count = self.take("")
            inside.append(long / count)
            around.append(whole - long / count)
        return statistics.median(inside), statistics.median(around)
