"""Curricula: easy examples first (section 8.7.6)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Bound, Count, OneOf
from problems.course import Course, Stream
from problems.names import UsageError
from problems.problem import Data, Problem, problem

if TYPE_CHECKING:
    from torch import Tensor

Share = Annotated[float, Bound(0, 1, open_low=True)]
Kind = Annotated[str, OneOf(("stochastic", "deterministic"))]
Score = Annotated[str, OneOf(("auto", "given", "length", "margin"))]


@problem(section="8.7.6", source="Deep Learning, section 8.7.6; Zaremba & Sutskever 2014")
def curriculum(
    problem: Problem, kind: Kind = "stochastic", by: Score = "auto", start: Share = 0.2, steps: Count = 1000
) -> Problem:
    """Another problem whose minibatches are easy at first and those of the whole training split from ``steps`` on.

    The training examples are sorted by difficulty; the easiest ⌈start·n⌉ are called easy. At step k:

    - ``stochastic``: each example of the minibatch is, with probability q = k/steps, what it would be without
      a curriculum, else drawn from the easy ones. Easy and difficult ones are always mixed, and the
      expected share of the difficult, q(1 − start), grows.
    - ``deterministic``: all are drawn from the easiest ⌈(start + (1 − start) k/steps) n⌉.

    Draws from the easy ones are with replacement. Evaluation is over whole splits, as ever.

    Args:
        by: the measure of difficulty: ``given`` (``Data.difficulty``), ``length`` of a sequence without the
            steps of zeros that pad it, or ``margin``, the distance from the mean input of the own class
            less that from the nearest other one's. ``auto`` takes the first of these that there is.

    Raises:
        UsageError: there is no such measure of this problem's examples, or they have to follow one another.

    Source: *Deep Learning*, section 8.7.6; Bengio et al. 2009 (deterministic); Zaremba & Sutskever 2014,
    section 6 (stochastic).
    """
    import torch

    inner = problem
    if inner.carry:
        raise UsageError(f"curriculum: the examples of {inner.name} follow one another; carry=False leaves them apart")
    scores = _difficulty(inner, by)
    order = torch.argsort(scores, stable=True).cpu()
    count = len(order)
    easy = math.ceil(start * count)

    def draw(within: int, size: int, stream: Stream) -> tuple[Tensor, Tensor]:
        generator = stream()
        mixed = torch.rand(size, generator=generator)
        return order[torch.randint(within, (size,), generator=generator)], mixed

    def stochastic(k: int, taken: Tensor, stream: Stream) -> Tensor:
        if k >= steps:
            return taken
        drawn, chance = draw(easy, len(taken), stream)
        return torch.where(chance < k / steps, taken, drawn)

    def deterministic(k: int, taken: Tensor, stream: Stream) -> Tensor:
        within = math.ceil((start + (1 - start) * k / steps) * count)
        return taken if k >= steps or within >= count else draw(within, len(taken), stream)[0]

    kinds = {"stochastic": stochastic, "deterministic": deterministic}
    return dataclasses.replace(
        inner,
        name=f"curriculum({inner.name})",
        course=Course(examples=kinds[kind], who="curriculum").after(inner.course),
        flow=None,
    )


def _difficulty(made: Problem, by: str) -> Tensor:
    """A score [n] of each training example, higher where it is more difficult."""
    measures: dict[str, Callable[[Data], Tensor | None]] = {
        "given": lambda train: train.difficulty,
        "length": _lengths,
        "margin": _margins,
    }
    for name in measures if by == "auto" else (by,):
        found = measures[name](made.train)
        if found is not None:
            return found
    missing = {
        "given": "its data give no difficulty",
        "length": "its inputs are no sequences of different lengths",
        "margin": "its examples have no labels",
    }
    reason = "; ".join(missing[name] for name in (measures if by == "auto" else (by,)))
    raise UsageError(
        f"curriculum: nothing tells which examples of {made.name} are difficult ({reason}); "
        "give Data(..., difficulty=scores [n])"
    )


def _lengths(train: Data) -> Tensor | None:
    """Steps of each sequence x [n, time, features] between zeros that pad it; None if all are alike."""
    import torch

    x = train.tensors[0]
    if x.dim() != 3 or not x.is_floating_point():
        return None
    used = (x != 0).any(2)
    steps = torch.arange(x.shape[1], device=x.device)
    first = torch.where(used, steps, x.shape[1]).amin(1)
    last = torch.where(used, steps, -1).amax(1)
    lengths = (last - first + 1).clamp(min=0)
    return lengths if bool((lengths != lengths[0]).any()) else None


def _margins(train: Data) -> Tensor | None:
    """‖x − μ_y‖ − min over c ≠ y of ‖x − μ_c‖, μ the mean inputs of the classes; None without labels."""
    import torch

    if len(train.tensors) < 2:
        return None
    x, labels = train.tensors[0].flatten(1), train.tensors[-1]
    if labels.dim() != 1 or labels.is_floating_point() or not x.is_floating_point():
        return None
    classes = int(labels.max()) + 1
    if len(labels.unique()) < 2:
        return None
    totals = torch.zeros(classes, x.shape[1], dtype=torch.float64).index_add_(0, labels, x.double())
    means = (totals / torch.bincount(labels, minlength=classes).unsqueeze(1)).to(x.dtype)  # nan without examples
    away = torch.cdist(x, means).nan_to_num(torch.inf)
    own = away.gather(1, labels.unsqueeze(1))
    others = away.scatter(1, labels.unsqueeze(1), torch.inf).amin(1, keepdim=True)
    return (own - others).squeeze(1)
