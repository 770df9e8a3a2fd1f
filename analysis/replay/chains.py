"""Find chains of elementwise operations on a tape that may run as one pass over memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from analysis.replay.native import supported

if TYPE_CHECKING:
    from analysis.replay.recorder import Op


@dataclass(frozen=True)
class Chain:
    """Operations on matrices of one shape [lanes, n], element by element.

    ``keep`` are the storages whose contents are wanted after the chain; what else it
    computes need never reach memory.
    """

    ops: list[Op]
    keep: set[int]


def chained(ops: list[Op], dynamic: set[int], fixed: set[int]) -> Iterator[int | Chain]:
    """The operations in order: an index for one by itself, or a chain.

    Args:
        ops: all operations of a tape, their buffers settled.
        dynamic: storages that are replaced at each replay, so that their addresses are not known.
        fixed: storages that must hold their contents after the tape has run.
    """
    from analysis.replay.recorder import key_of

    last = {key: i for i, op in enumerate(ops) for key in (*op.reads, *op.writes)}  # who looks at it as the last
    at = 0
    while at < len(ops):
        small, chain, end = _longest(ops, at, dynamic)
        if len(chain) < 2:
            yield at
            at += 1
            continue
        yield from small
        written = {key_of(op.outs[0]) for op in (ops[i] for i in chain)}
        yield Chain([ops[i] for i in chain], {key for key in written if key in fixed or last.get(key, -1) >= end})
        at = end


def _longest(ops: list[Op], start: int, dynamic: set[int]) -> tuple[list[int], list[int], int]:
    """The longest chain from ``start`` on: (small operations to run before it, the chain, where it ends).

    Small operations (one number per lane) that stand in between and do not depend on the
    chain are moved in front of it.
    """
    from analysis.replay.recorder import key_of

    small: list[int] = []
    chain: list[int] = []
    touched: set[int] = set()
    written: set[int] = set()
    for at in range(start, len(ops)):
        op = ops[at]
        outs = {key_of(out) for out in op.outs}
        if _fits(op, ops[start], dynamic):
            chain.append(at)
            touched |= outs | op.reads
            written |= outs
        elif chain and (op.out or op.dynamic) and not op.reads & written and not outs & touched:
            small.append(at)
        else:
            break
    end = chain[-1] + 1 if chain else start
    return [at for at in small if at < end], chain, end


def _fits(op: Op, first: Op, dynamic: set[int]) -> bool:
    """Whether an operation may be part of a chain that ``first`` begins."""
    from analysis.replay.recorder import key_of

    if not op.pointwise or len(op.outs) != 1 or not supported(op) or len(first.outs) != 1:
        return False
    out, shape = op.outs[0], first.outs[0].size()
    if out.dim() != 2 or out.size() != shape or out.stride(1) != 1 or out.device.type not in ("cpu", "cuda"):
        return False
    if out.dtype not in (torch.float32, torch.float64, torch.bool) or dynamic & {key_of(out), *op.reads}:
        return False
    return all(t.device == out.device and _operand(t, shape) for t in op.tensors)


def _operand(tensor: Tensor, shape: torch.Size) -> bool:
    """Whether an operand is a matrix of the shape, or one number (per lane)."""
    if tensor.size() == shape:
        return tensor.stride(1) == 1 or shape[1] == 1
    return tensor.numel() == 1 or (tensor.dim() == 2 and tensor.size() == (shape[0], 1))
