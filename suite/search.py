"""Where in the box of free settings trials are made: points of the unit cube, as many by every search.

- ``grid``: evenly spaced points, both ends included; of several settings the smallest grid that
  has as many points as there are trials, thinned evenly to their number.
- ``random``: independent uniform draws (Bergstra & Bengio 2012).
- ``halton``: a scrambled Halton sequence, which fills the box evenly at any count (Owen 2017).
- ``tpe``: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), in rounds whose trials
  train together; the first is half of the trials, by ``halton``.
- ``auto``: ``grid`` for one setting, ``halton`` for several.

Every optimizer with as many free settings is searched at the same points, as far as they do not
depend on results.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from problems.names import UsageError

SEARCHES = ("auto", "grid", "random", "halton", "tpe")
ROUNDS = 4  # of tpe after the first: each waits for the one before
SEED = 0
Point = tuple[float, ...]


def check(search: str) -> None:
    """Raise UsageError unless there is such a search, with what it needs."""
    if search not in SEARCHES:
        raise UsageError(f"compare: search must be one of {', '.join(SEARCHES)}, got {search!r}")
    if search == "tpe":
        try:
            import optuna  # noqa: F401  # said before anything is trained
        except ImportError:
            raise UsageError("compare: search tpe needs Optuna: pip install 'optimization-suite[optuna]'") from None


def first_round(search: str, count: int) -> int:
    """How many trials are known before any is made."""
    return math.ceil(count / 2) if search == "tpe" else count


def round_size(count: int) -> int:
    """How many trials each later round makes, of ``count`` in all."""
    return math.ceil((count - first_round("tpe", count)) / ROUNDS)


def points(search: str, dimensions: int, count: int) -> list[Point]:
    """``count`` points of the unit cube that do not depend on results; for ``tpe`` those of its first round."""
    if search == "grid" or (search == "auto" and dimensions == 1):
        return _grid(dimensions, count)
    if search == "random":
        import numpy as np

        return [tuple(map(float, row)) for row in np.random.default_rng(SEED).random((count, dimensions))]
    from scipy.stats import qmc

    return [tuple(map(float, row)) for row in qmc.Halton(dimensions, scramble=True, rng=SEED).random(count)]


def _grid(dimensions: int, count: int) -> list[Point]:
    sizes = [1] * dimensions
    while math.prod(sizes) < count:
        sizes[sizes.index(min(sizes))] += 1
    whole = math.prod(sizes)
    kept = [round(i * (whole - 1) / (count - 1)) for i in range(count)] if count > 1 else [0]
    return [_cell(index, sizes) for index in kept]


def _cell(index: int, sizes: Sequence[int]) -> Point:
    """The index-th point of a grid; the middle of a setting that has one point only."""
    place = []
    for size in sizes:
        index, at = divmod(index, size)
        place.append(at / (size - 1) if size > 1 else 0.5)
    return tuple(place)


def proposed(tried: Sequence[Point], costs: Sequence[float], count: int) -> list[Point]:
    """The next points by Optuna's tree-structured Parzen estimator, the same for the same past.

    The points of a round take each other for bad ones ("constant liar"), so that they keep apart.

    Args:
        tried: the points so far, with ``costs``: lower is better, infinite for one that diverged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    axes: dict[str, optuna.distributions.BaseDistribution] = {
        f"{axis:03d}": optuna.distributions.FloatDistribution(0.0, 1.0) for axis in range(len(tried[0]))
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constant_liar and multivariate
        sampler = optuna.samplers.TPESampler(
            seed=SEED + len(tried), n_startup_trials=1, multivariate=True, constant_liar=True
        )
        study = optuna.create_study(sampler=sampler, direction="minimize")
    for point, cost in zip(tried, costs, strict=True):
        study.add_trial(
            optuna.trial.create_trial(params=dict(zip(axes, point, strict=True)), distributions=axes, value=cost)
        )
    asked = [study.ask(axes) for _ in range(count)]
    return [tuple(trial.params[axis] for axis in axes) for trial in asked]
