"""Numbers from the gradient of a loss: its size by piece, the curvature along it, and its noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from analysis.lanczos import inner_products
from analysis.objective import CurvatureError, Objective, examples, gradients, joined
from analysis.operators import hessian
from analysis.reductions import Batch, lengths, part

BLOCK = 32  # examples whose gradients are taken at once, at most
NUMBERS = 1 << 22  # in these: gradients beyond the caches are had one by one as quickly
MEMORY = 8 << 30  # bytes of gradients that are held


@dataclass(frozen=True)
class Slope:
    """What a step of −εg changes, to second order (*Deep Learning*, equation 8.10): −εgᵀg + ½ε²gᵀHg."""

    gTg: float  # noqa: N815  # as it is written
    gTHg: float  # noqa: N815  # as it is written

    def change(self, rate: float) -> tuple[float, float]:
        """εgᵀg, by which the slope lowers the loss, and ½ε²gᵀHg, by which curvature raises it again."""
        return rate * self.gTg, rate**2 * self.gTHg / 2

    @property
    def best_rate(self) -> float:
        """gᵀg/gᵀHg, the step that lowers the loss most; infinite where it does not curve upwards along g.

        NaN where g is 0. Steps of twice that gain nothing.
        """
        if not self.gTg:
            return math.nan
        return self.gTg / self.gTHg if self.gTHg > 0 else math.inf


@dataclass(frozen=True)
class Noise:
    """The variance of the gradients gᵢ of n examples around their mean g.

    Args:
        variance: tr Σ = Σᵢ ‖gᵢ − g‖²/(n − 1).
        squared: ‖g‖².
    """

    variance: float
    squared: float
    examples: int

    def of_minibatch(self, size: int, population: int | None = None) -> float:
        """The root mean square error √(tr Σ/size) of the gradient of so many examples, the 1/√n law.

        Args:
            population: drawn from so many without repetition: times √(1 − size/population).
        """
        return math.sqrt(self.variance / size * (1 - size / population if population else 1.0))

    @property
    def scale(self) -> float:
        """tr Σ/‖∇L‖², the examples at which noise and gradient are equal (McCandlish et al. 2018).

        ‖∇L‖² is estimated as ‖g‖² − tr Σ/n; NaN where noise drowns it.
        """
        signal = self.squared - self.variance / self.examples
        return self.variance / signal if signal > 0 else math.nan


def norms(objective: Objective) -> dict[str, float]:
    """‖∂L/∂piece‖ of every piece of θ, and of all of them as ``""``: how gradient flows through the layers."""
    g = objective.gradient()
    parts = {name: float(part.double().norm()) for name, part in objective.split(g).items()}
    return {"": float(g.double().norm()), **parts}


def slope(objective: Objective) -> Slope:
    """gᵀg and gᵀHg at the objective's point, at the price of about three gradients."""
    g = objective.gradient()
    along = hessian(objective, expected=1) @ g
    return Slope(float((g.double() ** 2).sum()), float((g.double() * along.double()).sum()))


def cosine(a: Tensor, b: Tensor) -> float:
    """The cosine of the angle between two vectors [D]; NaN where one is 0."""
    a, b = a.double(), b.double()
    size = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / size)) if size else math.nan


def noise(objective: Objective) -> Noise:
    """The variance of the gradient over the objective's examples.

    Raises:
        CurvatureError: the loss was not given in two parts (predict and criterion), which single
            examples need, or there are fewer than two examples.
    """
    count = sum(examples(chunk) for chunk in objective.chunks)
    if count < 2:
        raise CurvatureError(f"gradients: a variance needs at least 2 examples, got {count}")
    shift, total, spread = None, torch.zeros(objective.size, dtype=torch.float64, device=objective.device), 0.0
    for block in _each(objective):
        shift = block.mean(0, dtype=torch.float64) if shift is None else shift  # so that little cancels below
        apart = torch.sub(block, shift)  # in float64
        total += apart.sum(0) if len(apart) > 1 else apart[0]
        spread += float(torch.linalg.vector_norm(apart)) ** 2
    assert shift is not None
    off = total / count
    return Noise((spread - count * float(off @ off)) / (count - 1), float((shift + off).square().sum()), count)


