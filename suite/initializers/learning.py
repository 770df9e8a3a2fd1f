"""What initializers by learning are made of: training a small problem, and activations of a net's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from problems.layout import Layout, Piece
from problems.names import NotApplicable, Spec
from problems.problem import Batch, Data, Pieces, Problem
from suite.initializers.spending import charge, rehearsed

if TYPE_CHECKING:
    from torch import Generator, Tensor

Seen = Callable[[str, "Tensor"], "Tensor"]


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
        raise NotApplicable(f"training {problem.name} with {optimizer.name} failed: {said}; try a smaller rate")
    return lanes.readout()[0].detach().cpu().float()


def layers_of(problem: Problem) -> tuple[str, ...]:
    """The hidden layers whose activations can be seen.

    Raises:
        NotApplicable: there are none.
    """
    if not problem.units:
        raise NotApplicable(
            f"{problem.name} has no hidden layers to train before the whole; take a net that has, such as digits_mlp "
            "(a problem of your own names its layers in Problem.units)"
        )
    return problem.units


class _Reached(Exception):
    def __init__(self, activations: Tensor) -> None:
        self.activations = activations


def activations(problem: Problem, pieces: Pieces, batch: Batch, layer: str, seen: Seen = lambda name, y: y) -> Tensor:
    """The activations [batch, …] of a hidden layer; nothing behind it is computed.

    Args:
        seen: (name, activations) -> what goes on of every layer before it.
    """

    def bend(name: str, x: Tensor, nonlinearity: Callable[[Tensor], Tensor]) -> Tensor:
        bent = nonlinearity(x)
        if name == layer:
            raise _Reached(bent)
        return seen(name, bent)

    try:
        problem.outputs(pieces, batch, lambda name, x: x, bend)
    except _Reached as reached:
        return reached.activations
    raise NotApplicable(f"{problem.name} has no hidden layer {layer}; it has {', '.join(problem.units)}")


def few(problem: Problem) -> Batch:
    """Two training examples, for looking at shapes."""
    return tuple(t[:2] for t in problem.train.tensors)


def shape_of(problem: Problem, layer: str) -> tuple[int, ...]:
    """The shape of a layer's activations on one example."""
    import torch

    with torch.no_grad():
        return tuple(activations(problem, _zeros(problem), few(problem), layer).shape[1:])


def below(problem: Problem, layer: str) -> set[str]:
    """The names of the pieces of θ on which a layer's activations depend."""
    import torch

    pieces = {name: piece.clone().requires_grad_() for name, piece in _zeros(problem).items()}
    with torch.enable_grad():
        y = activations(problem, pieces, few(problem), layer)
        slopes = torch.autograd.grad(y.sum(), list(pieces.values()), allow_unused=True)
    return {name for name, slope in zip(pieces, slopes, strict=True) if slope is not None}


def _zeros(problem: Problem) -> Pieces:
    return problem.layout.split(problem.like.new_zeros(problem.size))


def part_of(
    problem: Problem,
    theta: Tensor,
    names: set[str],
    further: list[Piece],
    **fields: Any,
) -> Problem:
    """A problem of some of a net's pieces and further ones, on its examples; the net's others stay as they are in θ.

    Args:
        fields: of :class:`Problem`: ``name``, ``predict``, ``criterion``, ….
    """
    rest = {name: piece.to(problem.like) for name, piece in problem.layout.split(theta).items() if name not in names}
    layout = Layout((*(piece for piece in problem.layout if piece.name in names), *further))
    data = Data(problem.train.tensors)
    made = Problem(layout=layout, train=data, fixed={**problem.fixed, **rest}, batch_size=problem.batch_size, **fields)
    return made.to(problem.like.device, problem.like.dtype)  # what a course brings, too


def learn(part: Problem, optimizer: Spec, pieces: Pieces, steps: int, generator: Generator) -> None:
    """Train a part of a net from the net's pieces, and write what it learned into them."""
    learned = trained(part, optimizer, start_of_pieces(part, pieces, generator), steps, generator)
    for name, value in part.layout.split(learned).items():
        if name in pieces:
            pieces[name].copy_(value)


def start_of_pieces(problem: Problem, known: Pieces, generator: Generator) -> Tensor:
    """θ [D]: the known pieces as they are, further weights from U(−1/√m, 1/√m), further biases as filled."""
    from problems import starts

    drawn = problem.layout.split(starts.start(problem.layout, starts.lecun_uniform)(generator))
    return problem.layout.join({piece.name: known.get(piece.name, drawn[piece.name]) for piece in problem.layout})
