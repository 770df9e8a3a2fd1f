"""Kernels on a GPU as CUDA graphs: launching a hundred then costs about what launching one does.

A small model's step on a GPU is all launching: each kernel runs for two microseconds and takes
Python five to launch. A tape's kernels are the same at every replay, on the same memory, so the
stretches of it that lie between Python actions are captured once and replayed as a whole. The
kernels are those that ran before, in the same order, so the bits are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Any

import torch

from analysis.replay.accelerator import Cuda, Kernel, accelerator

WARM = 2  # replays kernel by kernel before a capture, in which libraries load what they need
_wanted = ContextVar("wanted", default=True)


@contextmanager
def used(wanted: bool) -> Iterator[None]:
    """Tapes that are recorded inside capture their kernels, or do not: for measuring one against the other.

    Without, those that were recorded before launch theirs one by one: for whoever counts them.
    """
    before = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(before)


def captures(device: torch.device) -> bool:
    """Whether kernels that run there are captured."""
    return _wanted.get() and accelerator(device) is not None


def stretches(program: Sequence[Kernel], actions: Collection[Kernel], device: torch.device) -> list[Kernel]:
    """The program with its kernels captured where they run on a GPU.

    Args:
        actions: those of the program that are no kernels, and may do more than launch some.
    """
    means = accelerator(device)
    if means is None or not captures(device):
        return list(program)
    pool = means.pool()
    found: list[Kernel] = []
    for action, run in groupby(program, key=lambda kernel: kernel in actions):
        kernels = list(run)
        found += kernels if action or len(kernels) == 1 else [Captured(kernels, means, pool)]
    return found


class Captured:
    """Kernels that are launched one by one at first, and then as a graph; for good one by one where that fails.

    Args:
        pool: memory that graphs of one program share, which are replayed in the order of their capture.
    """

    def __init__(self, kernels: Sequence[Kernel], means: Cuda, pool: Any) -> None:
        self.kernels, self.means, self.pool = list(kernels), means, pool
        self.graph: Any | None = None
        self._calls, self._refused = 0, False

    def __call__(self) -> None:
        """Launch the kernels."""
        if not _wanted.get():
            for kernel in self.kernels:
                kernel()
            return
        if self.graph is not None:
            self.graph.replay()
            return
        if self._calls >= WARM and not self._refused and not self.means.capturing():
            self.graph = self._capture()
            self._refused = self.graph is None
        self._calls += 1
        if self.graph is not None:
            self.graph.replay()
        else:
            for kernel in self.kernels:
                kernel()

    def _capture(self) -> Any | None:
        return self.means.capture(self.kernels, self.pool)
