"""Which training algorithm, and what does it cost?

``import suite`` loads neither torch nor pandas; what needs them imports them when used.
"""

from __future__ import annotations

from typing import Any

from problems import UsageError, linear_range, log_range, problem
from problems.bounds import Count, Fraction, Natural, NonNegative, Positive, Real, Unit
from suite.initializers import initializer
from suite.optimizers import Needs, Optimizer, first_order, optimizer

__version__ = "0.1.0"
__all__ = [
    "Count",
    "Fraction",
    "Natural",
    "Needs",
    "NonNegative",
    "Optimizer",
    "Positive",
    "Real",
    "Unit",
    "UsageError",
    "first_order",
    "initializer",
    "linear_range",
    "load",
    "log_range",
    "optimizer",
    "problem",
]


def load(results: str = "results") -> Any:
    """The results of a folder as two tidy pandas frames: see :func:`suite.store.load`."""
    from suite.store import load

    return load(results)
