"""An accelerator that stands in for one: the processor's kernels, behind what a CUDA device asks of those who use it.

What is wrong there is refused here: to read a mark before it was waited for, to look at a value while a graph is
captured. A capture runs nothing in the end, and its graph runs the same kernels on the same memory, whatever tensors
are moved elsewhere since.
"""

from __future__ import annotations

import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from analysis.replay.accelerator import Cuda

aten = torch.ops.aten
MOVES = {
    aten.set_.source_Storage_storage_offset,
    aten.set_.source_Tensor,
    aten.set_.source_Storage,
}  # and compute nothing
LOOKS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.nonzero.default, aten.equal.default}


class _Recording(TorchDispatchMode):
    """The operations in their order; what they write is put back at the end."""

    def __init__(self):
        super().__init__()
        self.calls, self.saved = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in LOOKS:
            raise RuntimeError("operation not permitted when stream is capturing")
        given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | kwargs
        for argument in func._schema.arguments:
            written = given.get(argument.name)
            if isinstance(written, torch.Tensor) and argument.alias_info and argument.alias_info.is_write:
                storage = written.untyped_storage()
                self.saved.setdefault(storage._cdata, (storage, storage.clone()))
        where = _placed(args), {name: _placed(value) for name, value in kwargs.items()}
        out = func(*args, **kwargs)
        if func not in MOVES:
            self.calls.append((func, *where, _placed(out)))
        return out

    def undo(self):
        for storage, before in self.saved.values():
            storage.copy_(before)


class _Graph:
    def __init__(self, calls):
        self.calls, self.replays = calls, 0

    def replay(self):
        self.replays += 1
        with _disable_current_modes():  # which see no kernel of a graph
            for func, args, kwargs, out in self.calls:
                again = func(*args, **kwargs)
                for place, result in zip(_tensors(out), _tensors(again), strict=True):
                    if place.untyped_storage()._cdata != result.untyped_storage()._cdata:
                        place.copy_(result)


def _placed(value):
    """Tensors over the same memory for good: a graph knows addresses, wherever a tensor is moved to later."""
    if isinstance(value, torch.Tensor):
        place = torch.empty(0, dtype=value.dtype)
        return place.set_(value.untyped_storage(), value.storage_offset(), value.size(), value.stride())
    return type(value)(_placed(item) for item in value) if isinstance(value, list | tuple) else value


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for item in value for t in _tensors(item)] if isinstance(value, list | tuple) else []


class StandIn(Cuda):
    """The processor as an accelerator; ``monkeypatch.setitem(accelerator.KINDS, "cpu", StandIn)``."""

    scale = 1
    pause = 0.02  # seconds of a delay

    waited, capturing_now = 0.0, False
    captured, failed, delays = 0, 0, 0  # graphs, captures in vain, delays so far

    def __init__(self, device):
        self.device = device

    def mark(self):
        return time.perf_counter()

    def between(self, first, last):
        assert max(first, last) <= StandIn.waited, "not ready: nothing waited for these marks"
        return last - first

    def wait(self):
        assert not StandIn.capturing_now, "operation not permitted when stream is capturing"
        StandIn.waited = time.perf_counter()

    def delay(self):
        StandIn.delays += 1
        time.sleep(self.pause)

    def beyond_cache(self):
        return torch.empty(1 << 20, dtype=torch.uint8)

    def held(self):
        return 1000

    def peak(self):
        return 5000

    def free(self):
        return 1 << 40

    def pool(self):
        return object()

    def capturing(self):
        return StandIn.capturing_now

    def capture(self, kernels, pool):
        assert pool is not None and not StandIn.capturing_now
        StandIn.capturing_now = True
        recording = _Recording()
        try:
            with recording:
                for kernel in kernels:
                    kernel()
        except RuntimeError:
            StandIn.failed += 1
            return None
        finally:
            recording.undo()
            StandIn.capturing_now = False
        StandIn.captured += 1
        return _Graph(recording.calls)
