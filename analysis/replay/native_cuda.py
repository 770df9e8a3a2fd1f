"""An elementwise chain as one CUDA kernel, compiled by the NVRTC that comes with PyTorch.

The text is that of ``analysis.replay.native`` for one number, in a kernel whose threads take several
neighbours at a time, as wide as rows are aligned. It is compiled without contraction and
divides as PyTorch's kernels do, so its bits are theirs.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from analysis.replay.native import Program

THREADS = 256  # of a block
MOST = 65535  # blocks along an axis of the grid; what is beyond is done by turns
FLAGS = ("--fmad=false",)


def width(tensors: Sequence[Tensor]) -> int:
    """How many neighbours of a row one load may take: 4, 2 or 1, as every row of every matrix begins on such."""

    def fits(tensor: Tensor, count: int) -> bool:
        aligned = tensor.data_ptr() % (count * tensor.element_size()) == 0
        return aligned and (len(tensor) == 1 or tensor.stride(0) % count == 0)

    return next(count for count in (4, 2, 1) if all(fits(t, count) for t in tensors))


def text(program: Program) -> str:
    """The kernel's text; its arguments are the sizes, and an address and a stride for each operand."""
    arguments, rows = [], []
    for i, tensor in enumerate(program.operands()):
        kind, name = program.type_of(tensor), program.pointer(i)
        arguments.append(f"{kind}* P{i}, int T{i}")
        rows.append(f"{kind}* {name} = P{i} + (long long)i * T{i};")
    rows += [f"const {program.kind_of(t)} s{k} = *q{k};" for k, t in enumerate(program.scalars)]
    wide = width([*program.matrices, *program.results])
    made = f"""extern "C" __global__ void chain(int rows, int columns, {", ".join(arguments)}) {{
  const int first = blockIdx.x * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x;
  for (int i = blockIdx.y; i < rows; i += gridDim.y) {{
    {_lines(rows, 4)}
{_loop(program, wide, "first", f"columns / {wide}") if wide > 1 else ""}
{_loop(program, 1, f"columns / {wide} * {wide} + first" if wide > 1 else "first", "columns")}
  }}
}}
"""
    suffix = "f" if program.real == "float" else ""
    names = {"REAL": program.real, "RSQRT": f"rsqrt{suffix}", "SQRT": f"sqrt{suffix}", "ABS": f"fabs{suffix}"}
    names["FMA"] = f"fma{suffix}"
    for name, stands in names.items():
        made = made.replace(name, str(stands))
    return made


def _loop(program: Program, wide: int, start: str, end: str) -> str:
    """A loop over so many numbers of a row at a time."""

    def pack(tensor: Tensor) -> str:
        kind = program.type_of(tensor)
        return f"struct __align__({wide} * sizeof({kind})) {{ {kind} at[{wide}]; }}"

    types = [f"typedef {pack(t)} X{k};" for k, t in enumerate(program.matrices)]
    types += [f"typedef {pack(t)} Y{k};" for k, t in enumerate(program.results)]
    loads = [f"const X{k} a{k} = ((const X{k}*)p{k})[j];" for k in range(len(program.matrices))]
    results = [f"Y{k} b{k};" for k in range(len(program.results))]
    each = [f"const {program.kind_of(t)} x{k} = a{k}.at[k];" for k, t in enumerate(program.matrices)]
    stores = [f"b{k}.at[k] = {name};" for k, name in enumerate(program.stored)]
    ends = [f"((Y{k}*)y{k})[j] = b{k};" for k in range(len(program.results))]
    return f"""    {{
      {_lines(types, 6)}
      for (int j = {start}; j < {end}; j += stride) {{
        {_lines([*loads, *results], 8)}
        #pragma unroll
        for (int k = 0; k < {wide}; k++) {{
          {_lines([*each, *program.lines, *stores], 10)}
        }}
        {_lines(ends, 8)}
      }}
    }}"""


def _lines(lines: Sequence[str], indent: int) -> str:
    return ("\n" + " " * indent).join(lines)


@cache
def function(source: str, device: int) -> Any:
    """The compiled kernel of a text on a device; None where this PyTorch has no compiler for it."""
    from analysis.replay.native import spent

    if os.environ.get("SUITE_NATIVE") == "0":
        return None
    began = time.perf_counter()
    try:
        with no_headers(), torch.cuda.device(device):
            return torch.cuda._compile_kernel(source, "chain", nvcc_options=list(FLAGS))
    except (AttributeError, OSError, RuntimeError):
        return None
    finally:
        spent.seconds += time.perf_counter() - began


@contextmanager
def no_headers() -> Iterator[None]:
    """PyTorch names the toolkit's headers to the compiler, and refuses where there are none; no chain includes any."""
    from torch.utils import cpp_extension

    home = cpp_extension.CUDA_HOME
    cpp_extension.CUDA_HOME = home or "/nonexistent"
    try:
        yield
    finally:
        cpp_extension.CUDA_HOME = home


def bound(kernel: Any, rows: int, columns: int, operands: Sequence[Tensor]) -> Callable[[], Any]:
    """The launch on the operands, its arguments made ready: it takes a few microseconds, where PyTorch's takes 20."""
    from torch.cuda import _utils

    wide = width([t for t in operands if t.dim() == 2 and t.shape[1] == columns])
    grid = min(-(-columns // (THREADS * wide)), MOST), min(rows, MOST)
    values: list[Any] = [ctypes.c_int(rows), ctypes.c_int(columns)]
    for tensor in operands:
        stride = tensor.stride(0) if tensor.dim() == 2 and len(tensor) > 1 else 0
        values += [ctypes.c_void_p(tensor.data_ptr()), ctypes.c_int(stride)]
    addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    launch, stream_of, device = _utils._get_gpu_runtime_library().cuLaunchKernel, _stream, operands[0].device.index

    def call() -> None:
        stream = ctypes.c_void_p(stream_of(device))
        with torch.cuda.device(device):
            status = launch(kernel.func, *grid, 1, THREADS, 1, 1, 0, stream, addresses, None)
        if status:
            raise RuntimeError(f"a compiled chain could not be launched: CUDA error {status}")

    call.holds = values  # type: ignore[attr-defined]  # what the addresses point at must live as long
    return call


def _stream(device: int) -> int:
    return int(torch._C._cuda_getCurrentRawStream(device))
