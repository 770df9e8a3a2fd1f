"""Many examples, chunk by chunk: what an evaluation takes to hold depends on the problem, not on how many there are.

A loss is the mean over examples of what each contributes, plus what depends on θ alone. So a value, a gradient and a
product with a curvature matrix are the means of those of chunks, weighted by their examples. How many are in a chunk
depends on the problem and on the kind of device alone, so that a lane's sums do not depend on the lanes beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from analysis.reductions import SAME
from analysis.replay.recorder import Kernel
from problems.problem import Batch, Problem
from problems.references import RAISED

MOST = 2048  # examples in a processor's chunk: what more of them make is not in its caches any more
NUMBERS = 1 << 26  # of a forward pass over a processor's chunk, roughly
WIDER = 2  # times as many on an accelerator, whose many cores want much to do at once
FEWEST = 512  # examples in a chunk, however wide the problem
TRIED = 64  # examples of which it is seen that a problem's loss is their mean

Bind = Callable[[Batch], tuple[Kernel, list[Tensor]]]


@dataclass(frozen=True)
class Chunks:
    """A minibatch in chunks.

    Args:
        batch: tensors [lanes, b, ...] of examples, of which each chunk has its own; ``rest`` are those that all have.
        size: examples in each chunk but maybe the last, which has fewer.
    """

    batch: Batch
    rest: Batch
    size: int

    def bind(self, bind: Bind, outputs: list[Tensor], before: Callable[[int], Any] = lambda i: None) -> Kernel:
        """An action that evaluates all chunks one after another, and leaves the weighted means in ``outputs``.

        Args:
            bind: for the batch of one chunk, whose contents change: an action, and where it leaves what it finds.
            before: called with the number of each chunk before that is evaluated.
        """
        count = self.batch[0].shape[1]
        slices = [slice(at, min(at + self.size, count)) for at in range(0, count, self.size)]
        made: dict[int, tuple[Batch, Kernel, list[Tensor]]] = {}
        for part in slices:
            length = part.stop - part.start
            if length not in made:
                place = tuple(_place(t, length) for t in self.batch)
                self._fill(place, part)
                made[length] = place, *bind((*place, *self.rest))

        def action() -> None:
            for out in outputs:
                out.zero_()
            for i, part in enumerate(slices):
                place, evaluate, found = made[part.stop - part.start]
                self._fill(place, part)
                before(i)
                evaluate()
                for out, each in zip(outputs, found, strict=True):
                    out.add_(each, alpha=(part.stop - part.start) / count)

        return action

    def _fill(self, place: Batch, part: slice) -> None:
        for here, there in zip(place, self.batch, strict=True):
            own = slice(1) if _shared(there) else slice(None)
            here[own].copy_(there[own, part])


def _shared(t: Tensor) -> bool:
    """Whether all lanes of a tensor [lanes, ...] are one."""
    return t.stride(0) == 0


def _place(t: Tensor, length: int) -> Tensor:
    """Memory for so many of its examples, shared by the lanes where they share them."""
    if _shared(t):
        return t.new_empty(1, length, *t.shape[2:]).expand(len(t), length, *t.shape[2:])
    return t.new_empty(len(t), length, *t.shape[2:])


def chunks(problem: Problem, batch: Batch) -> Chunks | None:
    """A minibatch [lanes, b, ...] in chunks; None where it is no more than one, or where its loss is not their mean."""
    examples = problem.examples(batch)
    count, size = examples[0].shape[1], at_once(problem, batch[0].device)
    if count <= size or _carries(problem, batch) or not separable(problem, batch):
        return None
    return Chunks(examples, batch[len(examples) :], -(-count // -(-count // size)))  # as many in each, about


def _carries(problem: Problem, batch: Batch) -> bool:
    """Whether a state was carried to its examples."""
    return len(batch) > len(problem.train.tensors) + len(problem.step_pieces)


def at_once(problem: Problem, device: torch.device | str) -> int:
    """How many examples are evaluated at once there."""
    on_processor = torch.device(device).type == "cpu"
    room = NUMBERS // width(problem) if on_processor else WIDER * NUMBERS // width(problem)
    return max(FEWEST, min(MOST, room) if on_processor else room)


def width(problem: Problem) -> int:
    """A guess at the numbers that one example makes in a forward pass: its size and its layers' units."""
    example = sum(t[0].numel() for t in problem.train.tensors)
    area = max((t[0].numel() // t.shape[1] for t in problem.train.tensors if t.dim() == 4), default=1)
    units = sum(p.shape[0] * (area if len(p.shape) == 4 else 1) for p in problem.layout if p.role == "weight")
    time = max((t.shape[1] for t in problem.train.tensors if t.dim() == 3 or _symbols(t)), default=1)
    return example + units * time


def _symbols(t: Tensor) -> bool:
    """Whether examples are sequences of whole numbers."""
    return t.dim() == 2 and not t.is_floating_point()


_known: WeakKeyDictionary[Problem, bool] = WeakKeyDictionary()


def separable(problem: Problem, batch: Batch) -> bool:
    """Whether the loss of examples is seen to be the mean of the losses of parts of them.

    Statistics of a batch prevent it. Where it cannot be seen, as of a model that takes batches of one size alone, it
    is not taken to be so.
    """
    if problem not in _known:
        _known[problem] = _seen(problem, batch)
    return _known[problem]


def _seen(problem: Problem, batch: Batch) -> bool:
    count = torch.arange(problem.size, dtype=torch.float64)  # numbers in no order, without a draw
    pieces = problem.layout.split((0.7 * count * count).sin().to(problem.like) / 8)
    few = tuple(t[0, :TRIED] for t in problem.examples(batch))
    rest = tuple(t[0] for t in batch[len(few) :])
    halves = (slice(TRIED // 2), slice(TRIED // 2, TRIED))
    try:
        with torch.no_grad():
            whole, *parts = (
                float(problem.loss_of(pieces, (*(t[some] for t in few), *rest))) for some in (slice(TRIED), *halves)
            )
    except RAISED:  # its own evaluation will say why
        return False
    near = math.isclose(whole, sum(parts) / 2, rel_tol=SAME, abs_tol=SAME * max(map(abs, parts)))
    return near and math.isfinite(whole)
