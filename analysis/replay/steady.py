"""Elementwise kernels whose bits do not depend on how many lanes there are.

PyTorch computes ``pow``, ``tanh`` and their like for most of a vector with SIMD code and for
its last few numbers with the C library, which may round otherwise. Which numbers are last
depends on how many lanes stand in the vector. Here every lane meets the same code: small
operands are filled up to whole blocks, and larger ones are run lane by lane unless each lane
fills whole blocks. Kernels that IEEE 754 defines to the last bit need none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from analysis.replay.recorder import Op

BLOCK = 64  # numbers: a multiple of what any SIMD loop of PyTorch takes at a time
EXACT = frozenset(
    {
        "add", "sub", "rsub", "mul", "div", "neg", "abs", "sign", "sgn", "reciprocal", "maximum", "minimum",
        "fmax", "fmin", "clamp", "clamp_min", "clamp_max", "relu", "where", "gt", "ge", "lt", "le", "eq", "ne",
        "isnan", "isinf", "isfinite", "logical_and", "logical_or", "logical_not", "logical_xor", "bitwise_and",
        "bitwise_or", "bitwise_not", "_to_copy", "clone", "copy", "threshold", "threshold_backward",
        "masked_fill", "floor", "ceil", "round", "trunc", "floor_divide", "remainder", "fmod",
    }
)  # fmt: skip
SMALL = 4096  # numbers of a lane up to which filling up costs less than a call for each lane
POWERS = (0, 1, 2, 3)  # which PyTorch multiplies out
Kernel = Callable[[], Any]


def steady(op: Op, dynamic: set[int]) -> list[Kernel] | None:
    """Kernels for an elementwise operation that treat each lane alike; None where its own does.

    Args:
        dynamic: storages whose addresses change at each replay, which cannot be cut beforehand.
    """
    from analysis.replay.recorder import key_of

    if not op.pointwise or len(op.outs) != 1 or _exact(op):
        return None
    out = op.outs[0]
    if out.device.type != "cpu" or out.dim() == 0 or out.numel() // max(1, len(out)) % BLOCK == 0:
        return None
    if dynamic & {key_of(out), *op.reads} or any(isinstance(v, Tensor) for v in op.kwargs.values()):
        return None
    alike = all(v.size() == out.size() or v.dim() == 0 for v in op.args if isinstance(v, Tensor))
    return _padded(op, out) if alike and out.numel() <= SMALL * len(out) else _by_lane(op, out)


def _call(op: Op, arguments: list[Any], out: Tensor) -> Kernel:
    assert op.out is not None
    function, names = op.out
    return partial(function, *arguments, **op.kwargs, **{names[0]: out})


def _exact(op: Op) -> bool:
    name = op.func.overloadpacket.__name__
    powers = name == "pow" and isinstance(op.args[1], int | float) and op.args[1] in POWERS
    return name in EXACT or powers


def _padded(op: Op, out: Tensor) -> list[Kernel]:
    """The same kernel on vectors filled up with ones to whole blocks."""
    count = out.numel()
    size = -(-count // BLOCK) * BLOCK
    first: list[Kernel] = []
    arguments = []
    for value in op.args:
        if isinstance(value, Tensor) and value.size() == out.size():
            wide = torch.ones(size, dtype=value.dtype)
            first.append(partial(wide[:count].view(out.size()).copy_, value))
            value = wide
        arguments.append(value)
    result = torch.ones(size, dtype=out.dtype)
    return [*first, _call(op, arguments, result), partial(out.copy_, result[:count].view(out.size()))]


def _by_lane(op: Op, out: Tensor) -> list[Kernel]:
    lanes = len(out)

    def of(value: Any, lane: int) -> Any:
        whole = isinstance(value, Tensor) and value.dim() == out.dim() and len(value) == lanes
        return value[lane] if whole else value

    return [_call(op, [of(value, lane) for value in op.args], out[lane]) for lane in range(lanes)]
