"""Elementwise chains of long rows where there is no compiler: as few of PyTorch's fused operations as will do.

Over blocks (``analysis.replay.blocks``) a chain makes as many calls as it has operations. Where rows are so
long that PyTorch's dearer calls do not count, ``analysis.replay.algebra`` makes about half as many of them, row
by row, and over parts of a row so long that what never leaves the chain stays in a cache. The last
bits are not those of the recorded operations, nor of the compiled chain. They depend on the lane alone,
however many there are: which form it has is told by its length.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from analysis.replay.algebra import Algebra, Instruction, place
from analysis.replay.blocks import Kernel, by_row, parts

if TYPE_CHECKING:
    from analysis.replay.chains import Chain

LONG = 1 << 16  # numbers of a row from which this form is the quicker one
SHARE = 0.75  # of the recorded operations: fewer passes pay up to there, for calls over blocks are the cheaper ones
PART = 1 << 21  # bytes of a part of a row: calls outweigh shorter ones, and longer ones leave the cache


def composed(chain: Chain) -> Kernel | None:
    """The chain as one call; None where its rows are short, its numbers of several types, or little is gained."""
    reals = {t.dtype for op in chain.ops for t in (*op.tensors, *op.outs)} - {torch.bool}
    lanes, n = chain.ops[0].outs[0].size()
    if n < LONG or len(reals) != 1:
        return None
    algebra = Algebra(chain, reals.pop())
    if len(algebra.instructions) > SHARE * len(chain.ops):
        return None
    homes = _Homes(algebra)
    rows = [homes.calls(lane) for lane in range(lanes)]
    plain: Callable[[], list[Kernel]] = cache(lambda: by_row(chain))
    numbers = algebra.numbers

    def run() -> None:
        for lane, calls in enumerate(rows):
            try:
                numbers.of(lane)
            except ArithmeticError:  # such numbers are the recorded operations' affair
                plain()[lane]()
                continue
            for call in calls:
                call()

    return run


class _Homes:
    """Where each vector of a chain lies: in memory that is read or kept, or in one that every part overwrites.

    What is kept is computed where it is wanted if nobody reads afterwards what lay there, and so is what it is
    computed of, so that most passes are in place. What cannot be is copied at the end.
    """

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self.last = {v: i for i, one in enumerate(algebra.instructions) for v in (*one.vectors, one.out)}
        self.places: dict[int, Tensor] = dict(algebra.loads)
        self.late: list[tuple[int, Tensor]] = []
        self._in_place()
        self.scratch: dict[int, tuple[torch.dtype, int]] = {}  # vector -> which
        self._share()
        self.parts = parts(algebra.chain.ops[0].outs[0].size(1), PART // algebra.real.itemsize)
        self._memory = {key: torch.empty(self.parts[0].stop, dtype=key[0]) for key in set(self.scratch.values())}

    def _in_place(self) -> None:
        """Settle what is computed where it is kept."""
        instructions = self.algebra.instructions
        made = {one.out: i for i, one in enumerate(instructions)}
        loaded = {place(t): self.last.get(v, -1) for v, t in self.algebra.loads.items()}  # its last reader
        for vector, where in self.algebra.stores.items():
            if loaded.get(place(where), -1) <= made[vector]:
                self.places[vector] = where
            else:
                self.late.append((vector, where))
                self.last[vector] = len(made)
        for i, one in reversed([*enumerate(instructions)]):
            if one.out not in self.places:
                continue
            home = self.places[one.out]
            for v in one.vectors:
                free = v in made and v not in self.places and self.last[v] == i
                if free and instructions[made[v]].dtype == home.dtype and loaded.get(place(home), -1) <= made[v]:
                    self.places[v] = home
                    break

    def _share(self) -> None:
        """Give the others scratch vectors, as few as will do."""
        free: dict[torch.dtype, list[int]] = {}
        count: dict[torch.dtype, int] = {}
        for i, one in enumerate(self.algebra.instructions):
            for v in {*one.vectors} & self.scratch.keys():
                if self.last[v] == i:
                    free.setdefault(self.scratch[v][0], []).append(self.scratch[v][1])
            if one.out not in self.places:
                spare = free.setdefault(one.dtype, [])
                if not spare:
                    count[one.dtype] = count.get(one.dtype, 0) + 1
                self.scratch[one.out] = one.dtype, spare.pop() if spare else count[one.dtype] - 1

    def calls(self, lane: int) -> list[Kernel]:
        """The passes over a row, part by part."""
        found = []
        for part in self.parts:
            found += [self._call(one, lane, part) for one in self.algebra.instructions]
            found += [partial(home[lane, part].copy_, self._part(vector, lane, part)) for vector, home in self.late]
        return found

    def _call(self, one: Instruction, lane: int, part: slice) -> Kernel:
        operands = [self._part(a, lane, part) if isinstance(a, int) else _of_lane(a, lane) for a in one.operands]
        return one.make(self._part(one.out, lane, part), self.algebra.numbers, *one.numbers, *operands)

    def _part(self, vector: int, lane: int, part: slice) -> Tensor:
        if vector in self.places:
            return self.places[vector][lane, part]
        return self._memory[self.scratch[vector]][: part.stop - part.start]


def _of_lane(tensor: Tensor, lane: int) -> Tensor:
    """A lane's number, without a dimension, of a tensor of one for all lanes or for each."""
    return tensor.reshape(-1)[lane if tensor.numel() > 1 else 0]
