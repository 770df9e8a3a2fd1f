"""Extreme eigenpairs of a symmetric operator by thick-restart Lanczos with full reorthogonalization.

The basis V is kept together with the products W = AV. So the projected matrix VAVᵀ is measured
and not only inferred from the recurrence, the residual of a Ritz pair is that of the true
operator without another product, and an operator that is not symmetric or not repeatable
shows at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.objective import CurvatureError
from analysis.operators import ASYMMETRY, Operator, asymmetric

MEMORY = 1 << 30  # bytes of basis vectors and products
BLOCK = 4096  # numbers summed in the operator's own precision
CHECK = 0.05  # share of the products that looks for copies of repeated eigenvalues

Vector = NDArray[np.float64]
OnProgress = Callable[[int, int, int], None]  # products so far, pairs converged, pairs wanted


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues [k] with what is known of each.

    Args:
        vectors: [k, D], of length 1.
        residuals: [k], ‖Av − λv‖ by products with the operator itself.
        converged: [k], whether the residual met the tolerance.
        scale: the largest |eigenvalue| seen; ``residuals / scale`` is what tolerances are about.
    """

    values: Vector
    vectors: Tensor
    residuals: Vector
    converged: NDArray[np.bool_]
    scale: float

    @property
    def relative(self) -> Vector:
        """Residuals relative to the largest |eigenvalue|; 0 for a zero operator."""
        return self.residuals / self.scale if self.scale else self.residuals

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Eigenpairs:
        """Some of the pairs: an index array or a slice."""
        picked = np.arange(len(self))[index]
        vectors = self.vectors[torch.as_tensor(picked, device=self.vectors.device)]
        return Eigenpairs(self.values[picked], vectors, self.residuals[picked], self.converged[picked], self.scale)


