"""The layers of a problem that compute Wx + b: their inputs, and the slopes of the outputs in their sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from problems import layers
from problems.names import NotApplicable
from problems.problem import Batch, Pieces, Problem


class Affine(NamedTuple):
    """A linear layer or a convolution: the pieces of its weight [outputs, …] and of its bias, if any.

    A layer that runs several times, as in a recurrent net, is one each time.
    """

    weight: str
    bias: str | None


class Use(NamedTuple):
    """One product of a layer: its inputs as rows [examples · places, inputs], and its sums."""

    layer: Affine
    inputs: Tensor
    sums: Tensor


def observed(problem: Problem, pieces: Pieces, batch: Batch, probes: Sequence[Tensor] = ()) -> tuple[Tensor, list[Use]]:
    """The outputs of one θ, given by its pieces, and what its layers meet on the way.

    Args:
        probes: zeros that are added to the sums in the order of the uses: the derivatives of the outputs
            in them are those in the sums.
    """
    names = {id(tensor): name for name, tensor in pieces.items()}
    uses: list[Use] = []

    def heard(met: layers.Met) -> Tensor:
        weight = names.get(id(met.weight))
        if weight is None:
            return met.sums
        sums = met.sums + probes[len(uses)] if probes else met.sums
        uses.append(Use(Affine(weight, names.get(id(met.bias))), _rows(met), sums))
        return sums

    with layers.listening(heard):
        outputs = problem.outputs_of(pieces, batch)
    return outputs, uses


def _rows(met: layers.Met) -> Tensor:
    """The inputs of each product of a layer's weight as a row; for a convolution, each patch of the image."""
    if met.stride is None:
        return met.inputs
    side = met.weight.shape[-1]
    patches = torch.nn.functional.unfold(met.inputs, side, padding=met.padding, stride=met.stride)
    return patches.transpose(1, 2).reshape(-1, patches.shape[1])


def sum_rows(sums: Tensor) -> Tensor:
    """Sums [examples, outputs] or [examples, outputs, h, w], or their slopes, as rows in the order of the inputs'."""
    return sums if sums.dim() == 2 else sums.movedim(1, -1).reshape(-1, sums.shape[1])


@dataclass(frozen=True)
class Curved:
    """How a problem's criterion bends in its outputs […, examples, …, width].

    Args:
        layers: in the order of their uses; one that is used again is there again.
        diagonal: whether its Hessian couples no two outputs; it couples at most those of one row [width].
        places: rows of outputs of one example.
        axis: of the outputs, along which examples lie.
    """

    layers: tuple[Affine, ...]
    width: int
    places: int
    diagonal: bool
    axis: int = 0


def curved(problem: Problem) -> Curved:
    """The layers of a problem, and how its criterion bends.

    Raises:
        NotApplicable: a piece of θ belongs to no linear layer and no convolution, or the criterion couples
            outputs that lie apart.
    """
    if problem not in _KNOWN:
        _KNOWN[problem] = _looked_at(problem)
    return _KNOWN[problem]


def layers_of(problem: Problem) -> tuple[Affine, ...]:
    """The layers of a problem, each once."""
    return tuple(dict.fromkeys(curved(problem).layers))


_KNOWN: WeakKeyDictionary[Problem, Curved] = WeakKeyDictionary()


def _looked_at(problem: Problem) -> Curved:
    batch = _examples(problem, 2)
    theta = problem.like.new_zeros(problem.size)
    met, uses = observed(problem, problem.layout.split(theta), batch)
    known = {name for use in uses for name in use.layer if name}
    other = [piece.name for piece in problem.layout if piece.name not in known]
    if other:
        raise NotApplicable(
            f"{problem.name}: {other[0]} belongs to no linear layer or convolution, so its curvature has no "
            "Kronecker factors; use an optimizer that needs none (python -m suite list optimizers)"
        )
    more, _ = observed(problem, problem.layout.split(theta), _examples(problem, 3))
    axis = next(i for i, (few, many) in enumerate(zip(met.shape, more.shape, strict=True)) if few != many)
    width = met.shape[-1] if axis < met.dim() - 1 else 1
    count = torch.arange(met.numel(), dtype=torch.float64)  # numbers in no order, without a draw, which vmap forbids
    outputs, v = ((phase * count * count).sin().to(theta).view(met.shape) for phase in (0.7, 1.3))
    blocks = output_blocks(lambda out: problem.criterion(out, batch), outputs, width)
    expected = bent_by(lambda out: problem.criterion(out, batch), outputs, v)
    rows = (blocks @ v.reshape(-1, width, 1)).reshape(v.shape)
    if not torch.allclose(rows, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max())):
        raise NotApplicable(
            f"{problem.name}: its criterion couples outputs of different examples or places, so the curvature has no "
            "Kronecker factors"
        )
    beside = blocks - torch.diag_embed(blocks.diagonal(dim1=-2, dim2=-1))
    layers = tuple(use.layer for use in uses)
    return Curved(layers, width, met.select(axis, 0).numel() // width, not bool(beside.any()), axis)


def _examples(problem: Problem, count: int) -> Batch:
    """So many examples, the first ones again where there are fewer."""
    return tuple(t[torch.arange(count, device=t.device) % len(t)] for t in problem.train.tensors)


def bent_by(criterion: Callable[[Tensor], Tensor], outputs: Tensor, v: Tensor) -> Tensor:
    """The product of the Hessian of a criterion in its outputs with v, which has their shape."""
    at = outputs.detach().requires_grad_()
    with torch.enable_grad():
        losses = criterion(at)
        (slope,) = torch.autograd.grad(losses, at, torch.ones_like(losses), create_graph=True)
    return torch.autograd.grad(slope, at, v)[0] if slope.requires_grad else torch.zeros_like(at)


def output_blocks(criterion: Callable[[Tensor], Tensor], outputs: Tensor, width: int) -> Tensor:
    """The blocks [rows, width, width] of that Hessian, one for each row of outputs, if rows are not coupled."""
    at = outputs.detach().requires_grad_()
    with torch.enable_grad():
        losses = criterion(at)
        (slope,) = torch.autograd.grad(losses, at, torch.ones_like(losses), create_graph=True)
    if not slope.requires_grad:
        return outputs.new_zeros(outputs.numel() // width, width, width)
    columns = []
    for i in range(width):
        unit = torch.zeros_like(outputs).view(-1, width)
        unit[:, i] = 1.0
        (column,) = torch.autograd.grad(slope, at, unit.view(outputs.shape), retain_graph=True)
        columns.append(column.reshape(-1, width))
    return torch.stack(columns, dim=2)
