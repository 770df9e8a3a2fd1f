"""What this machine can do at best: the rates that measured costs are held against."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

# Importing the timer looks for a CUDA compiler and warns of what it finds, which is nobody's concern here.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
from torch.utils.benchmark import Timer  # noqa: E402  # after the logger has been quieted

from analysis.replay.accelerator import Cuda, accelerator  # noqa: E402
from analysis.replay.products import by_onednn  # noqa: E402

MATRIX = 1024  # a square product of this size runs at a processor's peak
COPY = 1 << 26  # bytes, more than the caches hold
MOMENT = 0.3  # seconds in which the best is looked for
CACHES = 1 << 28  # bytes, more than the caches of any processor core hold
TIMES, LONG = 5, 1.0  # calls on an accelerator at least, before timing and timed, unless they take so many seconds


def timer(action: Callable[[], Any]) -> Timer:
    """A timer of torch's for a call, with one thread."""
    return Timer("action()", globals={"action": action}, num_threads=1)


def device_seconds(
    action: Callable[[], Any],
    device: str,
    seconds: float,
    cold: bool = False,
    before: Callable[[], Any] | None = None,
) -> float:
    """Median seconds of a call, measured for about ``seconds``.

    A processor is timed by torch's blocked autorange, or call by call where something has to be done between two. An
    accelerator is timed by its own events, a pair around as many calls as take a millisecond or two, so that
    launching goes on while it works, as in a training loop; its clocks are left alone.

    Args:
        cold: before each call, which is then timed by itself, overwrite more than the caches hold (an
            accelerator's L2), so that it does not find there what the one before it left.
        before: done before each call, outside the time.
    """
    means = accelerator(device)
    if means is not None:
        return statistics.median(_by_marks(action, means, seconds, cold, before))
    if cold:
        return statistics.median(_cold(action, seconds))
    if before is None:
        return timer(action).blocked_autorange(min_run_time=seconds).median
    return statistics.median(_by_calls(action, seconds, before))


def _by_marks(
    action: Callable[[], Any], means: Cuda, seconds: float, cold: bool, before: Callable[[], Any] | None
) -> list[float]:
    scratch = means.beyond_cache() if cold else None
    alone, before = before is not None, before or (lambda: None)
    began = time.perf_counter()
    for _ in range(TIMES):  # kernels are captured at the third call
        before()
        action()
        means.wait()
        if time.perf_counter() - began > LONG:
            break
    calls = 1 if cold or alone else max(1, round(2e-3 / _between(action, 1, means)))
    times: list[float] = []
    began = time.perf_counter()
    while not times or (spent := time.perf_counter() - began) < seconds or (len(times) < TIMES and spent < LONG):
        before()
        if scratch is not None:
            scratch.zero_()
        times.append(_between(action, calls, means) / calls)
    return times


def _by_calls(action: Callable[[], Any], seconds: float, before: Callable[[], Any]) -> list[float]:
    times: list[float] = []
    while sum(times) < seconds:
        before()
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return times


def _cold(action: Callable[[], Any], seconds: float) -> list[float]:
    """Of single calls on a processor, with so many seconds for emptying its caches and for them."""
    caches = _caches()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while not times or time.perf_counter() < ends:
        caches.add_(1)  # to set it to a number would go past the caches
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return times


@cache
def _caches() -> torch.Tensor:
    return torch.zeros(CACHES, dtype=torch.uint8)


def glance(action: Callable[[], Any], device: str, seconds: float) -> float:
    """Mean seconds of a call from as many as take ``seconds``; on a processor its own, whatever else it does."""
    if accelerator(device) is not None:
        return device_seconds(action, device, seconds)
    calls, spent = 1, 0.0
    while True:
        began = time.thread_time()
        for _ in range(calls):
            action()
        spent = time.thread_time() - began
        if spent >= seconds:
            return spent / calls
        calls = max(2 * calls, min(10 * calls, round(calls * seconds / max(spent, 1e-9))))


def _between(action: Callable[[], Any], calls: int, means: Cuda) -> float:
    """Seconds between two marks around some calls on an accelerator."""
    first = means.mark()
    for _ in range(calls):
        action()
    last = means.mark()
    means.wait()
    return max(means.between(first, last), 1e-7)


def replayed(action: Callable[[], Any], device: str, seconds: float) -> float | None:
    """The same with the call's kernels replayed as one CUDA graph: the work without what launching it costs.

    None on a processor, and for a call that cannot be captured (one that looks at values).
    """
    means = accelerator(device)
    if means is None:
        return None
    for _ in range(3):
        action()
    graph = means.capture([action], means.pool())
    return None if graph is None else device_seconds(graph.replay, device, seconds)


def _quickest(action: Callable[[], Any], device: str) -> float:
    """The least seconds of a call, of as many as take a moment."""
    means = accelerator(device)
    if means is None:
        return min(timer(action).blocked_autorange(min_run_time=MOMENT).times)
    return min(_by_marks(action, means, MOMENT, cold=False, before=None))


@cache
def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product (a multiply-add counts two).

    On a processor by the quicker of PyTorch's two libraries: its convolutions are oneDNN's, which on AMD's reaches
    twice what MKL does, whose products a linear layer gets.
    """
    means = accelerator(device)
    side = MATRIX if means is None else means.scale * MATRIX
    a, b = (torch.rand(side, side, dtype=dtype, device=device) for _ in range(2))
    c = torch.empty_like(a)
    products: list[Callable[[], Any]] = [lambda: torch.mm(a, b, out=c)]
    if means is None and by_onednn(a, b) is not None:
        products.append(lambda: by_onednn(a, b))
    return 2 * side**3 / min(_quickest(product, device) for product in products)


@cache
def copy_bandwidth(device: str) -> float:
    """Bytes per second read and written by a large copy (each byte copied counts two)."""
    means = accelerator(device)
    size = COPY if means is None else means.scale * COPY
    a = torch.ones(size, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * size / _quickest(lambda: b.copy_(a), device)