class Krylov:
    """An orthonormal basis V [m, D] of a Krylov space with its products W, grown one by one.

    Args:
        capacity: the most vectors that it holds.
        against: [c, D], orthonormal vectors that the space stays orthogonal to.
        scale: a lower bound of ‖A‖, where one is known.
        lead: a vector [D] rich in what is wanted: half of the first vector, the rest of which is random.
    """

    def __init__(
        self,
        operator: Operator,
        capacity: int,
        seed: int = 0,
        against: Tensor | None = None,
        scale: float = 0.0,
        lead: Tensor | None = None,
    ) -> None:
        self.operator = operator
        self.generator = torch.Generator().manual_seed(seed)
        self.against = against
        self.free = operator.size - (0 if against is None else len(against))
        self.capacity = min(capacity, self.free)
        self.v = torch.empty(self.capacity + 1, operator.size, dtype=operator.dtype, device=operator.device)
        self.w = torch.empty(self.capacity, operator.size, dtype=operator.dtype, device=operator.device)
        self.h = np.zeros((self.capacity, self.capacity))
        self.outward = np.zeros(self.capacity)  # how strongly A couples each basis vector to the next direction
        self.chain: tuple[Vector, float] | None = None  # VAVᵀ and the coupling outward when the first chain ended
        self.renewed = False  # whether a direction was given up for a random one
        self.count = 0
        self.scale = scale  # the longest product so far, a lower bound of ‖A‖
        self.mismatch = 0.0  # how far VAVᵀ is from symmetric, absolutely
        self.restarted = False
        self._known = np.zeros(0)  # the next column's entries above the diagonal, by the recurrence
        self._tiny = 100 * float(torch.finfo(operator.dtype).eps)
        self.start(None if lead is None else self._beside(lead))

    @property
    def exhausted(self) -> bool:
        """Whether the basis spans all there is."""
        return self.count == self.free

    def start(self, vector: Tensor | None = None) -> None:
        """Let the next vector be a given or a random one: the space so far may lack what it contains."""
        m = self.count
        if m and self.chain is None:
            self.chain = self.h[:m, :m].copy(), float(self.outward[m - 1])
        self.renewed = self.renewed or bool(self.outward.any())
        self.outward[:] = 0.0
        if self.exhausted:
            return
        vector = self._signs() if vector is None else vector
        while not self._orthogonal(vector):  # in few dimensions signs may well repeat, or lie within the space
            vector = torch.randn(len(vector), generator=self.generator).to(vector)
        self.v[m] = vector
        self._known = self._images(vector)

    def _orthogonal(self, vector: Tensor) -> bool:
        """Make a vector one of length 1 that is orthogonal to the space, in place; False where it lies within."""
        for _ in range(3):
            before = length(vector)
            vector -= self._projection(vector)[1]
            after = length(vector)
            if not after > 10 * self._tiny * before:
                return False
            vector /= after
        return True

    def _signs(self) -> Tensor:
        """A vector of random signs, which holds some of every eigenvector."""
        signs = torch.randint(0, 2, (self.operator.size,), generator=self.generator)
        return (2 * signs - 1).to(self.operator.device, self.operator.dtype)

    def _beside(self, lead: Tensor) -> Tensor:
        """Random signs with a given vector of the same length added, if it has a direction."""
        signs, size = self._signs(), length(lead)
        if 0 < size < math.inf:
            signs += lead * (math.sqrt(len(lead)) / size)
        return signs

    def extend(self) -> None:
        """One product, and the direction that it adds."""
        j = self.count
        product = self.operator.apply(self.v[j : j + 1])[0]
        self.w[j] = product
        rest = product.clone()
        column = np.zeros(j + 1)
        column[:j] = self._known
        for i in np.flatnonzero(self._known):
            rest.sub_(self.v[i], alpha=self._known[i])
        column[j] = float(inner(self.v[j : j + 1], product))
        rest.sub_(self.v[j], alpha=column[j])
        self.count += 1
        for _ in range(3):  # once, unless what it removes is more than rounding
            extra, shift = self._projection(rest)
            rest -= shift
            column += extra
            if np.linalg.norm(extra) <= 1e-2 * (beta := length(rest)):
                break
        # What earlier products said of this vector, not what this one says of earlier vectors: of pairs that
        # converged long ago, those hold the rounding of few products.
        self.h[:j, j] = self.h[j, :j] = self._known
        self.h[j, j] = column[j]
        self.scale = max(self.scale, math.hypot(float(np.linalg.norm(column)), beta))
        self._check(column[:j])
        self.outward[:] = 0.0
        if self.exhausted or beta <= self._tiny * self.scale:
            self.start()
            return
        self.outward[j] = beta
        torch.div(rest, beta, out=self.v[j + 1])
        self._known = self._images(self.v[j + 1]) if self.renewed else self.outward[: j + 1].copy()

    def _images(self, vector: Tensor) -> Vector:
        """⟨Avᵢ, z⟩ for the basis vectors vᵢ so far."""
        return inner(self.w[: self.count], vector).cpu().numpy()

    def _projection(self, vector: Tensor) -> tuple[Vector, Tensor]:
        """Coefficients of a vector in the basis, and its part in the basis and in ``against``."""
        basis = self.v[: self.count]
        inside = inner(basis, vector)
        shift = basis.T @ inside.to(vector.dtype)
        if self.against is not None:
            shift += self.against.T @ inner(self.against, vector).to(vector.dtype)
        return inside.cpu().numpy(), shift

    def _check(self, measured: Vector) -> None:
        """What the product with the new vector says of the old ones must be what theirs said of it."""
        if not len(measured):
            return
        self.mismatch = max(self.mismatch, float(np.abs(measured - self._known).max()))
        if self.mismatch > ASYMMETRY * self.scale:
            raise asymmetric(self.mismatch / self.scale)

    def ritz(self) -> tuple[Vector, Vector, Vector]:
        """Ritz values [m], ascending, their coordinates in the basis [m, m] in columns, and residuals [m].

        The residuals count the next direction alone, not those that were given up.
        """
        m = self.count
        values, y = eigh(self.h[:m, :m])
        return values, y, np.abs(self.outward[:m] @ y)

    def restart(self, y: Vector) -> None:
        """Go on with the Ritz vectors V y [m, p] alone, and the direction to be explored next."""
        m, p = y.shape
        self.restarted = True
        following = self.v[m].clone()
        gram = inner_products(self.v[:m], self.v[:m])  # the identity up to rounding, which would add up
        y = np.linalg.solve(np.linalg.cholesky(y.T @ gram @ y), y.T).T
        turn = torch.as_tensor(y.T, dtype=self.v.dtype, device=self.v.device)
        self.v[:p], self.w[:p] = turn @ self.v[:m], turn @ self.w[:m]
        self.h[:p, :p] = y.T @ self.h[:m, :m] @ y
        self.outward[:p] = self.outward[:m] @ y
        self.count = p
        self.v[p] = following
        self._known = self._images(following)

    def vectors(self, y: Vector) -> tuple[Tensor, Tensor]:
        """X = V y and AX, [k, D] each, for coordinates [m, k]."""
        turn = torch.as_tensor(y.T, dtype=self.v.dtype, device=self.v.device)
        return turn @ self.v[: self.count], turn @ self.w[: self.count]


