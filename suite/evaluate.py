"""Losses and metrics of many lanes over whole splits."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from analysis.replay.products import elsewhere
from problems.problem import Batch, Data, Problem, streams
from suite.chunks import width
from suite.lift import over_lanes
from suite.objective import Objective

EXAMPLES = 1000  # in one pass; fixed, so that a lane's sums do not depend on the lanes beside it
STREAMS = 50  # places of a split that are read on from at once where a state is carried, whatever the run's batch
LARGE = 1 << 17  # numbers of a layer from which finding the quicker library for its products costs less than it gains
NUMBERS = 1 << 27  # of activations that may be alive at once, roughly


def evaluate(problem: Problem, theta: Tensor, batch_size: int) -> dict[str, Tensor]:
    """Every measure on every split, such as ``valid_accuracy``, each a float64 tensor [lanes].

    Where theory gives the least loss and it is not 0, ``train_excess`` is what the training loss is above it.

    Args:
        theta: [lanes, D].
        batch_size: of the run; splits that drop a partial last batch leave that remainder out.
    """
    lanes = max(1, NUMBERS // (EXAMPLES * width(problem)))
    with torch.no_grad(), elsewhere() if _dense(problem) >= LARGE else nullcontext():
        parts = [_of_lanes(problem, theta[first : first + lanes], batch_size) for first in range(0, len(theta), lanes)]
    found = {measure: torch.cat([part[measure] for part in parts]) for measure in parts[0]}
    if problem.minimum is not None and problem.minimum.loss:
        found["train_excess"] = found["train_loss"] - problem.minimum.loss
    return found


def _of_lanes(problem: Problem, theta: Tensor, batch_size: int) -> dict[str, Tensor]:
    """The same for lanes that go through the problem together."""
    prepared = over_lanes(lambda lane, _: problem.prepared(lane), theta, (), shared=True)
    found: dict[str, Tensor] = {}
    for name, split in problem.splits.items():
        batches = _streams(split) if problem.carry else _chunks(split, _evaluated(split, batch_size))
        count = sum(len(batch[0]) for batch in batches)
        carried: tuple[Tensor, ...] = ()
        for batch in batches:
            means, carried = _measured(problem, theta, prepared, batch, carried)
            for measure, mean in means.items():
                total = mean.to(torch.float64) * (len(batch[0]) / count)
                key = f"{name}_{measure}"
                found[key] = found[key] + total if key in found else total
    return found


def _measured(
    problem: Problem, theta: Tensor, prepared: Any, batch: Batch, carried: tuple[Tensor, ...]
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Means over one batch, each [lanes], and what each lane carries on, if anything."""

    def of_lane(lane: Any, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        theta, prepared, carried = lane
        means, ends = problem.measured(theta, (*batch, *carried), prepared)
        return means, () if ends is None else (ends,)

    means, ends = over_lanes(of_lane, (theta, prepared, carried), batch, shared=True)
    return means, ends


def _chunks(split: Data, count: int) -> list[Batch]:
    return [tuple(t[i : min(i + EXAMPLES, count)] for t in split.tensors) for i in range(0, count, EXAMPLES)]


def _streams(split: Data) -> list[Batch]:
    """Batches that follow one another in each of ``STREAMS`` places; the remainder is left out."""
    rows = streams(len(split), min(STREAMS, len(split))).to(split.tensors[0].device)
    return [tuple(t[row] for t in split.tensors) for row in rows]


def _evaluated(split: Data, batch_size: int) -> int:
    """How many examples of a split count."""
    count = len(split)
    return count // batch_size * batch_size if split.drop_partial and 0 < batch_size <= count else count


def _dense(problem: Problem) -> int:
    """The numbers of its largest layer that is a matrix."""
    return max((p.size for p in problem.layout if p.role == "weight" and len(p.shape) == 2), default=0)


def gradient_norms(problem: Problem, theta: Tensor) -> Tensor:
    """‖∇L‖ of each θ [lanes, D] over the whole training split, in training as in the end of its course; [lanes]."""
    total = torch.zeros_like(theta)
    for batch in _chunks(problem.train, len(problem.train)):
        own = tuple(t.expand(len(theta), *t.shape) for t in batch)
        _, gradients = Objective(problem, len(theta), own, taped=False).gradient(theta)
        total += gradients * (len(batch[0]) / len(problem.train))
    return total.square().sum(1).sqrt()
