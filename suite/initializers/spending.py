"""What a start costs before the first step: steps, evaluations and seconds that initializers spend."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Spent:
    """Steps taken and evaluations by kind, and the seconds that all took."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    rehearsed: bool = False

    def summary(self) -> dict[str, float]:
        """``start_steps``, ``start_gradient_calls``, …, ``start_seconds``; {} where the start is a mere draw."""
        if not self.counts:
            return {}
        calls = {f"start_{kind}_calls": n for kind, n in sorted(self.counts.items()) if kind != "steps"}
        return {"start_steps": self.counts["steps"], **calls, "start_seconds": round(self.seconds, 6)}


_open: ContextVar[Spent | None] = ContextVar("spent", default=None)


@contextmanager
def spending(rehearsed: bool = False) -> Iterator[Spent]:
    """Count what initializers spend inside.

    Args:
        rehearsed: they take no steps, only to see whether they apply.
    """
    spent = Spent(rehearsed=rehearsed)
    token, began = _open.set(spent), time.perf_counter()
    try:
        yield spent
    finally:
        spent.seconds = time.perf_counter() - began
        _open.reset(token)


def charge(**counts: int) -> None:
    """Count ``steps``, or evaluations by kind (``value``, ``gradient``, …)."""
    spent = _open.get()
    if spent is not None:
        spent.counts.update(counts)


def rehearsed() -> bool:
    """Whether nothing is to be trained."""
    spent = _open.get()
    return spent is not None and spent.rehearsed