@dataclass(frozen=True)
class Wanted:
    """Which pairs: so many of the largest, the smallest, the largest in magnitude; to ``tol`` × the largest |λ|."""

    top: int = 0
    bottom: int = 0
    magnitude: int = 0
    tol: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("top", "bottom", "magnitude"):
            if getattr(self, name) < 0:
                raise CurvatureError(f"curvature: {name} must be >= 0, got {getattr(self, name)}")
        if not self.tol > 0:
            raise CurvatureError(f"curvature: tol must be > 0, got {self.tol}")

    @property
    def count(self) -> int:
        return self.top + self.bottom + self.magnitude

    def among(self, values: Vector, extra: int = 0) -> NDArray[np.intp]:
        """Their indices among ascending Ritz values, with ``extra`` more at each end that is wanted."""
        m = len(values)
        top, bottom, magnitude = (n + extra * (n > 0) for n in (self.top, self.bottom, self.magnitude))
        ends = [np.arange(max(0, m - top), m), np.arange(min(bottom, m))]
        largest = np.argsort(-np.abs(values), kind="stable")[:magnitude]
        return np.unique(np.concatenate([*ends, largest]).astype(np.intp))


def iterate(
    space: Krylov,
    wanted: Wanted,
    most: int,
    least: int = 0,
    on_progress: OnProgress = lambda products, converged, wanted: None,
) -> Eigenpairs:
    """Grow the space until the wanted pairs (if any) have converged, then look for copies of repeated eigenvalues.

    A Krylov space holds one vector of each eigenspace, so once all is found a random direction
    is explored besides, for 5 % of the products so far and at least 3; and again where that turned
    up another pair, once it has converged.

    Args:
        most: products.
        least: products of the first chain before the search for copies, for a density.
    """
    due, settled, worst = None, np.zeros(0), math.inf  # products until the next decision; what the last one saw
    look = _Look()
    for used in range(1, (most if wanted.count else least) + 1):
        if space.count == space.capacity:
            _thick_restart(space, wanted)
        space.extend()
        if space.exhausted:
            break
        due = None if due is None else due - 1
        if (due is not None and due > 0) or used < max(least, look.next) or not 0 < wanted.count <= space.count:
            continue
        values, _, estimates = space.ritz()
        chosen, scale = wanted.among(values), float(np.abs(values).max())
        done = estimates[chosen] <= 0.8 * wanted.tol * scale  # the rest is for rounding and directions given up
        on_progress(used, int(done.sum()), len(chosen))
        if not done.all():
            due = None if due is None else 1
            look.after(used, space.count, float(estimates[chosen].max()) / (0.8 * wanted.tol * scale))
            continue
        if len(settled) != len(chosen) or np.abs(values[chosen] - settled).max() > 10 * wanted.tol * scale:
            settled = values[chosen]
            space.start()
        else:
            found, images = pairs(space, wanted)
            if found.converged.all() or found.residuals.max() > 0.9 * worst:
                return found
            at = int(found.residuals.argmax())
            worst = found.residuals[at]
            space.start(images[at] - found.values[at] * found.vectors[at])
        due = max(3, math.ceil(CHECK * used))
    return pairs(space, wanted)[0]


