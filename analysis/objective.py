"""A loss over data at one point: what curvature is measured of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Batch = Any  # a tree of tensors whose first axis counts examples
Pieces = Mapping[str, Tensor]
CHUNK = 1024  # examples in a chunk where nobody says

_PARTS = "curvature: Gauss-Newton and gradient covariances need the loss in two parts, predict and criterion"
_NOISY = (nn.modules.dropout._DropoutNd, nn.AlphaDropout)
_NORMS = nn.modules.batchnorm._NormBase


class CurvatureError(ValueError):
    """What was asked has no answer for this loss; the message says why and what to do."""


@dataclass(frozen=True)
class Objective:
    """L(θ) = Σ_c w_c ℓ(θ, chunk c) at the point θ, which is held in named pieces.

    Args:
        loss: (pieces, chunk) -> scalar; the mean (or the sum) over the chunk's examples.
        pieces: the point, name -> tensor. Their numbers in order, flattened, are the D
            coordinates of every vector here.
        chunks: the data in parts. One part is in memory at a time, beside what is kept of
            it, so the chunk bounds the memory and changes nothing else.
        weights: one a chunk; for means the share of the examples in it, so that uneven
            chunks count by their size.
        predict, criterion: (pieces, chunk) -> outputs [n, ...] and (outputs, chunk) -> scalar, where
            the loss is made of them; Gauss-Newton and gradient covariances need this.
        fixed: pieces that are held still; ``loss`` finds them among the others.
        notes: what a reader of the results should know.
    """

    loss: Callable[[Pieces, Batch], Tensor]
    pieces: Pieces
    chunks: Sequence[Batch] = (None,)
    weights: Sequence[float] = (1.0,)
    predict: Callable[[Pieces, Batch], Tensor] | None = None
    criterion: Callable[[Tensor, Batch], Tensor] | None = None
    fixed: Pieces = field(default_factory=dict)
    guards: Sequence[Callable[[], Any]] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.pieces:
            raise CurvatureError("curvature: there are no parameters to differentiate by")
        kinds = {(t.dtype, t.device) for t in self.pieces.values()}
        if len(kinds) > 1:
            raise CurvatureError(f"curvature: all parameters must share one dtype and device, got {kinds}")
        if not self.dtype.is_floating_point:
            raise CurvatureError(f"curvature: parameters must be floating-point numbers, got {self.dtype}")

    @cached_property
    def size(self) -> int:
        """D."""
        return sum(t.numel() for t in self.pieces.values())

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.pieces.values())).dtype

    @property
    def device(self) -> torch.device:
        return next(iter(self.pieces.values())).device

    @property
    def theta(self) -> Tensor:
        """The point as one vector [D], a copy."""
        return torch.cat([t.detach().reshape(-1) for t in self.pieces.values()])

    def split(self, vectors: Tensor) -> dict[str, Tensor]:
        """Views of contiguous vectors [..., D] in the shapes of the pieces."""
        parts = vectors.split([t.numel() for t in self.pieces.values()], dim=-1)
        return {
            name: part.view((*vectors.shape[:-1], *t.shape))
            for (name, t), part in zip(self.pieces.items(), parts, strict=True)
        }

    def at(self, theta: Tensor) -> Objective:
        """The same loss at another point [D]."""
        return replace(self, pieces=self.split(theta.detach().to(self.device, self.dtype)))

    def block(self, names: Iterable[str]) -> Objective:
        """The loss as a function of some pieces alone; their block of the Hessian is its Hessian.

        Raises:
            CurvatureError: a name that no piece has.
        """
        wanted = list(names)
        unknown = [name for name in wanted if name not in self.pieces]
        if unknown:
            raise CurvatureError(f"curvature: no piece {unknown[0]!r}; known are {', '.join(self.pieces)}")
        still = {name: t.detach() for name, t in self.pieces.items() if name not in wanted}
        return replace(self, pieces={name: self.pieces[name] for name in wanted}, fixed={**self.fixed, **still})

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Where the loss is evaluated: gradients on, the caller's random state untouched."""
        devices = [] if self.device.type == "cpu" else [self.device]
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices, device_type=self.device.type if devices else "cuda"))
            stack.enter_context(torch.enable_grad())
            for guard in self.guards:
                stack.enter_context(guard())
            yield

    def leaves(self) -> dict[str, Tensor]:
        """The pieces as fresh leaves of a graph."""
        return {name: t.detach().requires_grad_() for name, t in self.pieces.items()}

    def loss_of(self, pieces: Pieces, chunk: Batch) -> Tensor:
        """ℓ(θ, chunk), a scalar.

        Raises:
            CurvatureError: the loss is something else.
        """
        loss = self.loss({**self.fixed, **pieces}, chunk)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise CurvatureError(f"curvature: the loss must be a tensor of one number, got {found}")
        return loss.reshape(())

    def value_of(self, pieces: Pieces, chunk: Batch) -> Tensor:
        """The same, checked to be finite.

        Raises:
            CurvatureError: it is not.
        """
        loss = self.loss_of(pieces, chunk)
        if not torch.isfinite(loss.detach()):
            raise CurvatureError(f"curvature: the loss is {loss.item()} at this point, so it has no curvature there")
        return loss

    def outputs_of(self, pieces: Pieces, chunk: Batch) -> Tensor:
        """The outputs [n, ...] of the model.

        Raises:
            CurvatureError: the loss was not given in two parts.
        """
        if self.predict is None:
            raise CurvatureError(_PARTS)
        return self.predict({**self.fixed, **pieces}, chunk)

    def criterion_of(self, outputs: Tensor, chunk: Batch) -> Tensor:
        """The loss as a function of the outputs, a scalar; raises as :meth:`outputs_of`."""
        if self.criterion is None:
            raise CurvatureError(_PARTS)
        return self.criterion(outputs, chunk)

    def value(self) -> float:
        """L(θ)."""
        with self.guarded(), torch.no_grad():
            values = [float(self.value_of(self.pieces, chunk)) for chunk in self.chunks]
        return math.fsum(w * v for w, v in zip(self.weights, values, strict=True))

    def gradient(self) -> Tensor:
        """∇L(θ) [D]."""
        total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for weight, chunk in zip(self.weights, self.chunks, strict=True):
            with self.guarded():
                pieces = self.leaves()
                loss = self.value_of(pieces, chunk)
                grads = gradients(loss, list(pieces.values()))
            total.add_(joined(grads, list(pieces.values())), alpha=weight)
        return total

    def check_repeatable(self) -> None:
        """Raise a CurvatureError if two evaluations at this point differ, as with dropout."""
        with self.guarded(), torch.no_grad():
            first, second = (float(self.value_of(self.pieces, self.chunks[0])) for _ in range(2))
        if abs(first - second) > 1e-4 * max(abs(first), abs(second)):
            raise CurvatureError(
                f"curvature: the loss is random, {first:g} and {second:g} at the same point; "
                "turn dropout and the like off (module.eval())"
            )


