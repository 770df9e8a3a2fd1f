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
from analysis.operators import hessian
from analysis.spectrum import Spectrum, spectrum

Vector = NDArray[np.float64]
SMALL = 16  # parameters up to which the search forms the Hessian
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
    most: int = 200,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda said: None,
) -> Critical:
    """The critical point that minimizing ½‖∇L‖² from the objective's point leads to, whatever its index.

    By SciPy's ``least_squares``, a trust-region method, with the Hessian as the Jacobian of ∇L, known
    by its products. Unlike a descent of L it does not turn away from saddles.

    Args:
        tol: of ‖∇L‖, relative to the larger of 1 and its value at the start; 1e-8 in float64, else 1e-5.
        most: gradients.

    Raises:
        CurvatureError: the loss is not finite at the start.

    Source: Pennington & Bahri 2017; Dauphin et al. 2014 used Newton's method to the same end.
    """
    from scipy.optimize import least_squares

    products, last = 0, hessian(objective, method="retained")

    def there(x: Vector) -> Objective:
        return objective.at(torch.as_tensor(x))

    def slope(x: Vector) -> Vector:
        try:
            g = there(x).gradient().double().cpu().numpy()
        except CurvatureError:  # the loss overflows there: a step that the trust region will take back
            return np.full(len(x), 1e150)
        if np.linalg.norm(g) <= wanted:
            raise _Arrived(x)
        return g

    def jacobian(x: Vector) -> object:
        nonlocal last, products
        products += last.products
        on_progress(f"{products} products")
        last = hessian(there(x), method="retained")
        return last.dense().double().cpu().numpy() if exact else last.to_scipy()

    start = objective.theta.double().cpu().numpy()
    if tol is None:
        tol = 1e-8 if objective.dtype == torch.float64 else 1e-5
    wanted = tol * max(1.0, float(objective.gradient().double().norm()))
    exact = objective.size <= SMALL
    try:
        with np.errstate(all="ignore"):  # a flat Hessian is divided by, and dealt with after that
            place = least_squares(
            slope, start, jacobian, tr_solver="exact" if exact else "lsmr", max_nfev=most, xtol=1e-15, ftol=1e-15,
            gtol=None,
        ).x  # fmt: skip
    except _Arrived as arrived:
        place = arrived.place
    end = there(place)
    gradient = float(end.gradient().double().norm())
    seen = ends(end, seed)
    return Critical(
        end.theta, end.value(), gradient, index(seen), _snapped(seen, lowest=True), _snapped(seen, lowest=False),
        gradient <= wanted, products + last.products,
    )  # fmt: skip


class _Arrived(Exception):
    """The gradient is small enough: SciPy's own rules would go on to the last digit."""

    def __init__(self, place: Vector) -> None:
        self.place = place.copy()


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