@dataclass
class _Look:
    """When to look for convergence next: a look at a large space costs as a product, and so does a look too late."""

    next: int = 0
    used: int = 0
    far: float = math.inf

    def after(self, used: int, count: int, far: float) -> None:
        """A look after ``used`` products, in a space of ``count`` vectors, saw residuals ``far`` times too large."""
        pause = max(1, count // 16) if count > 40 else 1
        if 1 < far < self.far < math.inf:
            left = math.log(far) * (used - self.used) / math.log(self.far / far)
            pause = max(1, min(pause, int(left / 2)))  # half the way, at the pace since the last look
        self.next, self.used, self.far = used + pause, used, far


def _thick_restart(space: Krylov, wanted: Wanted) -> None:
    """Keep the wanted Ritz vectors and those next to them, up to half of what the basis has to spare."""
    values, y, _ = space.ritz()
    ends = (wanted.top > 0) + (wanted.bottom > 0) + (wanted.magnitude > 0)
    spare = (space.capacity - len(wanted.among(values))) // 2
    space.restart(y[:, wanted.among(values, spare // max(1, ends))])


def pairs(space: Krylov, wanted: Wanted) -> tuple[Eigenpairs, Tensor]:
    """The wanted Ritz pairs, ascending, and Av of each.

    Residuals are by the true products; the Rayleigh quotients are taken in float64.
    """
    ritz, y, _ = space.ritz()
    scale = float(np.abs(ritz).max(initial=0.0))
    x, ax = space.vectors(y[:, wanted.among(ritz)])
    inverse = np.linalg.inv(np.linalg.cholesky(inner_products(x, x)))
    image = inverse @ inner_products(x, ax) @ inverse.T
    values, turn = eigh(image)
    mix = torch.as_tensor(turn.T @ inverse, dtype=x.dtype, device=x.device)
    x, ax = mix @ x, mix @ ax
    apart = torch.addcmul(ax, x, torch.as_tensor(values, dtype=x.dtype, device=x.device)[:, None], value=-1)
    residuals = torch.linalg.vector_norm(apart, dim=1, dtype=torch.float64).cpu().numpy()
    return Eigenpairs(values, x, residuals, residuals <= wanted.tol * scale, scale), ax


def inner_products(a: Tensor, b: Tensor) -> Vector:
    """a bᵀ of rows [k, D], summed in float64 piece by piece."""
    total = np.zeros((len(a), len(b)))
    for at in range(0, a.shape[1], 1 << 16):
        total += (a[:, at : at + (1 << 16)].double() @ b[:, at : at + (1 << 16)].double().T).cpu().numpy()
    return total


def eigh(matrix: Vector) -> tuple[Vector, Vector]:
    """Eigenvalues, ascending, and eigenvectors of a small matrix, on as many threads as torch may use."""
    values, vectors = torch.linalg.eigh(torch.from_numpy((matrix + matrix.T) / 2))
    return values.numpy(), vectors.numpy()


def inner(rows: Tensor, vector: Tensor) -> Tensor:
    """Products [m] of rows [m, D] with a vector, summed in float64 block by block.

    A float32 sum of a hundred thousand numbers is off by up to 1e-5 of the vectors' lengths, a
    hundred times more than a Hessian product is.
    """
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for at in range(0, len(vector), BLOCK):
        total += rows[:, at : at + BLOCK] @ vector[at : at + BLOCK]
    return total


def length(vector: Tensor) -> float:
    """‖v‖ summed in float64, since float32 sums of a hundred thousand squares lose three digits."""
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))