def gradients(output: Tensor, pieces: Sequence[Tensor], **options: Any) -> list[Tensor | None]:
    """The gradients by pieces; None for one that the output does not depend on."""
    if not output.requires_grad:
        return [None] * len(pieces)
    return list(torch.autograd.grad(output, pieces, allow_unused=True, **options))


def joined(parts: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Parts as one vector [D], None as zeros."""
    return torch.cat(
        [(torch.zeros_like(t) if p is None else p.detach()).reshape(-1) for p, t in zip(parts, like, strict=True)]
    )


# making them ----------------------------------------------------------------------------


def of_function(
    loss: Callable[..., Tensor],
    theta: Tensor | Pieces,
    data: Any = None,
    *,
    chunk: int | None = None,
    reduction: str = "mean",
    predict: Callable[..., Tensor] | None = None,
    criterion: Callable[[Tensor, Batch], Tensor] | None = None,
) -> Objective:
    """``loss(θ)``, or ``loss(θ, batch)`` over data, at θ.

    Args:
        theta: one tensor of any shape, or pieces by name; ``loss`` and ``predict`` get the same.
        data: a tensor or a tuple of tensors [n, ...], cut into chunks; or a list or another
            iterable of batches, taken as they come.
        chunk: examples in a chunk; 1024.
        reduction: what ``loss`` does over a batch, ``mean`` or ``sum``.
        predict, criterion: the loss's two parts, for Gauss-Newton products; ``loss`` is then
            ``criterion(predict(θ, batch), batch)``.
    """
    single = isinstance(theta, Tensor)
    pieces = {"theta": theta} if isinstance(theta, Tensor) else dict(theta)

    def adapted(function: Callable[..., Tensor]) -> Callable[[Pieces, Batch], Tensor]:
        def call(found: Pieces, batch: Batch) -> Tensor:
            point = found["theta"] if single else found
            return function(point) if data is None else function(point, batch)

        return call

    chunks, weights = ((None,), (1.0,)) if data is None else chunked(data, chunk, reduction)
    made = Objective(
        adapted(loss), pieces, chunks, weights, adapted(predict) if predict is not None else None, criterion
    )
    made.check_repeatable()
    return made


def of_module(
    module: nn.Module,
    loss: Callable[[Any, Any], Tensor],
    data: Any,
    *,
    chunk: int | None = None,
    reduction: str | None = None,
) -> Objective:
    """``loss(module(x), y)`` over data of (x, y), by the parameters that require gradients.

    The module keeps its mode, gradients, buffers and the random state.

    Args:
        data: (x, y) as tensors, cut into chunks; or an iterable of such pairs, a DataLoader for example.
        reduction: what ``loss`` does over a batch; taken from ``loss.reduction`` where it has one.

    Raises:
        CurvatureError: dropout or batch statistics are on, so the loss is no function of θ; it is no module, or
            there are no targets.
    """
    if not isinstance(module, nn.Module):
        raise CurvatureError(f"curvature: a module must be a torch.nn.Module, got {type(module).__name__}")
    if isinstance(data, Tensor):
        shape = tuple(data.shape)
        raise CurvatureError(
            f"curvature: data must be (x, y), or an iterable of such pairs, got a tensor of shape {shape}"
        )
    _refuse_randomness(module)
    chunks, weights = chunked(data, chunk, reduction or str(getattr(loss, "reduction", "mean")))
    named = dict(module.named_parameters())
    pieces = {name: p for name, p in named.items() if p.requires_grad}
    fixed = {name: p.detach() for name, p in named.items() if not p.requires_grad}
    buffers = dict(module.named_buffers())

    def predict(found: Pieces, batch: Batch) -> Tensor:
        return torch.func.functional_call(module, {**buffers, **found}, (batch[0],))

    def whole(found: Pieces, batch: Batch) -> Tensor:
        return loss(predict(found, batch), batch[1])

    guards, notes = _twice_differentiable(module)
    made = Objective(whole, pieces, chunks, weights, predict, lambda out, b: loss(out, b[1]), fixed, guards, notes)
    made.check_repeatable()
    return made


def chunked(data: Any, chunk: int | None = None, reduction: str = "mean") -> tuple[list[Batch], list[float]]:
    """Data in parts, and the weight of each in the whole: its share of the examples, or 1 for sums.

    Raises:
        CurvatureError: no examples, or tensors of different lengths.
    """
    if reduction not in ("mean", "sum"):
        raise CurvatureError(f"curvature: reduction must be mean or sum, got {reduction!r}")
    if isinstance(data, Tensor):
        data = (data,)
    if isinstance(data, tuple) and all(isinstance(t, Tensor) for t in data):
        lengths = {len(t) for t in data}
        if len(lengths) != 1:
            raise CurvatureError(f"curvature: every tensor of the data needs as many examples, got {lengths}")
        size = chunk or CHUNK
        if size < 1:
            raise CurvatureError(f"curvature: chunk must be >= 1, got {chunk}")
        chunks: list[Batch] = [tuple(t[at : at + size] for t in data) for at in range(0, lengths.pop(), size)]
    else:
        chunks = list(data)
    counts = [examples(c) for c in chunks]
    if not sum(counts):
        raise CurvatureError("curvature: the data hold no examples")
    return chunks, [1.0 if reduction == "sum" else count / sum(counts) for count in counts]


def examples(batch: Batch) -> int:
    """How many examples a batch holds: the length of its first tensor."""
    first = next((leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)), None)
    if first is None or first.dim() == 0:
        raise CurvatureError("curvature: a batch must hold a tensor whose first axis counts examples")
    return len(first)


def _refuse_randomness(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if not part.training:
            continue
        what = f"{name or 'the module'} ({type(part).__name__})"
        if isinstance(part, _NOISY) and part.p > 0:
            raise CurvatureError(f"curvature: {what} drops units at random in training mode; call module.eval() first")
        if isinstance(part, nn.RNNBase) and part.dropout > 0:
            raise CurvatureError(f"curvature: {what} drops states at random in training mode; call module.eval() first")
        if isinstance(part, _NORMS) and not isinstance(part, nn.modules.instancenorm._InstanceNorm):
            raise CurvatureError(
                f"curvature: {what} normalizes by the batch in training mode, so the loss depends on the chunks; "
                "call module.eval() first"
            )


def _twice_differentiable(module: nn.Module) -> tuple[list[Callable[[], Any]], tuple[str, ...]]:
    """Contexts in which every layer differentiates twice, and what to say of them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    guards: list[Callable[[], Any]] = [lambda: sdpa_kernel(SDPBackend.MATH)]  # fused attention does so only once
    notes: tuple[str, ...] = ()
    if any(isinstance(part, nn.RNNBase) for part in module.modules()):
        guards.append(lambda: torch.backends.cudnn.flags(enabled=False))
        notes = ("recurrent layers run without cuDNN, which does not differentiate them twice",)
    return guards, notes
