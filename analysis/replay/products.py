"""Matrix products through whichever of torch's two libraries multiplies quicker on this processor.

``torch.mm`` asks the BLAS that torch was built with. Where that is MKL and the processor is not
Intel's, it runs at two fifths of what oneDNN reaches in float32 (AMD EPYC of 2024: 105 against 250
GFLOP/s a core), and oneDNN comes with torch as well. Sums are taken in another order, so the last
bits differ: a tape takes these only when asked to, and what runs without one inside :func:`elsewhere`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from analysis.replay.recorder import Op

LEAST = 4_000_000  # floating-point operations of a product below which its call counts for more
WORTH = 1.5  # times as quick as BLAS that oneDNN must be, so that noise does not decide


def rerouted(ops: list[Op], intern: Callable[[Tensor], Tensor]) -> list[Op]:
    """The operations, with large float32 products on the CPU given to oneDNN where that is quicker."""
    return [_through_onednn(op, intern) if _large(op) and quicker() else op for op in ops]


def _large(op: Op) -> bool:
    if op.func is not torch.ops.aten.mm.default or op.writes:
        return False
    a, b, out = op.args[0], op.args[1], op.outs[0]
    usual = out.is_contiguous() and out.device.type == "cpu" and {a.dtype, b.dtype} == {torch.float32}
    return usual and 2 * len(a) * a.size(1) * b.size(1) >= LEAST


def _through_onednn(op: Op, intern: Callable[[Tensor], Tensor]) -> Op:
    from analysis.replay.recorder import Op

    a, b = op.args
    return Op(_product(), (a, intern(b.t()), None, "none", [], ""), {}, op.outs, reads=op.reads)


def _product() -> Any:
    """x [m, k], w [n, k] → x wᵀ: what inductor calls for a linear layer."""
    return torch.ops.mkldnn._linear_pointwise.default


def elsewhere() -> AbstractContextManager[Any]:
    """Large float32 products on the CPU inside go to oneDNN where that is quicker, each lane's by itself.

    A lane's sums do not depend on the lanes beside it.
    """
    return _Elsewhere() if quicker() else nullcontext()  # type: ignore[no-untyped-call]  # as torch leaves it


class _Elsewhere(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # no compiler runs in here; to say so at each operation, torch would import it first

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        bias, operands = args[: len(args) - 2], args[len(args) - 2 :]
        if func not in _BATCHED or kwargs or not _both_large(*operands):
            return func(*args, **(kwargs or {}))
        if any(c.shape[:2] != (len(operands[0]), 1) for c in bias):
            return func(*args)
        lanes = [
            _product()(a, b.t(), c[0] if c else None, "none", [], "")
            for a, b, *c in zip(*operands, *(c[:, 0] for c in bias), strict=True)
        ]
        return lanes[0][None] if len(lanes) == 1 else torch.stack(lanes)


_BATCHED = {torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default}


def _both_large(a: Tensor, b: Tensor) -> bool:
    """Whether these are float32 matrices [lanes, m, k] and [lanes, k, n] on the CPU whose products count."""
    usual = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    return usual and 2 * a.shape[1] * a.shape[2] * b.shape[2] >= LEAST


def by_onednn(a: Tensor, b: Tensor) -> Tensor | None:
    """a bᵀ from oneDNN; None where it is not here, or does not know numbers of this type."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return None
    try:
        product: Tensor = _product()(a, b, None, "none", [], "")
    except RuntimeError:  # of float64, or another signature in another version of torch
        return None
    return product


@cache
def quicker() -> bool:
    """Whether oneDNN is here and clearly quicker; measured once, in a few milliseconds."""
    a = torch.full((256, 256), 0.5)
    if by_onednn(a, a) is None:
        return False
    blas, onednn = [], []
    for _ in range(6):
        blas.append(_seconds(lambda: torch.mm(a, a)))
        onednn.append(_seconds(lambda: by_onednn(a, a)))
    return min(blas) > WORTH * min(onednn)


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
