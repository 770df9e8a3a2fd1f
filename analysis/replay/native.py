"""Elementwise chains as one compiled loop: every vector is read and written once.

A dozen elementwise kernels make a dozen passes over memory. This writes the chain as a C
loop, compiles it with a C compiler, the system's or one that pip installs (a fraction of a
second, remembered on disk), and calls it through ctypes. Only operations that IEEE 754 defines to the last bit are
taken, without contraction to fused multiply-adds, so the bits are those of PyTorch's own
kernels (but for the square root, where PyTorch may call a library that rounds the last bit
otherwise; ours is the correctly rounded one). Each compiled chain is held against the
kernels on random numbers before it is used. Without a compiler (``SUITE_NATIVE=0`` asks for
that) the chain runs kernel by kernel over blocks, with the same bits (``analysis.replay.blocks``),
or, where its rows are long, as fewer operations that PyTorch has fused, in which the last bits
differ (``analysis.replay.composites``).
On a GPU the loop is a CUDA kernel (``analysis.replay.native_cuda``), or the kernels run one by one.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from analysis.replay import native_cuda
from analysis.replay.blocks import Kernel, blocked
from analysis.replay.composites import composed
from analysis.replay.folders import cache_folder
from analysis.replay.machine import processor

if TYPE_CHECKING:
    from analysis.replay.chains import Chain
    from analysis.replay.recorder import Op

aten = torch.ops.aten
Form = Literal["compiled", "known", "uncompiled", "kernels"]  # known: compiled earlier on this machine
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")

_TEMPLATES: dict[Any, str] = {
    aten.add.Tensor: "{0} + {1}",
    aten.sub.Tensor: "{0} - {1}",
    aten.rsub.Scalar: "{1} - {0}",
    aten.mul.Tensor: "{0} * {1}",
    aten.div.Tensor: "{0} / {1}",
    aten.neg.default: "-{0}",
    aten.abs.default: "ABS({0})",
    aten.sqrt.default: "SQRT({0})",
    aten.rsqrt.default: "RSQRT({0})",
    aten.reciprocal.default: "1 / {0}",
    aten.sign.default: "(REAL)(({0} > 0) - ({0} < 0))",
    aten.gt.Scalar: "{0} > {1}",
    aten.gt.Tensor: "{0} > {1}",
    aten.ge.Scalar: "{0} >= {1}",
    aten.ge.Tensor: "{0} >= {1}",
    aten.lt.Scalar: "{0} < {1}",
    aten.lt.Tensor: "{0} < {1}",
    aten.le.Scalar: "{0} <= {1}",
    aten.le.Tensor: "{0} <= {1}",
    aten.where.self: "{0} ? {1} : {2}",
    aten.threshold_backward.default: "{1} <= {2} ? 0 : {0}",
    aten.sigmoid_backward.default: "{0} * (1 - {1}) * {1}",
    aten.tanh_backward.default: "{0} * FMA(-{1}, {1}, (REAL)1)",  # as PyTorch is compiled
}
_FUSED = {aten.tanh_backward.default}  # which only a compiler can round as PyTorch does


def supported(op: Op) -> bool:
    """Whether the chain compiler knows an operation, with these arguments."""
    cuda = bool(op.outs) and op.outs[0].is_cuda  # which has a compiler of its own
    if op.func in _FUSED and (_form.get() in ("uncompiled", "kernels") or (compiler() is None and not cuda)):
        return False
    if op.func not in _TEMPLATES or op.kwargs.get("alpha", 1) != 1 or len(op.args) > 3:
        return False
    return not set(op.kwargs) - {"alpha"} and all(isinstance(a, Tensor | float | int) for a in op.args)


@dataclass
class Spent:
    """What the compiler took in this process so far."""

    seconds: float = 0.0


spent = Spent()
_form: ContextVar[Form] = ContextVar("form", default="compiled")


@contextmanager
def used(form: Form) -> Iterator[None]:
    """Tapes that are recorded inside run their chains in this form, or a plainer one where it cannot be had."""
    before = _form.set(form)
    try:
        yield
    finally:
        _form.reset(before)


def calls(chain: Chain) -> list[Kernel]:
    """The chain in the quickest form that can be had here."""
    form = _form.get()
    call = compiled(chain) if form in ("compiled", "known") else None
    plain = form == "kernels" or chain.ops[0].outs[0].is_cuda
    if call is None and not plain and not any(op.func in _FUSED for op in chain.ops):
        call = (composed(chain) if form == "uncompiled" or compiler() is None else None) or blocked(chain)
    return [op.kernel() for op in chain.ops] if call is None else [call]


def compiled(chain: Chain) -> Kernel | None:
    """The chain as one call, or None where it cannot be had."""
    program = Program(chain)
    if program.real is None or (_form.get() == "known" and not program.cuda and not _known(program.source)):
        return None
    if program.cuda:
        function = native_cuda.function(program.source, chain.ops[0].outs[0].device.index)
    else:
        function = _function(program.source)
    if function is None or not _trusted(program.source, program, function):
        return None
    return program.bind(function)


class Program:
    """The text of a chain, in C or CUDA, and the operands in the order in which the text takes them."""

    def __init__(self, chain: Chain, cuda: bool | None = None) -> None:
        self.ops = chain.ops
        self.cuda = chain.ops[0].outs[0].is_cuda if cuda is None else cuda
        self.rows, self.columns = chain.ops[0].outs[0].size()
        self.matrices: list[Tensor] = []  # operands [lanes, n] that are read before they are written
        self.scalars: list[Tensor] = []  # operands of one number (per lane)
        self.results: list[Tensor] = []
        reals = {t.dtype for op in chain.ops for t in (*op.tensors, *op.outs)} - {torch.bool}
        self.real = {torch.float32: "float", torch.float64: "double"}.get(reals.pop()) if len(reals) == 1 else None
        self._names: dict[tuple[Any, ...], str] = {}
        self.lines = [self._line(i, op) for i, op in enumerate(chain.ops)] if self.real else []
        self.stored = self._kept(chain) if self.real else []  # the names of what the results get
        self.source = "" if not self.real else native_cuda.text(self) if self.cuda else self._text()

    @staticmethod
    def _place(tensor: Tensor) -> tuple[Any, ...]:
        return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.size(), tensor.stride()

    def _line(self, i: int, op: Op) -> str:
        operands = [self._operand(value) for value in op.args]
        self._names[self._place(op.outs[0])] = f"v{i}"
        template = _TEMPLATES[op.func]
        if self.cuda and op.func is aten.div.Tensor and not isinstance(op.args[1], Tensor):
            template = "{0} * (1 / {1})"  # as PyTorch's kernel divides by a number there
        return f"{self.kind_of(op.outs[0])} v{i} = {template.format(*operands)};"

    def _operand(self, value: Any) -> str:
        if not isinstance(value, Tensor):
            return f"((REAL){float(value)!r})"
        place = self._place(value)
        if place not in self._names:
            whole = value.size() == (self.rows, self.columns)
            if whole:
                self._names[place] = f"x{len(self.matrices)}"
                self.matrices.append(value)
            else:
                self._names[place] = f"s{len(self.scalars)}"
                self.scalars.append(value)
        return self._names[place]

    def _kept(self, chain: Chain) -> list[str]:
        """The names of the last value of each storage that is wanted afterwards."""
        last = {self._place(op.outs[0]): op.outs[0] for op in chain.ops}
        kept = {place: out for place, out in last.items() if place[0] in chain.keep}
        self.results += kept.values()
        return [self._names[place] for place in kept]

    @staticmethod
    def type_of(tensor: Tensor) -> str:
        """The type of a tensor's numbers in memory."""
        return "unsigned char" if tensor.dtype == torch.bool else "REAL"

    @staticmethod
    def kind_of(tensor: Tensor) -> str:
        """The type of a tensor's numbers at work."""
        return "int" if tensor.dtype == torch.bool else "REAL"

    def pointer(self, i: int) -> str:
        """The name of where an operand's row begins: p of a matrix, q of a number, y of a result."""
        for letter, tensors in (("p", self.matrices), ("q", self.scalars), ("y", self.results)):
            if i < len(tensors):
                return f"{letter}{i}"
            i -= len(tensors)
        raise IndexError(i)

    def _text(self) -> str:
        pointers = [
            f"{self.type_of(t)}* {self.pointer(i)} = ({self.type_of(t)}*)at[{i}] + i * stride[{i}];"
            for i, t in enumerate(self.operands())
        ]
        pointers += [f"const {self.kind_of(t)} s{i} = *q{i};" for i, t in enumerate(self.scalars)]
        loads = [f"{self.kind_of(t)} x{i} = p{i}[j];" for i, t in enumerate(self.matrices)]
        stores = [f"y{i}[j] = {name};" for i, name in enumerate(self.stored)]
        body = "\n      ".join([*loads, *self.lines, *stores])
        suffix = "f" if self.real == "float" else ""
        return f"""#include <math.h>
#define REAL {self.real}
#define SQRT sqrt{suffix}
#define RSQRT(x) (1 / SQRT(x))
#define ABS fabs{suffix}
#define FMA fma{suffix}
#ifdef __clang__
#define NO_ALIASES _Pragma("clang loop vectorize(assume_safety)")
#else
#define NO_ALIASES _Pragma("GCC ivdep")
#endif
void chain(long rows, long columns, void** at, const long* stride) {{
  for (long i = 0; i < rows; i++) {{
    {(chr(10) + "    ").join(pointers)}
    NO_ALIASES
    for (long j = 0; j < columns; j++) {{
      {body}
    }}
  }}
}}
"""

    def operands(self) -> list[Tensor]:
        return [*self.matrices, *self.scalars, *self.results]

    def bind(self, function: Any, operands: list[Tensor] | None = None) -> Kernel:
        """The call on the operands' fixed addresses (or on others in their place)."""
        tensors = operands or self.operands()
        if self.cuda:
            return native_cuda.bound(function, self.rows, self.columns, tensors)
        addresses = (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))
        strides = (ctypes.c_long * len(tensors))(*(t.stride(0) if t.dim() == 2 and len(t) > 1 else 0 for t in tensors))
        return partial(function, self.rows, self.columns, addresses, strides)


