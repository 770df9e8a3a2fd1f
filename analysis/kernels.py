"""How the curvature of one chunk of data meets vectors.

A kernel is built once at a point and used for every product there. ``one`` takes the parts of
one vector, one a piece of θ; ``many`` those of k vectors, with k in front. What they return is
read before the next product.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from analysis.objective import CurvatureError, Objective, gradients
from analysis.recorded import Recorded, agree, operations
from analysis.reductions import Batch

Parts = Sequence[Tensor | None]  # None for zeros
WORTH = 1.0  # seconds to be won from which on another kernel is tried; building one takes about as long


class Kernel(Protocol):
    """Products with the curvature of one chunk; and its gradient, where that came along."""

    @property
    def gradient(self) -> Parts | None:
        """∇ℓ, None where it did not come along."""

    def one(self, parts: Sequence[Tensor]) -> Parts:
        """The product with one vector."""

    def many(self, parts: Sequence[Tensor]) -> Parts:
        """The products with k vectors."""


class Retained:
    """The gradient with its graph kept: a product is one more pass back through both.

    Hv = ∂/∂θ ⟨∇ℓ(θ), v⟩ (Pearlmutter 1994).
    """

    def __init__(self, objective: Objective, chunk: Batch) -> None:
        pieces = objective.leaves()
        self.pieces = list(pieces.values())
        with objective.guarded():
            grads = gradients(objective.value_of(pieces, chunk), self.pieces, create_graph=True)
        self.gradient: Parts | None = [None if g is None else g.detach() for g in grads]
        # a piece that the gradient does not depend on has zero rows
        self.used = [i for i, g in enumerate(grads) if g is not None and g.requires_grad]
        self.grads = [g for g in grads if g is not None and g.requires_grad]

        self.operations, self.convolves = operations(self.grads)

    def one(self, parts: Sequence[Tensor]) -> Parts:
        if not self.grads:
            return [None] * len(self.pieces)
        cotangents = [parts[i] for i in self.used]
        with _told():
            return torch.autograd.grad(self.grads, self.pieces, cotangents, retain_graph=True, allow_unused=True)

    def many(self, parts: Sequence[Tensor]) -> Parts:
        return mapped(self.one, parts)


@contextmanager
def _told() -> Iterator[None]:
    """Say so where PyTorch has no second derivative."""
    try:
        yield
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise CurvatureError(
            f"curvature: PyTorch does not differentiate the loss twice: {error}; "
            "make that layer of operations that it does, such as nn.Embedding and a mean for nn.EmbeddingBag"
        ) from error


class Linearized:
    """The derivative of the gradient as a program of what depends on v alone (``torch.func.linearize``).

    Args:
        compiled: the program is compiled, in seconds to minutes, for one vector and for each
            number of vectors that it meets.

    Raises:
        Exception: whatever torch raises for a model that forward mode cannot differentiate.
    """

    def __init__(self, objective: Objective, chunk: Batch, compiled: bool = False) -> None:
        pieces = {name: t.detach() for name, t in objective.pieces.items()}

        def gradient(*parts: Tensor) -> tuple[Tensor, ...]:
            found = torch.func.grad(lambda p: objective.loss_of(p, chunk))(dict(zip(pieces, parts, strict=True)))
            return tuple(found.values())

        with objective.guarded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own graphs; the products are checked before use
            found, product = torch.func.linearize(gradient, *pieces.values())
        self.gradient: Parts | None = found
        self._one: Callable[..., Any] = product
        self._many: Callable[..., Any] = torch.vmap(product)
        if compiled:
            self._one, self._many = (torch.compile(f, dynamic=False) for f in (self._one, self._many))

    def one(self, parts: Sequence[Tensor]) -> Parts:
        with torch.no_grad():
            return self._one(*parts)

    def many(self, parts: Sequence[Tensor]) -> Parts:
        with torch.no_grad():
            return self._many(*parts)


class GaussNewton:
    """JᵀHJ with J the outputs' derivative by θ and H the criterion's Hessian by the outputs, graphs kept.

    Jv is ∂/∂w ⟨Jᵀw, v⟩, since Jᵀw is linear in w; Schraudolph 2002, *Fast curvature matrix-vector
    products*.
    """

    gradient: Parts | None = None

    def __init__(self, objective: Objective, chunk: Batch) -> None:
        pieces = objective.leaves()
        self.pieces = list(pieces.values())
        with objective.guarded():
            self.outputs = objective.outputs_of(pieces, chunk)
            self.weight = torch.zeros_like(self.outputs, requires_grad=True)
            back = gradients(self.outputs, self.pieces, grad_outputs=self.weight, create_graph=True)
            self.point = self.outputs.detach().requires_grad_()
            self.slope = gradients(objective.criterion_of(self.point, chunk), [self.point], create_graph=True)[0]
        self.used = [i for i, g in enumerate(back) if g is not None and g.requires_grad]
        self.back = [g for g in back if g is not None and g.requires_grad]

        self.operations, _ = operations([*self.back, *([] if self.slope is None else [self.slope]), self.outputs])

    def one(self, parts: Sequence[Tensor]) -> Parts:
        if not self.back or self.slope is None or not self.slope.requires_grad:
            return [None] * len(self.pieces)
        options: dict[str, Any] = {"retain_graph": True, "allow_unused": True}
        (forward,) = torch.autograd.grad(self.back, self.weight, [parts[i] for i in self.used], **options)
        (curved,) = torch.autograd.grad(self.slope, self.point, forward, **options)
        return torch.autograd.grad(self.outputs, self.pieces, curved, **options)

    def many(self, parts: Sequence[Tensor]) -> Parts:
        return mapped(self.one, parts)


def mapped(product: Callable[[Sequence[Tensor]], Parts], parts: Sequence[Tensor]) -> Parts:
    """A product of one vector with k of them, by vmap, which returns no None."""
    present: list[bool] = []

    def single(*vector: Tensor) -> tuple[Tensor, ...]:
        found = product(vector)
        present[:] = [part is not None for part in found]
        return tuple(part for part in found if part is not None)

    found = iter(torch.vmap(single)(*parts))
    return [next(found) if here else None for here in present]


def per_example(objective: Objective) -> Callable[[Any, Batch], Tensor]:
    """The losses [n] of a chunk's examples, one call of the model for all of them.

    Raises:
        CurvatureError: from the call, the criterion of the outputs is not made of those of single ones.
    """

    def losses(pieces: Any, chunk: Batch) -> Tensor:
        def single(out: Tensor, example: Batch) -> Tensor:
            return objective.criterion_of(out.unsqueeze(0), tree_map(lambda t: t.unsqueeze(0), example))

        outputs = objective.outputs_of(pieces, chunk)
        pair = outputs.detach(), chunk
        objective.check_divisible(lambda found: objective.criterion_of(*found), pair)
        return torch.vmap(single)(outputs, chunk)

    return losses


# choosing -------------------------------------------------------------------------------


def hessian_kernel(method: str, expected: int, chunks: int) -> Callable[[Objective, Batch], Kernel]:
    """What builds the kernel of each chunk.

    Args:
        method: ``retained``, ``linearized``, ``compiled``, or ``auto``: retained, unless the
            model convolves, the products to come are worth the trial, and a linearized one
            proves quicker on the first chunk. All but ``compiled`` are recorded.
        expected: how many products will be asked for.
        chunks: how many chunks there are.

    Raises:
        CurvatureError: an unknown method.
    """
    if method == "compiled":
        return lambda objective, chunk: _trusted(Linearized(objective, chunk, compiled=True), objective, chunk)
    if method not in ("auto", "retained", "linearized"):
        raise CurvatureError(f"curvature: method must be auto, retained, linearized or compiled, got {method!r}")
    chosen = [None if method == "auto" else method == "linearized"]  # whether it is linearized, once that is known

    def build(objective: Objective, chunk: Batch) -> Kernel:
        began = time.perf_counter()
        plain = Retained(objective, chunk)
        took = time.perf_counter() - began
        if chosen[0] is None:
            other = _quicker(plain, objective, chunk, expected, chunks) if plain.convolves else None
            chosen[0] = other is not None
        elif chosen[0]:
            other = _trusted(Linearized(objective, chunk), objective, chunk, plain)
        else:
            other = None
        return recorded(plain if other is None else other, objective, plain.operations, took, expected * chunks)

    return build


def gauss_newton_kernel(expected: int, chunks: int) -> Callable[[Objective, Batch], Kernel]:
    """What builds the kernel of each chunk; arguments as for :func:`hessian_kernel`."""

    def build(objective: Objective, chunk: Batch) -> Kernel:
        began = time.perf_counter()
        plain = GaussNewton(objective, chunk)
        took = time.perf_counter() - began
        return recorded(plain, objective, plain.operations, took, expected * chunks)

    return build


def recorded(kernel: Kernel, objective: Objective, count: int, seconds: float, expected: int) -> Kernel:
    """The kernel, recorded in due course; ``count`` operations make a product, which takes so many seconds."""
    return Recorded(kernel, [*objective.pieces.values(), *objective.fixed.values()], count, seconds, expected)


def _quicker(plain: Retained, objective: Objective, chunk: Batch, expected: int, chunks: int) -> Linearized | None:
    """A linearized kernel if all the products to come take less time with it, its building counted."""
    slow = _seconds(plain, objective)
    if 0.3 * slow * expected < WORTH:
        return None
    began = time.perf_counter()
    try:
        other = Linearized(objective, chunk)
        build = time.perf_counter() - began
        quick = _seconds(other, objective)
        same = _agree(other, plain, objective)
    except Exception:  # forward mode lacks a rule, or the model looks at values: each raises in its own way
        return None
    # the building for this chunk is spent already
    return other if same and quick * expected * chunks + build * (chunks - 1) < slow * expected * chunks else None


def _trusted(kernel: Linearized, objective: Objective, chunk: Batch, plain: Retained | None = None) -> Linearized:
    """The kernel, once its products have been held against the retained graph's."""
    if not _agree(kernel, plain or Retained(objective, chunk), objective):
        raise CurvatureError(
            "curvature: the linearized or compiled product differs from the plain one; use method='retained'"
        )
    return kernel


def _agree(kernel: Kernel, plain: Kernel, objective: Objective) -> bool:
    probe = list(objective.split(_probe(objective)).values())
    return agree(kernel.one(probe), plain.one(probe), probe)


def _probe(objective: Objective) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(objective.size, generator=generator).to(objective.device, objective.dtype)


def _seconds(kernel: Kernel, objective: Objective) -> float:
    """The time of one product: the quicker of two after one to warm up."""
    probe = list(objective.split(_probe(objective)).values())
    times = []
    for _ in range(3):
        synchronize(objective.device)
        began = time.perf_counter()
        kernel.one(probe)
        synchronize(objective.device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def synchronize(device: torch.device) -> None:
    """Wait for an accelerator, so that a clock means something."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
