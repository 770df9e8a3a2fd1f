"""Numbers from the gradient of a loss: its size by piece, the curvature along it, and its noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.kernels import per_example
from analysis.objective import CurvatureError, Objective, examples, gradients, joined
from analysis.operators import hessian

BLOCK = 32  # examples whose gradients are taken at once


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
    mean = torch.zeros(objective.size, dtype=torch.float64, device=objective.device)
    for block in _each(objective):
        mean += block.sum(0, dtype=torch.float64) / count
    spread = sum(float((block.double() - mean).square().sum()) for block in _each(objective))
    return Noise(spread / (count - 1), float(mean.square().sum()), count)


def minibatch_noise(
    objective: Objective, sizes: Sequence[int], repeats: int = 100, seed: int = 0
) -> list[tuple[int, float]]:
    """The root mean square error of minibatch gradients around the mean over all examples, measured.

    For each of ``sizes`` over so many minibatches drawn without repetition: what
    :meth:`Noise.of_minibatch` predicts from single examples.

    Raises:
        CurvatureError: a size that is not in 1 … n; as for :func:`noise`.
    """
    each = torch.cat(list(_each(objective))).double()
    mean, generator = each.mean(0), torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        if not 1 <= size <= len(each):
            raise CurvatureError(f"gradients: a minibatch must be of 1 to {len(each)} examples, got {size}")
        errors = [
            float((each[torch.randperm(len(each), generator=generator)[:size]].mean(0) - mean).square().sum())
            for _ in range(repeats)
        ]
        found.append((size, math.sqrt(sum(errors) / repeats)))
    return found


def _each(objective: Objective) -> Iterator[Tensor]:
    """Gradients of single examples, in blocks [b, D]; a penalty on θ is not part of them."""
    losses = per_example(objective)
    for chunk in objective.chunks:
        with objective.guarded():
            pieces = objective.leaves()
            leaves, values = list(pieces.values()), losses(pieces, chunk)
            for at in range(0, len(values), BLOCK):
                rows = [
                    joined(gradients(value, leaves, retain_graph=True), leaves) for value in values[at : at + BLOCK]
                ]
                yield torch.stack(rows)
