"""The curvature from which on an optimizer's steps on a quadratic grow: what a sharpness is held against."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from problems.layout import Layout, Piece
from problems.names import Spec, UsageError, parse
from problems.problem import Data, Problem
from suite.lanes import lanes_of
from suite.optimizers import optimizer
from suite.schedules import schedule
from suite.settings import Path, walk
from suite.threads import one_thread

UNITS = (1e-3, 1e4)  # curvatures that are tried, times the learning rate
COUNT = 240  # of them at a time
STEPS = (400, 3000)  # from ‖x‖ = 1, first over all of them and then between the two that the answer lies between
GROWN = 10.0


def rate(text: str | None, step: int) -> float | None:
    """The learning rate of an optimizer at a step, where it has one: the outermost setting ``lr``."""
    return None if text is None else _at(text, step)[1]


def _at(text: str, step: int) -> tuple[Spec, float | None]:
    """The bound spec with each schedule at its value at a step, and its learning rate."""
    rates: dict[int, float] = {}

    def visit(path: Path, value: Any) -> Any:
        now = float(schedule.build(value)(step)) if isinstance(value, Spec) else value
        if path[-1] == "lr":
            rates.setdefault(len(path), now)
        return now

    spec = walk(optimizer, optimizer.bind(text), visit)
    return spec, rates[min(rates)] if rates else None


def stable_below(text: str | None, step: int = 0) -> float | None:
    """The curvature λ below which an optimizer's steps on ½λx² shrink, and above which they grow without bound.

    It is 2/ε for gradient descent, 2(1 + α)/ε for momentum α, and 2(1 + α)/((1 + 2α)ε) for Nesterov's
    (Cohen et al. 2021, appendix B). Here it is found from the steps themselves, on many curvatures at once, to
    some parts in ten thousand, so that rules of one's own have theirs. None for an optimizer without a learning
    rate, for one whose steps do not grow with the curvature (adaptive ones, whose steps are as long as their rate,
    and second-order ones), and for one that does not treat a coordinate by itself.

    Args:
        step: whose rate counts, of a schedule.
    """
    if text is None:
        return None
    spec, lr = _at(text, step)
    return _found(str(spec), lr) if lr else None


@lru_cache(maxsize=256)
def _found(text: str, lr: float) -> float | None:
    low, high = UNITS[0] / lr, UNITS[1] / lr
    for steps in STEPS:
        curvatures = np.geomspace(low, high, COUNT)
        sizes = _sizes(text, curvatures, steps)
        grown = ~(sizes <= GROWN)  # what overflowed has grown
        first = int(grown.argmax())
        if not first > 0 or not grown[first:].all():
            return None
        low, high = curvatures[first - 1], curvatures[first]
    with np.errstate(divide="ignore"):
        below, above = np.log(sizes[first - 1 : first + 1])  # linear in λ so close to where they are 0
    exact = low - (high - low) * below / (above - below) if np.isfinite([below, above]).all() else low
    return float(exact)


@one_thread()
def _sizes(text: str, curvatures: np.ndarray, steps: int) -> np.ndarray:
    """|x| of each coordinate of a quadratic after so many steps from 1; 0 where it cannot be told."""
    scale = torch.from_numpy(curvatures)
    one = Data((torch.zeros(1, 1, dtype=torch.float64),))
    made = Problem(
        "coordinates",
        Layout((Piece("x", (len(curvatures),), "other"),)),
        lambda pieces, batch: pieces["x"],
        lambda x, batch: 0.5 * (scale * x * x).sum(),
        one,
        batch_size=0,
    )
    start = torch.ones(1, len(curvatures), dtype=torch.float64)
    none = np.zeros(len(curvatures))
    try:
        lanes = lanes_of(made, [parse(text)], start, [0], 0, "sequential")
        lanes.step(0)
    except UsageError:  # it is for layers only
        return none
    if set(lanes.calls()[0]) != {"gradient"}:  # of second order, or it searches along lines
        return none
    for k in range(1, steps):
        lanes.step(k)
    if lanes.errors:
        return none
    return lanes.theta[0].abs().numpy()
