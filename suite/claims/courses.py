"""Training from starts, and on examples, that no text names; nothing of it is kept in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from problems.problem import Problem, problem

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.objective import Objective


@dataclass(frozen=True)
class Course:
    """Where training went, a row for each lane.

    Args:
        points: step -> θ [lanes, D], for the steps that were asked for.
        losses: [steps, lanes] of each step's minibatch, before the update.
    """

    points: dict[int, Tensor]
    losses: Tensor


def made_of(text: str, dtype: str = "float64") -> Problem:
    """The problem of a text."""
    import torch

    return problem.build(problem.bind(text)).to("cpu", getattr(torch, dtype))


def drawn(made: Problem, seeds: Iterable[int], start: str = "default") -> Tensor:
    """Starts [lanes, D], as a run of each seed draws them."""
    import torch

    from suite.initializers import initializer
    from suite.sampler import generator

    draw = initializer.build(initializer.bind(start))
    return torch.stack([draw(made, generator(seed, "start")) for seed in seeds]).to(made.like.dtype)


def trained(
    made: Problem,
    optimizers: str | Sequence[str],
    starts: Tensor,
    at: Iterable[int],
    *,
    batch_size: int | None = None,
    order: str = "reshuffle",
    seeds: Sequence[int] | None = None,
) -> Course:
    """The course of training from each of the starts [lanes, D] to the last of the steps ``at``.

    Args:
        optimizers: one for each lane, or one for all.
        seeds: which minibatches each lane sees; 0, 1, 2, … unless given.
    """
    import torch

    from problems.names import parse
    from suite.lanes import lanes_of
    from suite.optimizers import optimizer

    wanted, count = sorted(set(at)), len(starts)
    texts = [optimizers] * count if isinstance(optimizers, str) else list(optimizers)
    specs = [parse(str(optimizer.bind(text))) for text in texts]
    size = made.batch_size if batch_size is None else batch_size
    lanes = lanes_of(made, specs, starts.clone(), list(seeds or range(count)), size, order)
    losses = torch.empty(wanted[-1], count, dtype=starts.dtype)
    points = {0: starts.clone()} if wanted[0] == 0 else {}
    for k in range(wanted[-1]):
        losses[k].copy_(lanes.step(k))
        if k + 1 in wanted:
            points[k + 1] = lanes.readout().clone()
    return Course(points, losses)


def measured(made: Problem, theta: Tensor, batch_size: int = 0) -> dict[str, list[float]]:
    """Every measure on every split, such as ``test_loss``, of each lane's θ [lanes, D]."""
    from suite.evaluate import evaluate

    return {measure: values.tolist() for measure, values in evaluate(made, theta, batch_size).items()}


def objective(made: Problem, theta: Tensor) -> Objective:
    """The loss over the whole training split at θ [D]."""
    from suite.curvature import Seen

    return Seen().objective(made, theta)


def over_examples(made: Problem, chosen: Tensor) -> Problem:
    """The problem with these rows of its training examples, in this order."""
    tensors = tuple(t[chosen] for t in made.train.tensors)
    return replace(made, train=replace(made.train, tensors=tensors, fresh=None, difficulty=None))


def by_target(made: Problem) -> Tensor:
    """The training examples [n] in the order of their targets: those of one class one after the other."""
    target: Any = made.train.tensors[-1]
    return target.reshape(len(target), -1)[:, 0].argsort(stable=True)


def each_gradient(made: Problem, theta: Tensor) -> Tensor:
    """The gradient of every training example's own loss at θ [D]: [n, D]."""
    import torch

    def loss(theta: Tensor, *example: Tensor) -> Tensor:
        return made.loss(theta, tuple(t[None] for t in example))

    along = (None, *(0 for _ in made.train.tensors))
    return torch.vmap(torch.func.grad(loss), in_dims=along, chunk_size=256)(theta, *made.train.tensors)
