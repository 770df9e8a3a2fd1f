"""Critical points of a loss, saddles among them, and their index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.density import Interval
from analysis.objective import CurvatureError, Objective
from analysis.operators import Operator, hessian
from analysis.spectrum import Spectrum, spectrum

Vector = NDArray[np.float64]
PRODUCTS = 256  # of a step, at most
EXACT, LOOSE = 1e-7, 1e-3  # tolerance of a step's equation: relative to the gradient, once that is small
GAIN, LEAST = 1e-3, 1e-4  # by how much a step must lessen the gradient, and how much of one is tried at least
DENSE = 600  # parameters up to which every eigenvalue is computed


@dataclass(frozen=True)
class Critical:
    """Where the search for a critical point ended.

    Args:
        theta: [D]; ``loss`` and ``gradient`` ‖∇L‖ there.
        index: the share of negative eigenvalues of the Hessian, 0 at a minimum, 1 at a maximum; with an
            interval where it is an estimate. Eigenvalues that rounding could have made count as 0.
        converged: the gradient is below the tolerance. A search may end where Hg = 0 with g ≠ 0, which
            is no critical point (Frye et al. 2021).
        products: Hessian products that the search took.
    """

    theta: Tensor
    loss: float
    gradient: float
    index: Interval
    smallest: float
    largest: float
    converged: bool
    products: int

    @property
    def kind(self) -> str:
        """``minimum``, ``maximum`` or ``saddle``; ``degenerate`` where only zero and one sign remain; ``none``."""
        if not self.converged:
            return "none"
        if self.smallest < 0 < self.largest:
            return "saddle"
        if self.smallest > 0:
            return "minimum"
        return "maximum" if self.largest < 0 else "degenerate"


def critical_point(
    objective: Objective,
    *,
    tol: float | None = None,
    most: int = 100,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda said: None,
) -> Critical:
    """The critical point that minimizing ‖∇L‖ from the objective's point leads to, whatever its index.

    Newton's method with the steps of MINRES (Newton-MR): of H p = −g, which a saddle or a singular H leaves
    without trouble, the iterates after 1, 2, 4, … products are tried, and the one is taken that makes the
    gradient smallest. The early ones stay where H is large, so they do what a trust region is for. Unlike a
    descent of L it does not turn away from saddles.

    Args:
        tol: of ‖∇L‖, relative to the larger of 1 and its value at the start; 1e-8 in float64, else 1e-5.
        most: steps, each of at most 256 products.

    Raises:
        CurvatureError: the loss is not finite at the start.

    Source: Roosta, Liu, Xu & Mahoney 2018; Frye et al. 2019 found it to be the method that converges on nets.
    Dauphin et al. 2014 used Newton's method to the same end.
    """
    x = objective.theta.double().cpu().numpy()
    g = objective.gradient().double().cpu().numpy()
    if tol is None:
        tol = 1e-8 if objective.dtype == torch.float64 else 1e-5
    size = float(np.linalg.norm(g))
    wanted, products = tol * max(1.0, size), 0
    for step in range(most):
        if size <= wanted:
            break
        on_progress(f"step {step}, {products} products, gradient norm {size:.1e}")
        operator = hessian(objective.at(torch.as_tensor(x)))
        ways = _minres(operator, g, min(1.0, size))
        products += operator.products
        moved = _best(objective, x, ways, size)
        if moved is None:
            break
        x, g, size = moved
    end = objective.at(torch.as_tensor(x))
    seen = ends(end, seed)
    return Critical(
        end.theta, end.value(), size, index(seen), _snapped(seen, lowest=True), _snapped(seen, lowest=False),
        size <= wanted, products,
    )  # fmt: skip


def _minres(operator: Operator, g: Vector, scale: float) -> list[Vector]:
    """Iterates of MINRES on H p = −g: those after 1, 2, 4, … products, and the last."""
    from scipy.sparse.linalg import minres

    found: list[Vector] = []
    count = 0

    def keep(p: Vector) -> None:
        nonlocal count
        count += 1
        if count & (count - 1) == 0:
            found.append(p.copy())

    with np.errstate(all="ignore"):  # a flat Hessian is divided by
        last, _ = minres(operator.to_scipy(), -g, rtol=max(EXACT, LOOSE * scale), maxiter=PRODUCTS, callback=keep)
    return [p for p in (*found, last) if np.isfinite(p).all()]


def _best(objective: Objective, x: Vector, ways: list[Vector], size: float) -> tuple[Vector, Vector, float] | None:
    """Where the gradient is smallest among the ends of ways from x, or of shorter ones; None if nowhere smaller."""
    share = 1.0
    while share > LEAST:
        tried = [(x + share * p, _slope(objective, x + share * p)) for p in ways]
        sizes = [np.inf if g is None else float(np.linalg.norm(g)) for _, g in tried]
        if sizes and min(sizes) < (1 - GAIN * share) * size:
            place, g = tried[int(np.argmin(sizes))]
            assert g is not None
            return place, g, min(sizes)
        share /= 4
    return None


def _slope(objective: Objective, x: Vector) -> Vector | None:
    """∇L at a point; None where the loss overflows."""
    try:
        return objective.at(torch.as_tensor(x)).gradient().double().cpu().numpy()
    except CurvatureError:
        return None


def ends(objective: Objective, seed: int = 0) -> Spectrum:
    """The spectrum of the Hessian at a point, exact where it is small enough."""
    method = "dense" if objective.size <= DENSE else "auto"
    return spectrum(hessian(objective), top=1, bottom=1, density=True, method=method, seed=seed)


def index(found: Spectrum) -> Interval:
    """The share of negative eigenvalues of a spectrum with a density."""
    assert found.density is not None
    return found.density.negative


def _snapped(found: Spectrum, lowest: bool) -> float:
    """The smallest or largest eigenvalue; 0 where it is no more than rounding."""
    values = (found.bottom if lowest else found.top).values
    assert found.density is not None
    value = float(values[0])
    return 0.0 if abs(value) <= found.density.resolution else value
