"""What this machine can do at best: the rates that measured costs are held against."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

# Importing the timer looks for a CUDA compiler and warns of what it finds, which is nobody's concern here.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
from torch.utils.benchmark import Timer  # noqa: E402  # after the logger has been quieted

MATRIX = 1024  # a square product of this size runs at a processor's peak
COPY = 1 << 26  # bytes, more than the caches hold


def timer(action: Callable[[], Any]) -> Timer:
    """A timer of torch's for a call, with one thread."""
    return Timer("action()", globals={"action": action}, num_threads=1)


@cache
def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product (a multiply-add counts two)."""
    side = MATRIX if device == "cpu" else 8 * MATRIX
    a, b = (torch.rand(side, side, dtype=dtype, device=device) for _ in range(2))
    c = torch.empty_like(a)
    product = timer(lambda: torch.mm(a, b, out=c))
    return 2 * side**3 / min(product.blocked_autorange(min_run_time=0.3).times)


@cache
def copy_bandwidth(device: str) -> float:
    """Bytes per second read and written by a large copy (each byte copied counts two)."""
    size = COPY if device == "cpu" else 8 * COPY
    a = torch.ones(size, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * size / min(timer(lambda: b.copy_(a)).blocked_autorange(min_run_time=0.3).times)
