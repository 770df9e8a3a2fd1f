"""What initializers by learning are made of: training a small problem, and activations of a net's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from problems.names import Spec
from problems.problem import Batch, Pieces, Problem
from suite.initializers.base import NotApplicable
from suite.initializers.spending import charge, rehearsed

if TYPE_CHECKING:
    from torch import Generator, Tensor

CHUNK = 1000  # examples whose activations are computed at a time


def trained(problem: Problem, optimizer: Spec, theta: Tensor, steps: int, generator: Generator) -> Tensor:
    """θ after so many steps of an optimizer on a problem from θ [D], in the order of a seed that the generator gives.

    Steps and evaluations are charged; in a rehearsal none is taken.

    Raises:
        NotApplicable: training ended at parameters that are not finite.
    """
    import torch

    from suite.lanes import lanes_of

    seed = int(torch.randint(2**31, (1,), generator=generator))
    if rehearsed() or not steps:
        return theta
    size = min(problem.batch_size, len(problem.train))
    lanes = lanes_of(problem, [optimizer], theta.to(problem.like)[None], [seed], size, "reshuffle")
    for step in range(steps):
        lanes.step(step)
    charge(steps=steps, **lanes.calls()[0])
    if lanes.errors or not lanes.theta.isfinite().all():
        said = lanes.errors.get(0, "its parameters are not finite")
        raise NotApplicable(f"training {problem.name} with {optimizer.name} failed: {said}")
    return lanes.readout()[0].detach().cpu().float()


def layers_of(problem: Problem) -> tuple[str, ...]:
    """The hidden layers whose activations can be seen.

    Raises:
        NotApplicable: there are none.
    """
    if not problem.units:
        raise NotApplicable(f"{problem.name} has no hidden layers whose activations can be seen")
    return problem.units


class _Reached(Exception):
    def __init__(self, activations: Tensor) -> None:
        self.activations = activations


def activations(problem: Problem, pieces: Pieces, batch: Batch, layer: str) -> Tensor:
    """The activations [batch, …] of a hidden layer; nothing behind it is computed."""

    def bend(name: str, x: Tensor, nonlinearity: Callable[[Tensor], Tensor]) -> Tensor:
        bent = nonlinearity(x)
        if name == layer:
            raise _Reached(bent)
        return bent

    try:
        problem.outputs(pieces, batch, lambda name, x: x, bend)
    except _Reached as reached:
        return reached.activations
    raise NotApplicable(f"{problem.name} has no hidden layer {layer}")


def all_activations(problem: Problem, theta: Tensor, layer: str) -> Tensor:
    """The activations of a hidden layer on every training example, flattened [n, units]."""
    import torch

    pieces = problem.layout.split(theta.to(problem.like))
    with torch.no_grad():
        found = [
            activations(problem, pieces, tuple(t[i : i + CHUNK] for t in problem.train.tensors), layer).flatten(1)
            for i in range(0, len(problem.train), CHUNK)
        ]
    return torch.cat(found)


def start_of_pieces(problem: Problem, known: Pieces, generator: Generator) -> Tensor:
    """θ [D]: the known pieces as they are, further weights from U(−1/√m, 1/√m), further biases as filled."""
    from problems import starts

    drawn = problem.layout.split(starts.start(problem.layout, starts.lecun_uniform)(generator))
    return problem.layout.join({piece.name: known.get(piece.name, drawn[piece.name]) for piece in problem.layout})
