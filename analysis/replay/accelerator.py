"""What is asked of an accelerator beside its kernels: marks in time, waiting, graphs, memory.

All of it in one place and of one device, whichever is the current one. ``KINDS`` is where another
kind of device, or one that stands in for it, comes in.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

Kernel = Callable[[], Any]
DELAY = 10_000_000  # cycles, some five milliseconds


class Cuda:
    """A CUDA device."""

    scale = 8  # times the side of a matrix, or the bytes of a copy, that a processor core is busy with

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)

    def mark(self) -> Any:
        """What happens once all that was launched so far is done."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def between(self, first: Any, last: Any) -> float:
        """Seconds between two marks that have happened."""
        return float(first.elapsed_time(last)) / 1e3

    def wait(self) -> None:
        """Until all that was launched is done."""
        torch.cuda.synchronize(self.device)

    def delay(self) -> None:
        """Let it do nothing for some milliseconds, in which what follows is launched."""
        with torch.cuda.device(self.device):
            torch.cuda._sleep(DELAY)

    def beyond_cache(self) -> Tensor:
        """More bytes than the L2 cache holds: overwriting them empties it of all else."""
        size = 2 * torch.cuda.get_device_properties(self.device).L2_cache_size
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    # memory ------------------------------------------------------------------------------

    def held(self) -> int:
        """Bytes that tensors take now; the peak is counted from here on."""
        torch.cuda.reset_peak_memory_stats(self.device)
        return int(torch.cuda.memory_allocated(self.device))

    def peak(self) -> int:
        """The most bytes that tensors took since :meth:`held`."""
        return int(torch.cuda.max_memory_allocated(self.device))

    def free(self) -> int:
        """Bytes that could still be had."""
        return int(torch.cuda.mem_get_info(self.device)[0])

    # graphs ------------------------------------------------------------------------------

    def pool(self) -> Any:
        """Memory that graphs share which are replayed in the order of their capture."""
        return torch.cuda.graph_pool_handle()

    def capturing(self) -> bool:
        """Whether what is launched now goes into a graph."""
        return torch.cuda.is_current_stream_capturing()

    def capture(self, kernels: Sequence[Kernel], pool: Any) -> Any | None:
        """A graph of the kernels, which has a ``replay``; None where one of them waits for the device. None is run."""
        graph = torch.cuda.CUDAGraph()
        random = torch.cuda.default_generators[self.device.index]
        before = random.clone_state()
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        collecting = gc.isenabled()
        gc.disable()  # a graph that were freed meanwhile would end the capture
        try:
            with torch.cuda.stream(side):
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    for kernel in kernels:
                        kernel()
                finally:
                    graph.capture_end()
        except RuntimeError:
            self._mend(pool, random, before)
            return None
        finally:
            if collecting:
                gc.enable()
        torch.cuda.current_stream(self.device).wait_stream(side)
        return graph

    def _mend(self, pool: Any, random: Any, before: Any) -> None:
        """Undo what a capture leaves behind that could not be ended."""
        torch.cuda.synchronize(self.device)
        random.graphsafe_set_state(before)  # the state in use would wait for the end of this capture for ever
        with suppress(RuntimeError):  # newer versions of torch have done so; in others the allocator asks a dead graph
            torch._C._cuda_endAllocateToPool(self.device.index, pool)


KINDS: dict[str, Callable[[torch.device], Cuda]] = {"cuda": Cuda}


def accelerator(device: str | torch.device) -> Cuda | None:
    """The accelerator that a device is; None for a processor."""
    device = torch.device(device)
    kind = KINDS.get(device.type)
    return None if kind is None else kind(device)
