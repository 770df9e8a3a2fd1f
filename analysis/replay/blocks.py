"""Elementwise chains where there is no compiler: kernel by kernel, over blocks that stay in the cache.

A chain of kernels over whole vectors brings every vector from memory, and back, once for each
kernel. Run over a block that fits a core's second-level cache, each block comes once, and what
the chain computes on the way never leaves it. A call has to be cheap then, so arithmetic is
NumPy's, whose calls cost a quarter of PyTorch's. It rounds as IEEE 754 says, the square root
included, so the bits are those of the compiled chain, on however many lanes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from analysis.replay.chains import Chain
    from analysis.replay.recorder import Op

aten = torch.ops.aten
Kernel = Callable[[], Any]
ALIGN = 64  # numbers
LEAST, MOST = 1 << 12, 1 << 16  # numbers of a block: calls outweigh smaller ones, and larger ones gain nothing
SHARE = 0.75  # of the cache that a block's vectors take

_ARITHMETIC: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: np.add,
    aten.sub.Tensor: np.subtract,
    aten.rsub.Scalar: lambda a, b, out: np.subtract(b, a, out),
    aten.mul.Tensor: np.multiply,
    aten.div.Tensor: np.divide,
    aten.neg.default: np.negative,
    aten.abs.default: np.absolute,
    aten.sqrt.default: np.sqrt,
    aten.rsqrt.default: lambda a, out: np.divide(out.dtype.type(1), np.sqrt(a, out), out),
    aten.reciprocal.default: lambda a, out: np.divide(out.dtype.type(1), a, out),
    aten.gt.Scalar: np.greater,
    aten.gt.Tensor: np.greater,
    aten.ge.Scalar: np.greater_equal,
    aten.ge.Tensor: np.greater_equal,
    aten.lt.Scalar: np.less,
    aten.lt.Tensor: np.less,
    aten.le.Scalar: np.less_equal,
    aten.le.Tensor: np.less_equal,
}  # of the rest (where, sign) PyTorch's kernels are the quicker ones, and exact


def blocked(chain: Chain) -> Kernel | None:
    """The chain as one call that goes from block to block; None where its numbers are of several types."""
    reals = {t.dtype for op in chain.ops for t in (*op.tensors, *op.outs)} - {torch.bool}
    if len(reals) != 1:
        return None
    blocks = _Blocks(chain, reals.pop())
    return _all([kernel for block in blocks.cut() for kernel in blocks.kernels(*block)])


def by_row(chain: Chain) -> list[Kernel]:
    """The same with a call for each row, of a chain whose numbers are of one type."""
    blocks = _Blocks(chain, next(out.dtype for op in chain.ops for out in op.outs if out.dtype != torch.bool))
    lanes, _ = blocks.shape
    return [
        _all([kernel for block in blocks.cut(slice(i, i + 1)) for kernel in blocks.kernels(*block)])
        for i in range(lanes)
    ]


def _all(kernels: list[Kernel]) -> Kernel:
    def run() -> None:
        with np.errstate(all="ignore"):
            for kernel in kernels:
                kernel()

    return run


class _Blocks:
    """A chain's kernels on parts of its matrices [lanes, n]."""

    def __init__(self, chain: Chain, real: torch.dtype) -> None:
        self.ops, self.real = chain.ops, real
        self.shape = chain.ops[0].outs[0].size()
        own = _passing(chain)
        matrices = {
            (_memory(t), t.dtype) for op in chain.ops for t in (*op.tensors, *op.outs) if t.size() == self.shape
        }
        self._size = block_size(len(matrices), real.itemsize)
        # What never leaves the chain lies in vectors of a block's length, which every block overwrites.
        self._scratch = {key: torch.empty(self._size, dtype=key[1]) for key in matrices if key[0] in own}

    def cut(self, rows: slice | None = None) -> list[tuple[slice, slice]]:
        """Rows and columns of the blocks: whole rows together if several fit a block, else parts of a row."""
        lanes, n = self.shape
        first, end = (0, lanes) if rows is None else (rows.start, rows.stop)
        if n <= self._size:
            together = max(1, self._size // max(1, n))
            return [(slice(i, min(i + together, end)), slice(0, n)) for i in range(first, end, together)]
        return [(slice(i, i + 1), part) for i in range(first, end) for part in parts(n, self._size)]

    def kernels(self, rows: slice, columns: slice) -> list[Kernel]:
        """The chain on one block."""
        return [self._kernel(op, rows, columns) for op in self.ops]

    def _kernel(self, op: Op, rows: slice, columns: slice) -> Kernel:
        out = self._part(op.outs[0], rows, columns)
        operands = [self._part(a, rows, columns) if isinstance(a, Tensor) else a for a in op.args]
        if op.func in _ARITHMETIC:
            numbers = [a if isinstance(a, Tensor) else torch.tensor(a, dtype=self.real) for a in operands]
            return partial(_ARITHMETIC[op.func], *(_array(t) for t in (*numbers, out)))
        assert op.out is not None
        function, (name,) = op.out
        return partial(function, *operands, **{name: out})

    def _part(self, tensor: Tensor, rows: slice, columns: slice) -> Tensor:
        """The part of an operand that belongs to a block, of as few dimensions as it can have."""
        if tensor.size() != self.shape:
            part = tensor[rows] if tensor.dim() == 2 and len(tensor) > 1 else tensor.reshape(-1)[0]
        elif (_memory(tensor), tensor.dtype) in self._scratch:
            height, width = rows.stop - rows.start, columns.stop - columns.start
            part = self._scratch[_memory(tensor), tensor.dtype][: height * width].view(height, width)
        else:
            part = tensor[rows, columns]
        return part[0] if part.dim() == 2 and rows.stop - rows.start == 1 else part


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _array(tensor: Tensor) -> Any:
    array = tensor.detach().numpy()
    return array.reshape(()) if array.size == 1 else array


def _passing(chain: Chain) -> set[int]:
    """The storages that the chain writes before it reads them and that nobody wants afterwards."""
    written: set[int] = set()
    read: set[int] = set()
    for op in chain.ops:
        read |= {_memory(t) for t in op.tensors} - written
        written |= {_memory(out) for out in op.outs}
    return written - read - chain.keep


def parts(n: int, size: int) -> list[slice]:
    """As many parts of a row of n numbers as there must be for none to be longer than a size, all alike."""
    width = -(-n // -(-n // size) // ALIGN) * ALIGN
    return [slice(j, min(j + width, n)) for j in range(0, n, width)]


def block_size(vectors: int, itemsize: int) -> int:
    """Numbers in a block of which so many vectors fit the second-level cache."""
    known = getattr(os, "sysconf_names", {})  # POSIX alone has it
    cache = os.sysconf("SC_LEVEL2_CACHE_SIZE") if "SC_LEVEL2_CACHE_SIZE" in known else 0
    fits = SHARE * (cache if cache > 0 else 1 << 20) / (vectors * itemsize)
    return int(min(max(fits, LEAST), MOST)) // ALIGN * ALIGN