def _exact_sqrt(x: Tensor) -> Tensor:
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.sqrt(x.numpy()))


_EXACT_ON_CPU = {aten.sqrt.default: _exact_sqrt, aten.rsqrt.default: lambda x: 1 / _exact_sqrt(x)}
_verdicts: dict[str, bool] = {}
_failed: set[tuple[str, ...]] = set()  # commands of compilers that are there and do not work


def _trusted(source: str, program: Program, function: Any) -> bool:
    """Whether a compiled chain gives PyTorch's bits on random numbers; looked at once per process."""
    if source not in _verdicts:
        stream = torch.Generator().manual_seed(0)
        exact = {} if program.cuda else _EXACT_ON_CPU
        fresh: dict[tuple[Any, ...], Tensor] = {}
        for tensor in program.operands()[: len(program.matrices) + len(program.scalars)]:
            drawn = torch.empty(tensor.size(), dtype=torch.float64).normal_(generator=stream)
            drawn = drawn > 0 if tensor.dtype == torch.bool else drawn.to(tensor.dtype)
            fresh[program._place(tensor)] = _laid_as(tensor, drawn)
        inputs = list(fresh.values())
        results = [_laid_as(t, torch.zeros(t.size(), dtype=t.dtype)) for t in program.results]
        for op in program.ops:
            args = [fresh[program._place(a)] if isinstance(a, Tensor) else a for a in op.args]
            fresh[program._place(op.outs[0])] = exact.get(op.func, op.func)(*args, **op.kwargs)
        program.bind(function, [*inputs, *results])()
        wanted = [fresh[program._place(t)] for t in program.results]
        _verdicts[source] = all(
            torch.equal(torch.nan_to_num(a.double()), torch.nan_to_num(b.double()))
            for a, b in zip(results, wanted, strict=True)
        )
        if not _verdicts[source]:
            _tell()
    return _verdicts[source]


