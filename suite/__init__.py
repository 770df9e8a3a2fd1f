"""Which training algorithm, and what does it cost?

``import suite`` loads neither torch nor pandas; what needs them imports them when used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from problems import Problem, UsageError, linear_range, log_range, problem
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
    "Problem",
    "Real",
    "Unit",
    "UsageError",
    "bias",
    "compare",
    "first_order",
    "initializer",
    "linear_range",
    "load",
    "load_claims",
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


def compare(
    problems: str | Sequence[str] = "",
    optimizers: str | Sequence[str] | None = None,
    initializers: str | Sequence[str] | None = None,
    *,
    results: str = "results",
    jobs: int = 1,
    force: bool = False,
    quiet: bool = False,
    **asked: Any,
) -> Any:
    """Tune optimizers, evaluate the best settings on fresh seeds, and judge: what ``python -m suite compare`` does.

    Runs that ``results`` has already are not trained again, and what was trained is kept there at once.

    Args:
        problems, optimizers, initializers: names with their settings, in one text or several; those of
            the command line unless given.
        jobs: processes to train in; a script that asks for more than one must guard its entry by
            ``if __name__ == "__main__":``.
        force: train anew what is there.
        asked: any other field of :class:`suite.plan.Question`: ``trials``, ``seeds``, ``steps``, ``epochs``,
            ``batch_size``, ``search``, ``target``, ``device``, ``dtype``, ``stop``, ``timed``, ``probes``.

    Returns:
        The verdicts as a pandas frame, best first by problem: ``optimizer``, ``settings``, ``initializer``,
        ``verdict``, ``p``, final values with their intervals, ``steps_to_target`` (infinite where it was not
        reached), …; a sentence for each problem that anything could be run on in ``attrs["headlines"]``.

    Raises:
        UsageError: an unknown name, a setting out of bounds, missing data; a script has no such guard.
    """
    from suite.program import compare

    lists = {"problems": problems, "optimizers": optimizers, "initializers": initializers}
    given = {name: value for name, value in lists.items() if value}
    return compare(results, jobs, force, quiet, **given, **asked)


def load(results: str = "results") -> Any:
    """The results of a folder as two tidy pandas frames: see :func:`suite.store.load`."""
    from suite.store import load

    return load(_there(results))


def load_claims(results: str = "results") -> Any:
    """What claims came to, as a pandas frame with a row for each observation: see :mod:`suite.claims`.

    ``outdated`` says that a claim's experiment is another one now, ``failed`` why it could not be carried out since.
    """
    from suite.claims.carrying import load
    from suite.reporting.claims import frame

    return frame(load(_there(results)))


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