def minibatch_noise(
    objective: Objective, sizes: Sequence[int], repeats: int = 100, seed: int = 0, memory: int = MEMORY
) -> list[tuple[int, float]]:
    """The root mean square error of minibatch gradients around the mean over all examples, measured.

    For each of ``sizes`` over so many minibatches drawn without repetition: what
    :meth:`Noise.of_minibatch` predicts from single examples.

    Raises:
        CurvatureError: a size that is not in 1 … n; the examples' gradients take more than ``memory``; as
            for :func:`noise`.
    """
    count = sum(examples(chunk) for chunk in objective.chunks)
    need = count * objective.size * torch.finfo(objective.dtype).bits // 8
    if need > memory:
        raise CurvatureError(
            f"gradients: those of {count} examples take {need / 2**30:.1f} GiB, more than the {memory / 2**30:.1f} GiB "
            "of memory; take fewer examples, or noise(objective).of_minibatch(size), which predicts the same"
        )
    each = torch.cat(list(_each(objective)))
    each -= each.mean(0, dtype=torch.float64)
    gram, generator = inner_products(each, each), torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        if not 1 <= size <= count:
            raise CurvatureError(f"gradients: a minibatch must be of 1 to {count} examples, got {size}")
        errors = []
        for _ in range(repeats):
            drawn = torch.randperm(count, generator=generator).numpy()
            fewer = drawn[:size] if 2 * size <= count else drawn[size:]  # both sums are of one length
            errors.append(max(0.0, float(gram[fewer][:, fewer].sum())) / size**2)
        found.append((size, math.sqrt(sum(errors) / repeats)))
    return found


def _each(objective: Objective) -> Iterator[Tensor]:
    """Gradients of single examples, in blocks [b, D]; a penalty on θ is not part of them."""
    size = max(1, min(BLOCK, NUMBERS // objective.size))
    rows = _mapped if size > 1 else _one_by_one
    for chunk in objective.chunks:
        objective.check_divisible(partial(_loss, objective, objective.pieces), chunk)
        if len(lengths(chunk)) != 1:
            raise CurvatureError(f"gradients: every tensor of a batch needs as many examples, got {lengths(chunk)}")
        for at in range(0, examples(chunk), size):
            batch = part(chunk, at, at + size)
            with objective.guarded():
                try:
                    found = rows(objective, batch)
                except CurvatureError:
                    raise
                except Exception:  # vmap lacks a rule, or the model looks at values: each raises in its own way
                    rows = _one_by_one
                    found = rows(objective, batch)
            yield found


def _loss(objective: Objective, pieces: Any, batch: Batch) -> Tensor:
    return objective.criterion_of(objective.outputs_of(pieces, batch), batch)


def _mapped(objective: Objective, batch: Batch) -> Tensor:
    """The gradients of a batch's examples, by vmap."""
    leaves, form = tree_flatten(batch)
    along = [0 if isinstance(t, Tensor) and t.dim() else None for t in leaves]

    def loss(pieces: dict[str, Tensor], *example: Any) -> Tensor:
        alone = [t if d is None else t.unsqueeze(0) for t, d in zip(example, along, strict=True)]
        return _loss(objective, pieces, tree_unflatten(alone, form))

    pieces = {name: t.detach() for name, t in objective.pieces.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*batching rule.*")  # it would loop inside
        found = torch.vmap(torch.func.grad(loss), in_dims=(None, *along))(pieces, *leaves)
    return torch.cat([t.flatten(1) for t in found.values()], 1)


def _one_by_one(objective: Objective, batch: Batch) -> Tensor:
    """The same, each from its own graph."""
    pieces = objective.leaves()
    leaves = list(pieces.values())
    losses = (_loss(objective, pieces, part(batch, i, i + 1)) for i in range(examples(batch)))
    return torch.stack([joined(gradients(loss, leaves), leaves) for loss in losses])
