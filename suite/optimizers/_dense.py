"""Systems of equations with a dense symmetric matrix that may be singular or indefinite, one lane at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from suite.optimizers._occasional import when
from suite.optimizers.base import dot

FLAT = 1e-14  # share of the largest |λ| or |f(λ)| below which one counts as 0, or
ROUNDED = 10  # times the precision of the numbers, if that is more
GUESSES = 5  # of the norm of an inverse
SMALL = 64  # rows up to which eigenvalues cost no more than to see whether they are needed
Change = Callable[[Tensor, Tensor | float], Tensor]  # (eigenvalues, α) -> f(eigenvalues)


def solved(matrix: Tensor, g: Tensor, alpha: Tensor | float, change: Change | None = None) -> Tensor:
    """x [D] with f(H) x = g, where f(H) = Q f(Λ) Qᵀ for the symmetric H = QΛQᵀ [D, D].

    Directions with f(λ) = 0 are left alone, as by the pseudo-inverse. Where an entry of H is not finite, I takes its
    place.

    Args:
        change: f, of the eigenvalues and α; without it f(Λ) = Λ + αI, for which factors will do (D³/3 products
            against 9D³ for eigenvalues) unless H + αI is nearly singular.
    """
    finite, alpha = matrix.isfinite().all(), alpha + g.new_zeros(())
    if len(g) <= SMALL:
        unit = torch.eye(len(g), dtype=g.dtype, device=g.device)
        return _by_eigenvalues(torch.where(finite, matrix, unit), g, alpha, change)[0]
    one = torch.ones_like(g)
    plain = g / (one + alpha if change is None else change(one, alpha))
    return when(finite, partial(_of_lane, change), [plain], matrix, g, alpha)[0]


def _of_lane(change: Change | None, matrix: Tensor, g: Tensor, alpha: Tensor) -> tuple[Tensor]:
    live = (matrix != 0).any(dim=1)  # a row of zeros is an eigenvector by itself, with eigenvalue 0
    rest, right, alpha = matrix[live][:, live], g[live], alpha.to(g.dtype)
    x = torch.empty_like(g)
    found = None
    if change is None and len(rest) and (alpha != 0 or len(rest) == len(g)):
        found, x[~live] = _by_factors(rest, alpha, right), g[~live] / alpha
    if found is None:
        found, inverse = _by_eigenvalues(rest, right, alpha, change, zeros=len(g) - len(rest))
        x[~live] = inverse * g[~live]
    x[live] = found
    return (x,)


def _by_eigenvalues(
    matrix: Tensor, g: Tensor, alpha: Tensor, change: Change | None, zeros: int = 0
) -> tuple[Tensor, Tensor]:
    """The solution, and the inverses of so many f(0) beside it."""
    values, vectors = eigen(matrix / 2 + matrix.mT / 2)
    values = torch.cat([values, values.new_zeros(zeros)])
    size = values.abs().max()
    values = values + alpha if change is None else change(values, alpha)
    flat = values.abs() <= flatness(g.dtype) * size.maximum(values.abs().max())
    inverse = (1 / values).where(~flat, 0.0)
    return dot(vectors, inverse[: len(g)] * dot(vectors.mT, g)), inverse[len(g) :]


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [n] and eigenvectors [n, n] of a symmetric matrix, as ``torch.linalg.eigh`` gives them.

    LAPACK's iteration fails to converge on some matrices whose entries are of very different sizes, as nets have that
    are sure of an example, or are far off; in single precision more often. So entries below ε² of the largest, ε the
    type's precision, count as 0, and what fails in float32, or gives what is no number, is done in float64, as small
    matrices are at once.
    """
    sizes = matrix.abs()
    largest = sizes.max() if len(matrix) else 0.0
    matrix = matrix.where(sizes >= torch.finfo(matrix.dtype).eps ** 2 * largest, 0.0)
    if len(matrix) > SMALL:
        with suppress(RuntimeError):  # which torch.linalg.LinAlgError is
            values, vectors = torch.linalg.eigh(matrix)
            if values.isfinite().all() and vectors.isfinite().all():
                return values, vectors
    values, vectors = torch.linalg.eigh(matrix.double())
    return values.to(matrix.dtype), vectors.to(matrix.dtype)


def flatness(dtype: torch.dtype) -> float:
    """The share of the largest |eigenvalue| up to which one is but rounding."""
    return max(FLAT, ROUNDED * torch.finfo(dtype).eps)


def _by_factors(matrix: Tensor, alpha: Tensor, g: Tensor) -> Tensor | None:
    """The solution of (H + αI) x = g by LU factors; None where an eigenvalue may be too small for it."""
    shifted = matrix + alpha * torch.eye(len(matrix), dtype=g.dtype, device=g.device)
    factors, pivots, failed = torch.linalg.lu_factor_ex(shifted)
    if failed:
        return None

    def inverse(v: Tensor) -> Tensor:
        return torch.linalg.lu_solve(factors, pivots, v[:, None])[:, 0]

    least = 1 / _largest(inverse, g)
    size = torch.linalg.matrix_norm(matrix, 1).maximum(torch.linalg.matrix_norm(shifted, 1))
    return inverse(g) if least > flatness(g.dtype) * size else None


def _largest(product: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """About the largest absolute column sum of a symmetric matrix, from a few products (Hager 1984)."""
    x = torch.full_like(like, 1 / len(like))
    found = like.new_zeros(())
    for _ in range(GUESSES):
        y = product(x)
        found = found.maximum(y.abs().sum())
        z = product(y.sign() + (y == 0))
        if not z.abs().max() > (z * x).sum():  # a number that is none ends it, too
            break
        x = torch.zeros_like(x)
        x[z.abs().argmax()] = 1.0
    return found
