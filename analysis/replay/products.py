"""Matrix products through whichever of torch's two libraries multiplies quicker on this processor.

``torch.mm`` asks the BLAS that torch was built with. Where that is MKL and the processor is not
Intel's, it runs at two fifths of what oneDNN reaches in float32 (AMD EPYC of 2024: 105 against 250
GFLOP/s a core), and oneDNN comes with torch as well. Sums are taken in another order, so the last
bits differ: a tape takes these only when asked to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

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
