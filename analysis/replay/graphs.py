"""Kernels on a GPU as CUDA graphs: launching a hundred then costs about what launching one does.

A small model's step on a GPU is all launching: each kernel runs for two microseconds and takes
Python five to launch. A tape's kernels are the same at every replay, on the same memory, so the
stretches of it that lie between Python actions are captured once and replayed as a whole. The
kernels are those that ran before, in the same order, so the bits are the same.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Any

import torch

Kernel = Callable[[], Any]
WARM = 2  # replays kernel by kernel before a capture, in which libraries load what they need
_wanted = ContextVar("wanted", default=True)


@contextmanager
def used(wanted: bool) -> Iterator[None]:
    """Tapes that are recorded inside capture their kernels, or do not: for measuring one against the other."""
    before = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(before)


def stretches(program: Sequence[Kernel], actions: Collection[Kernel], device: torch.device) -> list[Kernel]:
    """The program with its kernels captured where they run on a GPU.

    Args:
        actions: those of the program that are no kernels, and may do more than launch some.
    """
    if device.type != "cuda" or not _wanted.get():
        return list(program)
    pool = torch.cuda.graph_pool_handle()
    found: list[Kernel] = []
    for action, run in groupby(program, key=lambda kernel: kernel in actions):
        kernels = list(run)
        found += kernels if action or len(kernels) == 1 else [Captured(kernels, device, pool)]
    return found


class Captured:
    """Kernels that are launched one by one at first, and then as a graph; for good one by one where that fails.

    Args:
        pool: memory that graphs of one program share, which are replayed in the order of their capture.
    """

    def __init__(self, kernels: Sequence[Kernel], device: torch.device, pool: Any) -> None:
        self.kernels, self.device, self.pool = list(kernels), device, pool
        self._calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Launch the kernels."""
        if self.graph is not None:
            self.graph.replay()
            return
        if self._calls == WARM and not torch.cuda.is_current_stream_capturing():
            self.graph = self._capture()
        self._calls += 1
        if self.graph is not None:
            self.graph.replay()
        else:
            for kernel in self.kernels:
                kernel()

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        random = torch.cuda.default_generators[self.device.index]
        before = random.clone_state()
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        collecting = gc.isenabled()
        gc.disable()  # a graph that were freed meanwhile would end the capture
        try:
            with torch.cuda.stream(side):
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
                try:
                    for kernel in self.kernels:
                        kernel()
                finally:
                    graph.capture_end()
        except RuntimeError:  # a kernel that waits for the device
            torch.cuda.synchronize(self.device)
            random.graphsafe_set_state(before)  # the state in use would wait for the end of this capture for ever
            return None
        finally:
            if collecting:
                gc.enable()
        torch.cuda.current_stream(self.device).wait_stream(side)
        return graph
