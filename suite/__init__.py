"""Which training algorithm, and what does it cost?

``import suite`` loads neither torch nor pandas; what needs them imports them when used.
"""

from __future__ import annotations

from typing import Any

from problems import UsageError, linear_range, log_range, problem
from problems.bounds import Count, Fraction, Natural, NonNegative, Positive, Real, Unit
from suite.initializers import bias, initializer
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
    "bias",
    "first_order",
    "initializer",
    "linear_range",
    "load",
    "load_comparisons",
    "load_costs",
    "load_landscapes",
    "load_spectra",
    "load_updates",
    "log_range",
    "optimizer",
    "price",
    "problem",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def _there(results: str) -> str:
    """The name of a folder of results that exists, be it empty.

    Raises:
        UsageError: there is no such folder.
    """
    from pathlib import Path

    if not Path(results).is_dir():
        raise UsageError(f"{results}: no such folder of results; python -m suite compare makes one")
    return results


def load(results: str = "results") -> Any:
    """The results of a folder as two tidy pandas frames: see :func:`suite.store.load`."""
    from suite.store import load

    return load(_there(results))


def load_costs(results: str = "results") -> Any:
    """The measured costs of a folder as a pandas frame: see :func:`suite.costs.load_costs`."""
    from suite.costs import load_costs

    return load_costs(_there(results))


def load_spectra(results: str = "results") -> Any:
    """The measured spectra of a folder as a pandas frame: see :func:`suite.spectra.load_spectra`."""
    from suite.spectra import load_spectra

    return load_spectra(_there(results))


def load_landscapes(results: str = "results") -> list[dict[str, Any]]:
    """The looks at loss surfaces of a folder: see :mod:`suite.landscapes`."""
    from suite.landscapes import load_landscapes

    return load_landscapes(_there(results))


def load_updates(results: str = "results") -> Any:
    """The measured updates of a folder as a pandas frame: see :func:`suite.update_command.load_updates`."""
    from suite.update_command import load_updates

    return load_updates(_there(results))


def load_comparisons(results: str = "results") -> list[dict[str, Any]]:
    """The comparisons of a folder, newest first: see :mod:`suite.comparisons`."""
    from suite.comparisons import load

    return load(_there(results))


def price(traces: Any, costs: Any, runs: Any) -> Any:
    """Learning curves in seconds on named machines: see :func:`suite.costs.price`."""
    from suite.costs import price

    return price(traces, costs, runs)
