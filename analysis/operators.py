"""Curvature as symmetric linear operators: the Hessian, Gauss-Newton matrices, gradient covariances.

An :class:`Operator` multiplies vectors [D] or blocks [k, D] and counts its products. At one
point the forward pass and the gradient's graph are built once per chunk of data and serve
every product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.kernels import Kernel, Parts, gauss_newton_kernel, hessian_kernel, per_example
from analysis.objective import CurvatureError, Objective, examples, gradients, joined
from analysis.reductions import Batch

MEMORY = 2 << 30  # bytes of graphs that are kept
ASYMMETRY = 1e-3  # of the largest, beyond which an operator is not what it should be


def asymmetric(apart: float) -> CurvatureError:
    """What to say where entries that should be equal are so far apart, relative to the largest."""
    return CurvatureError(
        "curvature: the operator is not symmetric, or gives different products for the same vector "
        f"(they disagree by {apart:.1e} of the largest); turn dropout and the like off, and see whether "
        "torch.autograd.gradgradcheck accepts what the model is made of"
    )


class Operator:
    """A symmetric matrix [D, D] that is known by its products.

    Args:
        apply: vectors [k, D] -> products [k, D].
        dtype: of vectors and products.

    Raises:
        CurvatureError: half precision, in which Hessians come out lopsided and vectors hardly orthogonal.

    ``products`` counts vectors multiplied so far; ``notes`` say what a reader of results should know;
    ``lead`` is a vector [D] that holds much of the eigenvectors of the largest eigenvalues, if one is known.
    """

    def __init__(
        self,
        apply: Callable[[Tensor], Tensor],
        size: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        notes: tuple[str, ...] = (),
        lead: Tensor | None = None,
    ) -> None:
        if dtype not in (torch.float32, torch.float64):
            raise CurvatureError(
                f"curvature: products need float32 or float64, got {dtype}, which keeps too few digits for them; "
                "convert the model (module.float()) and the data"
            )
        self._apply = apply
        self.size, self.dtype, self.device = size, dtype, torch.device(device)
        self.notes = notes
        self.lead = lead
        self.products = 0

    def apply(self, vectors: Tensor) -> Tensor:
        """Products [k, D] with k vectors [k, D].

        Raises:
            CurvatureError: a product is not finite, as at a point where the loss is not twice
                differentiable.
        """
        self.products += len(vectors)
        out = self._apply(vectors)
        # a sum is one pass; it overflows only where the numbers are worth a look one by one
        if not torch.isfinite(out.sum()) and not torch.isfinite(out).all():
            raise CurvatureError(
                "curvature: a product is not finite; the loss is not twice differentiable at this point, "
                "or overflows there"
            )
        return out

    def __matmul__(self, other: Tensor) -> Tensor:
        """The product with a vector [D] or with the columns of a matrix [D, k]."""
        if other.shape[:1] != (self.size,) or other.dim() > 2:
            raise CurvatureError(f"curvature: a vector must have {self.size} numbers, got shape {tuple(other.shape)}")
        if other.dim() == 1:
            return self.apply(other.unsqueeze(0))[0]
        return self.apply(other.T.contiguous()).T

    def dense(self) -> Tensor:
        """The matrix [D, D], by D products in blocks, made symmetric.

        Raises:
            CurvatureError: it is not so but for rounding.
        """
        rows = torch.empty(self.size, self.size, dtype=self.dtype, device=self.device)
        for at in range(0, self.size, 32):
            block = torch.zeros(min(32, self.size - at), self.size, dtype=self.dtype, device=self.device)
            block[torch.arange(len(block)), at + torch.arange(len(block))] = 1
            rows[at : at + len(block)] = self.apply(block)
        apart, scale = float((rows - rows.T).abs().max()), float(rows.abs().max())
        if apart > ASYMMETRY * scale:
            raise asymmetric(apart / scale)
        return (rows + rows.T) / 2

    def to_scipy(self) -> Any:
        """This operator as a ``scipy.sparse.linalg.LinearOperator``."""
        from scipy.sparse.linalg import LinearOperator

        kind = torch.empty(0, dtype=self.dtype).numpy().dtype

        def matmat(x: Any) -> Any:
            rows = torch.as_tensor(np.ascontiguousarray(x.T, dtype=kind), device=self.device)
            return self.apply(rows).T.cpu().numpy()

        def matvec(x: Any) -> Any:
            return matmat(x.reshape(-1, 1))[:, 0]

        shape = (self.size, self.size)
        return LinearOperator(shape, matvec=matvec, rmatvec=matvec, matmat=matmat, rmatmat=matmat, dtype=kind)


def operator(matrix: Any) -> Operator:
    """An operator of what people have: an Operator, a symmetric tensor or array [D, D], a SciPy LinearOperator.

    Raises:
        CurvatureError: it is not square, or not symmetric.
    """
    if isinstance(matrix, Operator):
        return matrix
    if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise CurvatureError(f"curvature: a matrix must be square, got shape {tuple(matrix.shape)}")
    size = int(matrix.shape[0])
    if isinstance(matrix, np.ndarray):
        matrix = torch.from_numpy(np.ascontiguousarray(matrix))
    if isinstance(matrix, Tensor):
        if not torch.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-5 * float(matrix.abs().max())):
            raise CurvatureError("curvature: the matrix is not symmetric")
        found = matrix
        return Operator(lambda v: v @ found, size, found.dtype, found.device)

    def apply(vectors: Tensor) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(matrix.matmat(vectors.numpy().T).T)).to(vectors.dtype)

    single = matrix.dtype in (np.float32, np.float16)
    return Operator(apply, size, torch.float32 if single else torch.float64)


def hessian(objective: Objective, *, method: str = "auto", memory: int = MEMORY, expected: int = 100) -> Operator:
    """∇²L at the objective's point.

    Args:
        method: how products are computed: ``auto``, ``retained``, ``linearized`` or ``compiled``
            (see ``analysis.kernels``).
        memory: bytes of graphs to keep; what does not fit is built anew for every product.
        expected: how many products will be asked for, which decides whether building a
            quicker kernel pays.

    What is quicker is found by timing, so the last bits of float32 products may differ from run to run.
    """
    return _summed(objective, hessian_kernel(method, expected, len(objective.chunks)), memory)


def gauss_newton(objective: Objective, *, memory: int = MEMORY, expected: int = 100) -> Operator:
    """The generalized Gauss-Newton matrix JᵀHJ: J of the outputs by θ, H of the criterion by the outputs.

    Positive semidefinite for a convex criterion; for softmax cross-entropy it is the Fisher matrix. A
    penalty on θ is not part of it.
    """
    return _summed(objective, gauss_newton_kernel(expected, len(objective.chunks)), memory)


def gradient_covariance(objective: Objective, *, centered: bool = True, memory: int = MEMORY) -> Operator:
    """(1/n) Σᵢ gᵢgᵢᵀ − ḡḡᵀ over the examples' gradients gᵢ and their mean ḡ.

    Args:
        centered: without ḡḡᵀ it is the second moment, also called the empirical Fisher matrix.

    Of a loss that is a sum over examples they are those of its terms, so ∇L is n times their mean.
    Products go through the examples' losses
    (outputs sᵢ of a Gauss-Newton matrix with H = I/n), so no gᵢ is formed.
    """
    counts = [examples(chunk) for chunk in objective.chunks]
    losses = replace(
        objective,
        predict=per_example(objective),
        criterion=lambda s, _: 0.5 * s.square().mean(),
        weights=[count / sum(counts) for count in counts],
    )
    second = gauss_newton(losses, memory=memory)
    if not centered:
        return second
    mean = _mean_gradient(losses)
    moment = second._apply
    return Operator(
        lambda v: moment(v) - (v @ mean).unsqueeze(1) * mean, second.size, second.dtype, second.device, second.notes
    )


def _mean_gradient(losses: Objective) -> Tensor:
    return Objective(
        lambda pieces, chunk: losses.outputs_of(pieces, chunk).mean(),
        losses.pieces,
        losses.chunks,
        losses.weights,
        fixed=losses.fixed,
        guards=losses.guards,
    ).gradient()


def _summed(objective: Objective, build: Callable[[Objective, Batch], Kernel], memory: int) -> Operator:
    """Σ_c w_c × the kernel of chunk c."""
    chunks = list(objective.chunks)
    kept = _fitting(objective, memory) if len(chunks) > 1 else 1
    first = [build(objective, chunk) for chunk in chunks[:kept]]

    def kernel(i: int) -> Kernel:
        return first[i] if i < len(first) else build(objective, chunks[i])

    batched = [True]  # until a kernel says that it cannot take blocks

    def apply(vectors: Tensor) -> Tensor:
        out = vectors.new_empty(vectors.shape)
        into = list(objective.split(out).values())
        parts = list(objective.split(vectors.contiguous()).values())
        for i, weight in enumerate(objective.weights):
            found = kernel(i)
            if len(vectors) > 1 and batched[0]:
                try:
                    _put(into, found.many(parts), weight, fresh=i == 0)
                    continue
                except RuntimeError:  # vmap has no rule for something in the graph
                    batched[0] = False
            for k in range(len(vectors)):
                _put([t[k] for t in into], found.one([p[k] for p in parts]), weight, fresh=i == 0)
        return out

    notes = list(objective.notes)
    if kept < len(chunks):
        notes.append(f"{len(chunks) - kept} of {len(chunks)} chunks are built anew for every product (memory)")
    lead = _gradient(objective, first)
    return Operator(apply, objective.size, objective.dtype, objective.device, tuple(notes), lead)


def _gradient(objective: Objective, kernels: list[Kernel]) -> Tensor | None:
    """∇L over the chunks whose kernels came by it: it leans to the largest eigenvalues (Gur-Ari et al. 2018)."""
    total = None
    for weight, kernel in zip(objective.weights, kernels, strict=False):
        if kernel.gradient is not None:
            part = weight * joined(kernel.gradient, list(objective.pieces.values()))
            total = part if total is None else total + part
    return total


def _put(into: list[Tensor], parts: Parts, weight: float, fresh: bool) -> None:
    """Write weighted parts where nothing is yet (``fresh``), or add them."""
    for target, part in zip(into, parts, strict=True):
        if fresh:
            target.zero_() if part is None else torch.mul(part.detach(), weight, out=target)
        elif part is not None:
            target.add_(part.detach(), alpha=weight)


def _fitting(objective: Objective, memory: int) -> int:
    """How many chunks' graphs fit into so many bytes, by what autograd saves for the first one.

    The recording of a product needs about as much again.
    """
    own = {t.untyped_storage().data_ptr() for t in objective.pieces.values()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), objective.guarded():
        pieces = objective.leaves()
        gradients(objective.value_of(pieces, objective.chunks[0]), list(pieces.values()), create_graph=True)
    return min(len(objective.chunks), memory // max(1, 2 * sum(saved.values())))
