"""Kronecker factors of the generalized Gauss-Newton matrix, for all lanes: what K-FAC makes its steps of.

For a layer s = W̄ā, with ā its inputs and a 1 for the bias, the block of the matrix is the mean over
examples of āāᵀ ⊗ ggᵀ summed over the ways g in which the criterion bends in the sums. Its factors
are A = E[āāᵀ] and G = E[ggᵀ] (Martens & Grosse 2015); where a weight is used at T places of an example,
in a convolution or a recurrent net, A is the sum over the places and G the mean (Grosse & Martens 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from analysis.replay.recorder import Kernel, Untraceable
from analysis.replay.tape import Tape
from problems.affine import Affine, bent_by, curved, layers_of, observed, output_blocks, sum_rows
from problems.layers import linear
from problems.names import NotApplicable
from problems.problem import Batch, Pieces, Problem
from suite.chunks import chunks
from suite.lift import over_lanes
from suite.strategies.noise import normal

FAR = 2.0**32  # steps between the random directions of a chunk of examples and of the next
_GRAM = torch.vmap(lambda x: linear(x.mT, x.mT))  # XᵀX for each lane


def passes(problem: Problem, samples: int) -> int:
    """Backward passes that one estimate takes: one for each random direction, or one for each output."""
    bend = curved(problem)
    return samples or bend.width * bend.places


def sizes(problem: Problem, layer: Affine) -> tuple[int, int]:
    """The sizes of A and G."""
    weight = problem.layout.named(layer.weight)
    return weight.size // weight.shape[0] + (layer.bias is not None), weight.shape[0]


def bind(
    problem: Problem, batch: Batch, taped: bool, samples: int, theta: Tensor, key: Tensor, t: Tensor
) -> tuple[Kernel, list[Tensor]]:
    """An action that computes the factors, and where it leaves them: A and G of each layer.

    Args:
        samples: random directions, from each lane's ``key`` and step ``t`` [lanes]; 0 takes every output.
    """
    into = [theta.new_zeros(len(theta), n, n) for layer in layers_of(problem) for n in sizes(problem, layer)]
    parts = chunks(problem, batch)
    if parts is not None:
        own = t.clone()

        def one(some: Batch) -> tuple[Kernel, list[Tensor]]:
            return bind(problem, some, taped, samples, theta, key, own)

        return parts.bind(one, into, lambda i: torch.add(t, FAR * i, out=own)), into  # each draws directions of its own
    with torch.no_grad():
        _, uses = observed(problem, problem.layout.split(theta[0].detach()), tuple(t[0] for t in batch))
    if tuple(use.layer for use in uses) != curved(problem).layers:
        raise NotApplicable(
            f"{problem.name}: in training its layers multiply by other weights than θ's, so their curvature has no "
            "Kronecker factors; use an optimizer that needs none (python -m suite list optimizers)"
        )
    places = [use.sums.shape for use in uses]
    compute = partial(_factors, problem, batch, places, samples, theta, key, t)
    if taped:
        with suppress(Untraceable):
            return Tape(compute, [theta, key, t, *batch], into), into
    return partial(_fill, compute, into), into


def _fill(compute: Callable[[], list[Tensor]], into: list[Tensor]) -> None:
    for target, result in zip(into, compute(), strict=True):
        target.copy_(result)


def _factors(
    problem: Problem,
    batch: Batch,
    places: Sequence[torch.Size],
    samples: int,
    theta: Tensor,
    key: Tensor,
    t: Tensor,
) -> list[Tensor]:
    probes = [theta.new_zeros(len(theta), *place).requires_grad_() for place in places]

    def outputs_and_inputs(tree: tuple[Pieces, list[Tensor]], batch: Batch) -> tuple[Tensor, list[Tensor]]:
        outputs, uses = observed(problem, tree[0], batch, tree[1])
        return outputs, [use.inputs for use in uses]

    with torch.enable_grad():
        outputs, inputs = over_lanes(outputs_and_inputs, (problem.layout.split(theta.detach()), probes), batch)
    slopes = [
        torch.autograd.grad(outputs, probes, direction, retain_graph=True, allow_unused=True)
        for direction in _directions(problem, batch, outputs.detach(), samples, key, t)
    ]
    users = curved(problem).layers
    factors: list[Tensor] = []
    for layer in layers_of(problem):
        mine = [i for i, user in enumerate(users) if user == layer]
        rows = torch.cat([inputs[i].detach() for i in mine], dim=1)
        if layer.bias is not None:
            rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], dim=2)
        bent = torch.zeros((), dtype=theta.dtype, device=theta.device)
        for slope in slopes:
            met = [torch.zeros_like(probes[i]) if (s := slope[i]) is None else s for i in mine]
            bent = bent + _GRAM(torch.cat([torch.vmap(sum_rows)(s) for s in met], dim=1))
        examples = batch[0].shape[1]
        share = rows.shape[1] / examples * max(samples, 1)
        factors += [_GRAM(rows) / examples, bent / share]
    return factors


def _directions(
    problem: Problem, batch: Batch, outputs: Tensor, samples: int, key: Tensor, t: Tensor
) -> Iterator[Tensor]:
    """Vectors g in the outputs [lanes, …, examples, …] with Σ ggᵀ, or its mean, the criterion's Hessian in them."""
    bend = curved(problem)
    outputs = outputs.movedim(1 + bend.axis, 1).contiguous()
    lanes, examples = outputs.shape[:2]
    shape = (lanes, examples, bend.places, bend.width)

    def as_they_were(each: Tensor) -> Tensor:
        return each.movedim(1, 1 + bend.axis)

    def criterion(outputs: Tensor) -> Tensor:
        losses: Tensor = over_lanes(problem.criterion, as_they_were(outputs), batch)
        return losses

    if bend.diagonal:
        scale = bent_by(criterion, outputs, torch.ones_like(outputs)).clamp(min=0).sqrt().view(shape)
        root = None
    else:
        root = _root(output_blocks(criterion, outputs, bend.width)).view(*shape, bend.width)
    if samples:
        count = examples * bend.places * bend.width
        drawn = torch.vmap(lambda key, t: normal(key, t, samples * count))(key, t).to(outputs.dtype)
        for u in drawn.view(lanes, samples, *shape[1:]).unbind(1):
            along = scale * u if root is None else (root * u.unsqueeze(-2)).sum(-1)
            yield as_they_were(along.view(outputs.shape))
        return
    for place in range(bend.places):
        for i in range(bend.width):
            along = outputs.new_zeros(shape)
            if root is None:
                along[:, :, place, i] = scale[:, :, place, i]
            else:
                along[:, :, place] = root[:, :, place, :, i]
            yield as_they_were(along.view(outputs.shape))


def _root(blocks: Tensor) -> Tensor:
    """L with LLᵀ = H for positive semidefinite H [n, k, k], to rounding.

    Cholesky's algorithm for matrices that are singular, as a softmax's are: a pivot that rounding has made
    negative counts as 0, and no entry is larger than a semidefinite matrix can have, |hᵢⱼ|² ≤ hᵢᵢ hⱼⱼ. LAPACK's
    gives up at such a pivot, and with it an example that the net is sure of.
    """
    k = blocks.shape[-1]
    tiny = torch.finfo(blocks.dtype).tiny
    rest, columns = blocks, []
    for i in range(k):
        diagonal = rest.diagonal(dim1=-2, dim2=-1).clamp(min=0)
        pivot = diagonal[:, i : i + 1]
        bound = diagonal.sqrt()
        column = (rest[:, :, i] / pivot.clamp(min=tiny).sqrt()).minimum(bound).maximum(-bound)
        below = torch.arange(k, device=blocks.device) >= i
        column = torch.where(below & (pivot > 0), column, 0.0)
        columns.append(column)
        rest = rest - column.unsqueeze(-1) * column.unsqueeze(-2)
    return torch.stack(columns, -1)
