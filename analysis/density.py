"""The spectral density of a symmetric operator by stochastic Lanczos quadrature.

For a random z, m steps of Lanczos give nodes and weights with Σⱼ wⱼ f(θⱼ) ≈ zᵀf(A)z / zᵀz, whose
mean over z is tr f(A)/D (Golub & Welsch 1969; Ubaru, Chen & Saad 2017). A converged Ritz value is an
eigenvalue, so its weight is not left to chance: it is 1/D, and the other nodes share what remains.
A weight too large for a simple eigenvalue (zero, where many parameters are idle) stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.lanczos import Krylov, eigh

PIN = 1e-5  # a Ritz value with a residual below this share of the spectrum's range counts as an eigenvalue
SINGLE = 12.0  # D × weight of a simple eigenvalue is χ² with 1 degree of freedom: above this once in 2,000

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over probes with its interval (Student's t, 95 %); NaN where one probe supports none.

    It is that of chance, between probes. What all of them miss alike is not in it: of a share of eigenvalues the
    weight of a node, for a node counts on one side. With 100 steps that is little; with 30 the interval of the
    share of negative ones held 70 to 78 % on a normal spectrum.
    """

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        return Interval(self.value * factor, *sorted((self.low * factor, self.high * factor)))


@dataclass(frozen=True)
class Measure:
    """Nodes [m], ascending, with weights [m] that sum to 1; ``exact`` if they are all the eigenvalues."""

    nodes: Vector
    weights: Vector
    exact: bool = False


@dataclass(frozen=True)
class Density:
    """How D eigenvalues are distributed, as found by each probe.

    Args:
        measures: one a probe.
        size: D.
        resolution: eigenvalues below this in magnitude are not told from zero.
    """

    measures: Sequence[Measure]
    size: int
    resolution: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether the eigenvalues are all known."""
        return self.measures[0].exact

    def mean(self, function: Callable[[Vector], Any]) -> Interval:
        """tr f(A)/D."""
        each = np.array([float(np.sum(m.weights * function(m.nodes))) for m in self.measures])
        return _interval(each, self.exact)

    def moment(self, order: int) -> Interval:
        """tr Aᵏ/D."""
        return self.mean(lambda x: x**order)

    @property
    def trace(self) -> Interval:
        """tr A."""
        return self.moment(1).scaled(self.size)

    @property
    def frobenius(self) -> Interval:
        """tr A², the squared Frobenius norm."""
        return self.moment(2).scaled(self.size)

    @property
    def logdet(self) -> Interval | None:
        """log det A; None where A is not positive definite."""
        if self.smallest <= self.resolution:
            return None
        return self.mean(np.log).scaled(self.size)

    @property
    def negative(self) -> Interval:
        """The share of negative eigenvalues, those below −``resolution``: the index of a critical point."""
        found = self.mean(lambda x: x < -self.resolution)
        return Interval(found.value, max(found.low, 0.0), min(found.high, 1.0)) if found.low == found.low else found

    @property
    def effective_rank(self) -> float:
        """(Σ|λ|)²/Σλ²: D for equal eigenvalues, 1 for a single one; 0 for a zero operator."""
        total, squares = self.mean(np.abs).value, self.moment(2).value
        return self.size * total**2 / squares if squares else 0.0

    @property
    def condition(self) -> float | None:
        """λ_max/λ_min where positive definite, of the extreme nodes; else None."""
        return self.largest / self.smallest if self.smallest > self.resolution else None

    @property
    def smallest(self) -> float:
        """The smallest node."""
        return min(float(m.nodes[0]) for m in self.measures)

    @property
    def largest(self) -> float:
        """The largest node."""
        return max(float(m.nodes[-1]) for m in self.measures)

    def pooled(self) -> Measure:
        """All probes' nodes with their mean weights, ascending."""
        nodes = np.concatenate([m.nodes for m in self.measures])
        weights = np.concatenate([m.weights for m in self.measures]) / len(self.measures)
        order = np.argsort(nodes, kind="stable")
        return Measure(nodes[order], weights[order], self.exact)

    def cumulative(self, points: ArrayLike) -> tuple[Vector, Vector, Vector]:
        """The share of eigenvalues ≤ each point, and its interval."""
        points = np.asarray(points, dtype=float)
        each = np.stack([_share(m, points) for m in self.measures])
        spread = _half_width(each) if not self.exact else np.zeros(len(points))
        mean = each.mean(0)
        return mean, np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)

    def on_grid(self, points: int = 1000, width: float | None = None) -> tuple[Vector, Vector]:
        """A grid over the spectrum and the density there, every node a normal bump.

        Args:
            width: its standard deviation; 0.5 % of the range.
        """
        pooled = self.pooled()
        spread = self.largest - self.smallest or max(abs(self.largest), 1.0)
        width = width or 0.005 * spread
        grid = np.linspace(self.smallest - 4 * width, self.largest + 4 * width, points)
        bumps = np.exp(-0.5 * ((grid[:, None] - pooled.nodes) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        return grid, bumps @ pooled.weights


def _share(measure: Measure, points: Vector) -> Vector:
    total = np.concatenate([[0.0], np.cumsum(measure.weights)])
    return total[np.searchsorted(measure.nodes, points, side="right")]


def _interval(each: Vector, exact: bool) -> Interval:
    mean = float(each.mean())
    half = 0.0 if exact else float(_half_width(each[:, None])[0])
    return Interval(mean, mean - half, mean + half)


def _half_width(each: NDArray[np.float64]) -> Vector:
    from scipy.stats import t

    count = len(each)
    if count < 2:
        return np.full(each.shape[1], np.nan)
    return float(t.ppf(0.975, count - 1)) * each.std(0, ddof=1) / math.sqrt(count)


def of_eigenvalues(values: Vector, resolution: float = 0.0) -> Density:
    """The density of known eigenvalues."""
    ordered = np.sort(np.asarray(values, dtype=float))
    return Density([Measure(ordered, np.full(len(ordered), 1 / len(ordered)), True)], len(ordered), resolution)


def quadrature(space: Krylov, pinned: Vector, pin: float) -> Measure:
    """The measure that the first chain of a space gives, converged nodes and ``pinned`` at mass 1/D each.

    Args:
        pinned: eigenvalues of the directions that the space is orthogonal to.
        pin: residual up to which a node counts as converged.
    """
    m = space.count
    matrix, outward = space.chain or (space.h[:m, :m], float(space.outward[m - 1]))
    nodes, y = eigh(matrix)
    weights, size = y[0] ** 2, space.operator.size
    found = (np.abs(outward * y[-1]) <= pin) & (weights * space.free <= SINGLE)
    if found.all() and len(pinned) + len(nodes) < size:  # a few eigenvalues, each many times
        found = np.zeros_like(found)
    known = np.concatenate([pinned, nodes[found]])
    nodes, weights = nodes[~found], weights[~found]
    if len(weights):
        weights = weights / weights.sum() * (1 - len(known) / size)
    masses = np.concatenate([np.full(len(known), 1 / size), weights])
    nodes = np.concatenate([known, nodes])
    order = np.argsort(nodes, kind="stable")
    return Measure(nodes[order], masses[order])