def _laid_as(tensor: Tensor, content: Tensor) -> Tensor:
    """The content in memory of its own that is laid out as a tensor's is, and where that lies."""
    if 0 in tensor.stride():  # one number for all, which cannot be written as many
        return content.to(tensor.device)
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device).copy_(content)


@cache
def _tell() -> None:
    print("a compiled chain differs from PyTorch's kernels; these are used instead", file=sys.stderr)


def _known(source: str) -> bool:
    """Whether a C text was compiled earlier on this machine."""
    command = compiler()
    return command is not None and _library(source, command).exists()


def _library(source: str, command: Sequence[str]) -> Path:
    name = hashlib.sha256("\n".join([source, *command, *FLAGS, _machine()]).encode()).hexdigest()[:20]
    return cache_folder() / "native" / f"{name}.so"


@cache
def _function(source: str) -> Any:
    """The compiled function of a C text, from the cache folder or built now; None without a compiler."""
    command = compiler()
    if command is None:
        return None
    try:
        library = _library(source, command)
        if not library.exists():
            began = time.perf_counter()
            _build(command, source, library)
            spent.seconds += time.perf_counter() - began
        function = ctypes.CDLL(str(library)).chain
    except (OSError, subprocess.SubprocessError, AttributeError):
        _failed.add(tuple(command))  # it would with the next chain, and take as long
        return _function.__wrapped__(source)
    pointers = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_long)
    function.argtypes = [ctypes.c_long, ctypes.c_long, *pointers]
    function.restype = None
    return function


def compiler() -> list[str] | None:
    """The command of a C compiler that works: ``CC``, the system's, or the package ziglang's; None without one."""
    if os.environ.get("SUITE_NATIVE") == "0":
        return None
    wanted = os.environ.get("CC")
    commands = []
    for words in [shlex.split(wanted)] if wanted else [["cc"], ["gcc"], ["clang"]]:
        found = shutil.which(words[0])
        if found is not None and not _stub(found):
            commands.append([found, *words[1:]])
    if wanted is None and importlib.util.find_spec("ziglang") is not None:
        commands.append([sys.executable, "-m", "ziglang", "cc"])
    return next((command for command in commands if tuple(command) not in _failed), None)


@cache
def _stub(command: str) -> bool:
    """Whether a command is one of those with which macOS only offers, in a window, to install developer tools."""
    if sys.platform != "darwin" or os.path.dirname(command) != "/usr/bin":
        return False
    return subprocess.run(["xcode-select", "-p"], capture_output=True).returncode != 0


def _build(command: Sequence[str], source: str, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        text, made = os.path.join(folder, "chain.c"), os.path.join(folder, "chain.so")
        with open(text, "w") as file:
            file.write(source)
        subprocess.run([*command, *FLAGS, text, "-o", made, "-lm"], check=True, capture_output=True, timeout=60)
        os.replace(made, library)


@cache
def _machine() -> str:
    """What ``-march=native`` stands for: a cache folder may be shared by unlike machines."""
    return processor()
