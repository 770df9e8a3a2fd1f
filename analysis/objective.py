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
from torch.utils._pytree import tree_leaves, tree_map

from analysis import layers
from analysis.reductions import SAME, Batch, divisible, lengths, part, summed, unpaired

Pieces = Mapping[str, Tensor]
CHUNK = 1024  # examples in a chunk where nobody says

_PARTS = "curvature: Gauss-Newton and gradient covariances need the loss in two parts, predict and criterion"


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
        reduction: what ``loss`` does over the examples of a chunk, ``mean`` or ``sum``.
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
    reduction: str = "mean"

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
            CurvatureError: the loss was not given in two parts, or they are something else.
        """
        if self.predict is None:
            raise CurvatureError(_PARTS)
        outputs = self.predict({**self.fixed, **pieces}, chunk)
        if not isinstance(outputs, Tensor):
            raise CurvatureError(
                "curvature: Gauss-Newton and gradient covariances need a model that returns one tensor, got "
                f"{type(outputs).__name__}; wrap it in a module that returns what the loss takes"
            )
        return outputs

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
        if abs(first - second) > SAME * max(abs(first), abs(second)):
            raise CurvatureError(
                f"curvature: the loss is random, {first:g} and {second:g} at the same point; "
                "turn dropout and the like off (module.eval())"
            )

    def check_divisible(self, function: Callable[[Batch], Any] | None = None, batch: Batch = None) -> None:
        """Raise a CurvatureError if the loss of a chunk is not the mean, or sum, of its parts'.

        Args:
            function, batch: to be looked at in place of the loss and all chunks.
        """
        loss = function or (lambda chunk: self.loss_of(self.pieces, chunk))
        for chunk in self.chunks if batch is None else [batch]:
            with self.guarded():
                apart = divisible(loss, chunk, self.reduction)
            if apart is not None:
                raise CurvatureError(
                    f"curvature: the loss of a batch, {apart[0]:.6g}, is not the {self.reduction} of its examples', "
                    f"{apart[1]:.6g} by halves, so chunks would change it; let the model look at each example by "
                    "itself, and loss be a module that says how it reduces, such as "
                    "nn.CrossEntropyLoss(ignore_index=0), or a sum over examples with reduction='sum', or give all "
                    "data in one chunk"
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
    guards, notes = layers.guards()
    parts = adapted(predict) if predict is not None else None, criterion
    made = Objective(
        adapted(loss), pieces, chunks, weights, *parts, guards=guards, notes=notes, reduction=reduction
    )  # fmt: skip
    made.check_repeatable()
    if len(chunks) > 1:
        made.check_divisible()
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

    The module keeps its mode, gradients, buffers and the random state. Batches are moved to its device
    one by one.

    Args:
        loss: a module such as ``nn.CrossEntropyLoss`` whose ``reduction`` is a mean is summed over all examples
            and divided once, so class weights and ignored targets count as in one batch; a function must be
            the mean, or the sum, over the examples.
        data: (x, y), cut into chunks, y a tensor and x one or a tree of them, such as a dictionary that the module
            takes; or an iterable of such pairs, a DataLoader for example.
        reduction: what ``loss`` does over a batch, ``mean`` or ``sum``; taken from ``loss.reduction`` where it has one.

    Raises:
        CurvatureError: dropout or batch statistics are on, so the loss is no function of θ; it is no module, or
            there are no targets; the loss of a batch is not made of its examples'.
    """
    if not isinstance(module, nn.Module):
        raise CurvatureError(f"curvature: a module must be a torch.nn.Module, got {type(module).__name__}")
    if isinstance(data, Tensor):
        shape = tuple(data.shape)
        raise CurvatureError(
            f"curvature: data must be (x, y), or an iterable of such pairs, got a tensor of shape {shape}"
        )
    why = layers.refused(module)
    if why is not None:
        raise CurvatureError(f"curvature: {why}")
    total = summed(loss) if reduction in (None, "mean") else None
    how = reduction or ("mean" if total is not None else str(getattr(loss, "reduction", "mean")))
    chunks, weights = chunked(data, chunk, how)
    got = next(filter(None, map(unpaired, chunks)), None)
    if got is not None:
        raise CurvatureError(
            f"curvature: a batch must be a pair (x, y), of which the module gets x and the loss y, got {got}; "
            "pairs such as (batch, batch['labels']) will do for a module that takes a dictionary"
        )
    named = dict(module.named_parameters())
    pieces = {name: p for name, p in named.items() if p.requires_grad}
    fixed = {name: p.detach() for name, p in named.items() if not p.requires_grad}

    def here(tree: Batch) -> Batch:
        device = next(iter(named.values())).device
        return tree_map(lambda t: t.to(device) if isinstance(t, Tensor) else t, tree)

    def predict(found: Pieces, batch: Batch) -> Tensor:
        buffers = {name: b.clone() for name, b in module.named_buffers()}  # some layers write into them
        return torch.func.functional_call(module, {**buffers, **found}, (here(batch[0]),))

    def made(criterion: Callable[[Any, Batch], Tensor]) -> Objective:
        def whole(found: Pieces, batch: Batch) -> Tensor:
            return criterion(predict(found, batch), batch)

        guards, notes = layers.guards(module)
        return Objective(whole, pieces, chunks, weights, predict, criterion, fixed, guards, notes, how)

    found = made(lambda outputs, batch: loss(outputs, here(batch[1])))
    divisors = None
    if total is not None:
        with found.guarded(), torch.no_grad():
            divisors = total.divisors((predict({**fixed, **pieces}, chunk), here(chunk[1])) for chunk in chunks)
    if total is not None and divisors is not None:
        each = sum(examples(c) for c in chunks) / math.fsum(divisors)  # of a mean over examples, whatever it counts
        found = made(lambda outputs, batch: total(outputs, here(batch[1])) * (each / examples(batch)))
    found.check_repeatable()
    if len(chunks) > 1:  # whether a criterion's parts add up is known of divisors, not whether the model's do
        found.check_divisible(batch=None if divisors is None else chunks[0])
    return found


def chunked(data: Any, chunk: int | None = None, reduction: str = "mean") -> tuple[list[Batch], list[float]]:
    """Data in parts, and the weight of each in the whole: its share of the examples, or 1 for sums.

    Raises:
        CurvatureError: no examples, or tensors of different lengths.
    """
    if reduction not in ("mean", "sum"):
        raise CurvatureError(f"curvature: reduction must be mean or sum, got {reduction!r}")
    if isinstance(data, Tensor):
        data = (data,)
    if isinstance(data, Mapping) or (isinstance(data, tuple) and data and isinstance(data[-1], Tensor)):
        found = lengths(data)
        if len(found) != 1:
            raise CurvatureError(f"curvature: every tensor of the data needs as many examples, got {found}")
        size = CHUNK if chunk is None else chunk
        if size < 1:
            raise CurvatureError(f"curvature: chunk must be >= 1, got {chunk}")
        count = found.pop()
        chunks: list[Batch] = [part(data, at, min(at + size, count)) for at in range(0, count, size)]
    else:
        with torch.random.fork_rng([]):  # a DataLoader draws a seed, whether it shuffles or not
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
