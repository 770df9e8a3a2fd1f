"""Spectra of symmetric operators: extreme eigenpairs at both ends and the density, from one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.density import PIN, Density, Measure, of_eigenvalues, quadrature
from analysis.lanczos import MEMORY, Eigenpairs, Krylov, Wanted, iterate, length
from analysis.objective import CurvatureError
from analysis.operators import Operator, operator

SMALL = 256  # up to this D the whole matrix is formed
DENSE = 4096  # the largest D for which it is, where that takes fewer products
QUADRATURE = 1e-3  # of the largest |eigenvalue|: nodes of a quadrature nearer to zero than this have no sign

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Spectrum:
    """What is known of the eigenvalues of an operator.

    Args:
        top: the largest, in descending order; ``bottom``: the smallest, ascending;
            ``magnitude``: the largest in magnitude, descending in that.
        density: None where it was not asked for.
        values: all D eigenvalues, ascending, where the matrix was small enough to be formed.
        products: how many vectors were multiplied.
        notes: what a reader should know: what did not converge, what was done otherwise than asked.
    """

    size: int
    top: Eigenpairs
    bottom: Eigenpairs
    magnitude: Eigenpairs
    density: Density | None
    values: NDArray[np.float64] | None
    products: int
    method: str
    notes: tuple[str, ...] = ()


def spectrum(
    matrix: Any,
    *,
    top: int = 10,
    bottom: int = 0,
    magnitude: int = 0,
    density: bool = False,
    probes: int = 10,
    steps: int = 100,
    tol: float = 1e-6,
    basis: int | None = None,
    most: int = 2000,
    memory: int = MEMORY,
    method: str = "auto",
    seed: int = 0,
    on_progress: OnProgress = lambda said: None,
) -> Spectrum:
    """Extreme eigenpairs and the density of a symmetric operator.

    A pair (λ, v) has converged when ‖Av − λv‖ ≤ tol × the largest |λ|; λ is then off by at most
    that, and by its square over the gap where it stands alone. In float32 a Hessian product is
    itself off by about 1e-7 of the largest |λ|: the small end is never better than that, whatever its
    own size.

    Args:
        matrix: an :class:`analysis.operators.Operator`, a symmetric tensor or array, or a SciPy
            ``LinearOperator``.
        top, bottom, magnitude: how many eigenpairs of which end. More than D are D.
        density: also the spectral density; its first probe is the run that finds the pairs.
        probes, steps: of the density; it takes about probes × steps products.
        basis: vectors held before the space is restarted; by default as many as ``memory`` (bytes)
            allows, up to 1000. Each counts twice, for its product is held too. Twice as many as there are pairs
            wanted and five are held in any case; a note says if that is more than ``memory``.
        most: products after which a search ends unfinished.
        method: ``lanczos``, ``dense`` (all D eigenvalues, by D products), or ``auto``: dense for D
            up to 256, or up to 4096 where the density would take as many products or a quarter of all is wanted.
        on_progress: told what is being done, now and then.

    Raises:
        CurvatureError: a product is not finite; the operator is not symmetric or not repeatable, or in half
            precision; a setting is out of range.

    Sources: Wu & Simon 2000, *Thick-restart Lanczos*; Parlett 1998, *The symmetric eigenvalue
    problem*, section 6.9 (twice is enough); for the density ``analysis.density``.
    """
    found = operator(matrix)
    wanted = Wanted(top, bottom, magnitude, tol)
    for name, value in (("probes", probes), ("steps", steps), ("most", most)):
        if value < 1:
            raise CurvatureError(f"curvature: {name} must be >= 1, got {value}")
    if method not in ("auto", "dense", "lanczos"):
        raise CurvatureError(f"curvature: method must be auto, dense or lanczos, got {method!r}")
    before = found.products
    small = found.size <= SMALL or (density and found.size <= min(DENSE, probes * steps))
    small |= found.size <= DENSE and 4 * max(top + bottom, magnitude) >= found.size
    if method == "dense" or (method == "auto" and small):
        made = _dense(found, wanted, density, on_progress)
    else:
        search = _Search(found, wanted, basis, most, memory, seed, on_progress)
        made = search.run(probes if density else 0, steps)
    notes = (*found.notes, *made.notes, *_unfinished(made, tol))
    if max(top, bottom, magnitude) > found.size:
        notes += (f"there are {found.size} eigenvalues, fewer than asked for",)
    return replace(made, products=found.products - before, notes=notes)


def _dense(matrix: Operator, wanted: Wanted, density: bool, on_progress: OnProgress) -> Spectrum:
    on_progress(f"forming the matrix of {matrix.size} rows")
    whole = matrix.dense().double().cpu()
    values, vectors = torch.linalg.eigh(whole)
    pairs = Eigenpairs(
        values.numpy(),
        vectors.T,
        (whole @ vectors - vectors * values).norm(dim=0).numpy(),
        np.ones(matrix.size, dtype=bool),
        float(values.abs().max()),
    )
    pairs = replace(pairs, converged=pairs.residuals <= wanted.tol * pairs.scale)
    resolution = _resolution(matrix, pairs.scale)
    spread = of_eigenvalues(pairs.values, resolution) if density else None
    return Spectrum(matrix.size, *_ends(pairs, wanted), spread, pairs.values, 0, "dense")


def _ends(pairs: Eigenpairs, wanted: Wanted) -> tuple[Eigenpairs, Eigenpairs, Eigenpairs]:
    """Largest, smallest and largest in magnitude of ascending pairs."""
    order = np.argsort(-np.abs(pairs.values), kind="stable")
    down = np.arange(len(pairs))[::-1]
    return pairs[down[: wanted.top]], pairs[: wanted.bottom], pairs[order[: wanted.magnitude]]


def _resolution(matrix: Operator, scale: float) -> float:
    return 10 * float(torch.finfo(matrix.dtype).eps) * scale


def _unfinished(made: Spectrum, tol: float) -> tuple[str, ...]:
    ends = (made.top, made.bottom, made.magnitude)
    worst = max(float(end.relative[~end.converged].max(initial=0.0)) for end in ends)
    if not worst:
        return ()
    return (
        f"not every pair reached {tol:g}: residuals up to {worst:.1e} of the largest |eigenvalue| "
        "(more products, or float64)",
    )


class _Search:
    """Lanczos for the wanted pairs, and for the density with what it found."""

    def __init__(
        self,
        matrix: Operator,
        wanted: Wanted,
        basis: int | None,
        most: int,
        memory: int,
        seed: int,
        on_progress: OnProgress,
    ) -> None:
        self.matrix, self.wanted, self.most, self.seed = matrix, wanted, most, seed
        self.capacity = _capacity(matrix, wanted.count, basis, memory)
        self.beyond = 0 if basis is not None else max(0, self.capacity * _width(matrix) - memory)  # bytes
        self.say = on_progress

    def run(self, probes: int, steps: int) -> Spectrum:
        """The pairs, and with ``probes`` > 0 the density."""
        matrix = self.matrix
        # a density needs a random start, for a mean over such is what it is; the smallest gain nothing by the lead
        lead = None if probes or self.wanted.bottom else matrix.lead
        space = Krylov(matrix, self.capacity, self.seed, lead=lead)
        kept = min(steps, space.capacity)
        pairs = iterate(space, self.wanted, self.most, kept if probes else 0, self._told)
        notes = []
        if self.beyond and (space.restarted or space.count == self.capacity):
            held = self.capacity * _width(matrix) / 2**30
            notes.append(f"{self.capacity} vectors and their products took {held:.2g} GiB; fewer pairs take less")
        if probes and kept < min(steps, space.free):
            notes.append(f"the density took {kept} steps a probe, not {steps}: memory holds no more vectors")
        if space.mismatch > self.wanted.tol * space.scale:
            notes.append(f"products are symmetric only to {space.mismatch / space.scale:.0e} of the largest")
        density = self._density(space, probes, kept) if probes else None
        return Spectrum(matrix.size, *_ends(pairs, self.wanted), density, None, 0, "lanczos", tuple(notes))

    def _told(self, products: int, converged: int, wanted: int) -> None:
        self.say(f"{products} products, {converged} of {wanted} pairs")

    def _density(self, space: Krylov, probes: int, steps: int) -> Density:
        """Probe one is the run itself, unless it was restarted; further ones start outside of what it found."""
        ritz, _, _ = space.ritz()
        scale = float(np.abs(ritz).max())
        pin = PIN * (ritz[-1] - ritz[0])
        if space.exhausted:
            return of_eigenvalues(ritz, _resolution(self.matrix, scale))
        measures: list[Measure] = []
        if not space.restarted:
            measures.append(quadrature(space, np.zeros(0), pin))
        known, vectors = _known(space, pin)
        del space
        for probe in range(len(measures), probes):
            self.say(f"density: probe {probe + 1} of {probes}")
            other = Krylov(self.matrix, steps, self.seed + 7919 * (probe + 1), vectors if len(vectors) else None, scale)
            while other.count < other.capacity:
                other.extend()
            measures.append(quadrature(other, known, pin))
        return Density(measures, self.matrix.size, QUADRATURE * scale)


def _known(space: Krylov, pin: float) -> tuple[NDArray[np.float64], torch.Tensor]:
    """Ritz values whose true residuals are within ``pin``, and their vectors."""
    ritz, y, estimates = space.ritz()
    found = np.flatnonzero(estimates <= pin)
    x, ax = space.vectors(y[:, found])
    true = [length(a.double() - t * v.double()) <= pin for a, v, t in zip(ax, x, ritz[found], strict=True)]
    return ritz[found][true], x[torch.tensor(true, dtype=torch.bool, device=x.device)]


def _capacity(matrix: Operator, wanted: int, basis: int | None, memory: int) -> int:
    """How many basis vectors to hold: as asked, or as many as memory allows, up to 1000."""
    least = wanted + 5
    if basis is not None and basis < least:
        raise CurvatureError(f"curvature: basis must be at least {least}, five more than the pairs wanted, got {basis}")
    return basis if basis is not None else max(2 * least, min(1000, memory // _width(matrix)))


def _width(matrix: Operator) -> int:
    """Bytes of a vector and its product."""
    return 2 * matrix.size * matrix.dtype.itemsize
