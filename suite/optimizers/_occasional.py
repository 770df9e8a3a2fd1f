"""Work that is done at some steps only, by the lanes whose turn it is: matrix roots, bases, inverses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from analysis.replay.recorder import Recorder

Compute = Callable[..., Sequence[Tensor]]


def when(due: Tensor, compute: Compute, before: Sequence[Tensor], *operands: Tensor) -> list[Tensor]:
    """``compute(*operands)`` where the 0-dim condition ``due`` holds, and ``before`` elsewhere.

    ``compute`` sees plain tensors of one lane, whose values it may look at, so what it does needs no
    rule for many lanes and gives the bits of the run alone. It is not called for lanes that are not due.
    Its results have the shapes and types of ``before``.
    """
    return list(_When.apply(compute, len(before), due, *before, *operands))


class _When(torch.autograd.Function):
    @staticmethod
    def forward(compute: Compute, count: int, due: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.squeeze(0) for t in _of_lanes(compute, count, [t.unsqueeze(0) for t in (due, *tensors)]))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is differentiated through it."""

    @staticmethod
    def vmap(info: Any, dims: Any, compute: Compute, count: int, *tensors: Tensor) -> Any:
        lanes = [
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(tensors, dims[2:], strict=True)
        ]
        return tuple(_of_lanes(compute, count, lanes)), (0,) * count


def _of_lanes(compute: Compute, count: int, tensors: list[Tensor]) -> list[Tensor]:
    """The same for tensors [lanes, ...], now or, on a tape, whenever it is replayed."""
    recorder = Recorder.current
    if recorder is not None:
        return recorder.call(tensors, partial(_bound, compute, count))
    action, outputs = _bound(compute, count, *tensors)
    action()
    return outputs


def _bound(compute: Compute, count: int, due: Tensor, *tensors: Tensor) -> tuple[Callable[[], None], list[Tensor]]:
    before, operands = tensors[:count], tensors[count:]
    outputs = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in before]

    def action() -> None:
        for output, old in zip(outputs, before, strict=True):
            output.copy_(old)
        for lane in due.nonzero().flatten().tolist():
            for output, new in zip(outputs, compute(*(t[lane] for t in operands)), strict=True):
                output[lane] = new

    return action, outputs
