"""Products as bare kernels: what a curvature kernel does is recorded once and replayed (``analysis.replay.tape``).

At a fixed point every product runs the same operations, and much of what autograd runs does not depend
on the vector. The recording drops that, and autograd's bookkeeping, and lets large matrix
products go to whichever library multiplies quicker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from analysis.replay import native
from analysis.replay.tape import Tape

if TYPE_CHECKING:
    from analysis.kernels import Kernel, Parts

OPERATION = 1e-4  # seconds that recording one operation takes
SAVED = 0.3  # share of a product that its recording saves, about
COMPILING = 1.5  # seconds to be won from which compiling the elementwise chains pays
TRUSTED = {torch.float32: 1e-3, torch.float64: 1e-8}  # how far two kernels' products may be apart, relatively


class Recorded:
    """A kernel whose products are recorded once that pays: at once for many that are expected to be long.

    Else it waits until those so far have taken as long as recording does, so that a few cost what they
    did, and many at most twice what they would have cost had it been known before. A replayed product
    is held against the kernel's own once before it is trusted. What is returned is overwritten by
    the next product.

    Args:
        point: what the kernel holds on to by reference; where it is changed, nothing is replayed.
        operations: in a product, about.
        seconds: that a product takes, about, such as those that building the kernel took.
        expected: how many vectors will be multiplied.
    """

    def __init__(self, kernel: Kernel, point: Sequence[Tensor], operations: int, seconds: float, expected: int) -> None:
        self.kernel, self.point = kernel, point
        self.worth = OPERATION * operations
        self.gain = SAVED * seconds * expected
        self.gradient = kernel.gradient
        self._forms: dict[int, _Form] = {}
        self._versions = [t._version for t in point]

    def one(self, parts: Sequence[Tensor]) -> Parts:
        return self._product(parts, self.kernel.one, 0)

    def many(self, parts: Sequence[Tensor]) -> Parts:
        return self._product(parts, self.kernel.many, len(parts[0]))

    def _product(self, parts: Sequence[Tensor], plain: Callable[[Sequence[Tensor]], Parts], block: int) -> Parts:
        form = self._forms.setdefault(block, _Form())
        if [t._version for t in self.point] != self._versions:
            return plain(parts)  # for torch to say that the graph is out of date
        if form.trusted:
            return form.replay(parts)
        if form.tape is not None:
            found = plain(parts)
            form.trusted = agree(form.replay(parts), found, parts)
            form.refused = not form.trusted
            form.tape = form.tape if form.trusted else None
            return found
        gain = self.gain / max(1, block)
        if form.refused or max(form.spent, gain) < self.worth:
            began = time.perf_counter()
            found = plain(parts)
            form.spent += time.perf_counter() - began
            return found
        with native.used("compiled" if gain > COMPILING else "known"):
            return form.record(parts, plain)


@dataclass
class _Form:
    """The products of so many vectors at once, and how far they have come."""

    spent: float = 0.0  # seconds, unrecorded
    tape: Tape | None = None
    inputs: Sequence[Tensor] = ()
    places: Sequence[int | None] = ()  # of each part among the tape's outputs
    trusted: bool = False
    refused: bool = False

    def record(self, parts: Sequence[Tensor], plain: Callable[[Sequence[Tensor]], Parts]) -> Parts:
        """The product, on tape from now on; if that is not to be had, the product."""
        found: list[Parts] = []

        def function() -> list[Tensor]:
            found.append(plain(self.inputs))
            return [part for part in found[0] if part is not None]

        self.inputs = [part.clone(memory_format=torch.contiguous_format) for part in parts]
        try:
            self.tape = Tape(function, self.inputs, reroute=True)
        except Exception:  # values looked at, or an operation that will not be recorded: each raises in its own way
            self.refused = True
            return found[0] if found else plain(parts)
        present = [part is not None for part in found[0]]
        self.places = [sum(present[:i]) if here else None for i, here in enumerate(present)]
        return found[0]

    def replay(self, parts: Sequence[Tensor]) -> Parts:
        assert self.tape is not None
        for mine, part in zip(self.inputs, parts, strict=True):
            mine.copy_(part)
        self.tape()
        return [None if at is None else self.tape.outputs[at] for at in self.places]


def agree(ours: Parts, theirs: Parts, like: Sequence[Tensor]) -> bool:
    """Whether two products are the same up to rounding."""
    wrong = size = torch.zeros((), dtype=torch.float64)
    for a, b, shape in zip(ours, theirs, like, strict=True):
        a, b = (torch.zeros_like(shape) if part is None else part for part in (a, b))
        wrong = wrong + (a - b).double().square().sum().cpu()
        size = size + b.double().square().sum().cpu()
    return bool(wrong <= TRUSTED.get(like[0].dtype, 1e-2) ** 2 * size)


def operations(outputs: Sequence[Any]) -> tuple[int, bool]:
    """How many nodes the graph behind some tensors has, and whether one of them convolves."""
    seen, todo, convolves = set(), [t.grad_fn for t in outputs], False
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        convolves = convolves or "Convolution" in node.name()
        todo += [before for before, _ in node.next_functions]
    return len(seen), convolves
