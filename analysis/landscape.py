"""Loss surfaces seen along lines and planes: slices, interpolation, and the plane of a trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.objective import CurvatureError, Objective

Array = NDArray[np.float64]
OnProgress = Callable[[int, int], None]  # points done, of how many


@dataclass(frozen=True)
class Line:
    """L(θ₀ + t(θ₁ − θ₀)) at ``places`` t; NaN and infinity where the loss is so."""

    places: Array
    losses: Array

    @property
    def rise(self) -> float:
        """The most that the loss climbs above a lower value that came before; NaN if it is not finite everywhere."""
        if not np.isfinite(self.losses).all():
            return math.nan
        return float((self.losses - np.minimum.accumulate(self.losses)).max())

    def monotone(self, tol: float = 1e-3) -> bool:
        """Whether the loss never climbs by more than ``tol`` of its range (Goodfellow, Vinyals & Saxe 2015).

        They found it to fall all along the line from start to end of many trainings, which does not say
        that training went that way.
        """
        return bool(self.rise <= tol * (self.losses.max() - self.losses.min()))

    @property
    def barrier(self) -> float:
        """The most by which the loss exceeds the straight line between its first and last value, at least 0.

        NaN if it is not finite everywhere. Two minima without a barrier are linearly connected (Frankle et
        al. 2020).
        """
        if not np.isfinite(self.losses).all():
            return math.nan
        share = (self.places - self.places[0]) / (self.places[-1] - self.places[0])
        return float(max(0.0, (self.losses - (1 - share) * self.losses[0] - share * self.losses[-1]).max()))


@dataclass(frozen=True)
class Plane:
    """L(θ + xu + yv) as ``losses`` [len(y), len(x)]; NaN and infinity where the loss is so."""

    x: Array
    y: Array
    losses: Array


@dataclass(frozen=True)
class Directions:
    """The principal directions of a trajectory.

    Args:
        vectors: orthonormal [k, D].
        shares: of the variance of the points along each [k].
        coordinates: of the points along them, from the last one on [T, k].
    """

    vectors: Tensor
    shares: Array
    coordinates: Array


def losses(objective: Objective, points: Iterable[Tensor]) -> list[float]:
    """L at points [D], as it is: NaN and infinity are values here."""
    found = []
    for point in points:
        there = objective.at(point)
        with there.guarded(), torch.no_grad():
            values = [float(there.loss_of(there.pieces, chunk)) for chunk in there.chunks]
        found.append(sum(w * v for w, v in zip(there.weights, values, strict=True)))
    return found


def interpolation(
    objective: Objective,
    start: Tensor,
    end: Tensor,
    places: Sequence[float] | Array | None = None,
    on_progress: OnProgress = lambda done, of: None,
) -> Line:
    """The loss along the line through two points [D], at 0 the first, at 1 the second.

    Args:
        places: t; 51 from 0 to 1.

    Source: Goodfellow, Vinyals & Saxe 2015.
    """
    _check(objective, start=start, end=end)
    at = _places(np.linspace(0, 1, 51) if places is None else places)
    found = [
        _told(i, len(at), on_progress, losses(objective, [torch.lerp(start, end, float(t))])) for i, t in enumerate(at)
    ]
    return Line(at, np.array(found))


def slice_along(
    objective: Objective,
    direction: Tensor,
    places: Sequence[float] | Array,
    on_progress: OnProgress = lambda done, of: None,
) -> Line:
    """L(θ + td) through the objective's point along a direction d [D]."""
    return interpolation(objective, objective.theta, objective.theta + direction, places, on_progress)


def plane(
    objective: Objective,
    u: Tensor,
    v: Tensor,
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    on_progress: OnProgress = lambda done, of: None,
) -> Plane:
    """L(θ + xu + yv) over a grid, θ the objective's point, u and v directions [D]."""
    _check(objective, u=u, v=v)
    xs, ys, theta = _places(x), _places(y), objective.theta
    count = len(xs) * len(ys)
    grid = [(float(a), float(b)) for b in ys for a in xs]
    found = [_told(i, count, on_progress, losses(objective, [theta + a * u + b * v])) for i, (a, b) in enumerate(grid)]
    return Plane(xs, ys, np.array(found).reshape(len(ys), len(xs)))


def filter_normalized(objective: Objective, seed: int = 0) -> Tensor:
    """A random direction d [D] with the scale of the point's own filters: ‖d_f‖ = ‖θ_f‖ for each filter f.

    A filter is what makes one unit: a row of a matrix, a kernel of a convolution. Pieces of one axis,
    biases for example, are left where they are. So that d means the same to nets that differ in the
    scale of their layers, which rectified ones may do without computing anything else. Where no piece
    has more than one axis, all of θ is one filter.

    Source: Li, Xu, Taylor, Studer & Goldstein 2018, section 4.
    """
    generator = torch.Generator().manual_seed(seed)
    pieces = objective.pieces
    plain = all(piece.dim() < 2 for piece in pieces.values())
    drawn = [torch.randn(piece.shape, generator=generator, dtype=torch.float64) for piece in pieces.values()]
    if plain:
        whole = torch.cat([d.reshape(-1) for d in drawn])
        size = objective.theta.double().norm().cpu()
        return (whole * (size if size > 0 else 1.0) / whole.norm()).to(objective.device, objective.dtype)
    parts = [_scaled(d, piece) for d, piece in zip(drawn, pieces.values(), strict=True)]
    return torch.cat(parts).to(objective.device, objective.dtype)


def _scaled(drawn: Tensor, piece: Tensor) -> Tensor:
    if piece.dim() < 2:
        return torch.zeros(piece.numel(), dtype=torch.float64)
    rows, like = drawn.flatten(1), piece.detach().double().cpu().flatten(1)
    return (rows * (like.norm(dim=1) / rows.norm(dim=1)).unsqueeze(1)).reshape(-1)


def principal_directions(points: Sequence[Tensor] | Tensor, count: int = 2) -> Directions:
    """The directions of largest variance of points [T, D] that training went through.

    Raises:
        CurvatureError: the points do not span so many dimensions.

    Source: Li et al. 2018, section 7; a random plane shows nothing of a trajectory, for in many
    dimensions it is nearly orthogonal to any.
    """
    stack = torch.stack(list(points)).double().cpu()
    centred = stack - stack.mean(0)
    _, sizes, vectors = torch.linalg.svd(centred, full_matrices=False)
    rank = int((sizes > 1e-10 * sizes[0]).sum()) if len(sizes) and sizes[0] > 0 else 0
    if rank < count:
        raise CurvatureError(
            f"landscape: {len(stack)} points span {rank} dimensions, fewer than the {count} asked for; take more steps"
        )
    vectors = vectors[:count]
    shares = (sizes.square() / sizes.square().sum())[:count]
    return Directions(vectors, shares.numpy(), ((stack - stack[-1]) @ vectors.T).numpy())


def _told(done: int, of: int, on_progress: OnProgress, found: list[float]) -> float:
    on_progress(done + 1, of)
    return found[0]


def _places(values: Sequence[float] | Array) -> Array:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2 or not (np.diff(found) > 0).all():
        raise CurvatureError("landscape: places must be at least two numbers in ascending order")
    return found


def _check(objective: Objective, **vectors: Any) -> None:
    for name, vector in vectors.items():
        if tuple(vector.shape) != (objective.size,):
            raise CurvatureError(f"landscape: {name} must have {objective.size} numbers, got {tuple(vector.shape)}")
        if not torch.isfinite(vector).all():
            raise CurvatureError(f"landscape: {name} is not finite")
