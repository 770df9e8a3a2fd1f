"""The most memory that was held while something ran."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from typing import Any

from analysis.replay.accelerator import accelerator
from problems.names import UsageError


class Peak:
    """``with Peak(device) as peak: ...``; then ``peak.bytes`` is the peak beyond what was held before.

    An accelerator's allocator knows it; on the CPU Linux does (the process's high-water mark,
    set back at the start, when what is free goes back to the system). Elsewhere it is None.
    """

    def __init__(self, device: str) -> None:
        self.accelerator = accelerator(device)
        self.bytes: int | None = None

    def __enter__(self) -> Peak:
        if self.accelerator is not None:
            self._before: int | None = self.accelerator.held()
        else:
            _trim()
            self._before = _resident("VmRSS") if _reset() else None
        return self

    def __exit__(self, *error: Any) -> None:
        if self._before is None:
            return
        now = _resident("VmHWM") if self.accelerator is None else self.accelerator.peak()
        self.bytes = None if now is None else max(0, now - self._before)


def free(device: str) -> int | None:
    """Bytes that a device could still give; None where that is not known."""
    means = accelerator(device)
    return _line("/proc/meminfo", "MemAvailable") if means is None else means.free()


def require(count: float, device: str, what: str, instead: str) -> None:
    """Refuse what would take so many bytes where fewer are free.

    Args:
        what, instead: named in the message, which says what would be too large and what to do.

    Raises:
        UsageError: fewer are free.
    """
    room = free(device)
    if room is not None and count > room:
        raise UsageError(f"{what} would take about {_gigabytes(count)}, and {_gigabytes(room)} are free; {instead}")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.{1 if count < 1e10 else 0}f} GB"


def _trim() -> None:
    """Give memory that is free back to the system, so that using it again counts."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # glibc alone has it; Windows knows no library without a name
        ctypes.CDLL(None).malloc_trim(0)


def _reset() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> int | None:
    """A line of the process's status, in bytes."""
    return _line("/proc/self/status", field)


def _line(file: str, field: str) -> int | None:
    """A line of a file of the kernel's, in bytes."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)
