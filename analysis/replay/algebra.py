"""Elementwise chains as few of PyTorch's fused operations: a·x + y and x + c·a·b are one pass each, not two or three.

A value of a chain is kept as scale · base, of which nothing is computed before it has to be. The
scale is one number per lane, so products and quotients of numbers and roots of them are Python's
arithmetic, once per step. The base is a vector, or a product, a quotient or a reciprocal of
vectors, which ``addcmul`` and ``addcdiv`` take in as they are. A root is 1 / (1 / √x), for division
by it is a product then, and PyTorch's square root takes longer than both.

This is real arithmetic: the last bits are not those of the recorded operations. Where it would not hold
(a scale that something is divided by is 0 or not finite, or leaves the range of the type),
``Numbers.of`` refuses the lane's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from analysis.replay.chains import Chain
    from analysis.replay.recorder import Kernel, Op

aten = torch.ops.aten
LEAST, MOST = 1e-30, 1e30  # sizes of the scales that are computed: neither under- nor overflow, nor do their products
ONE = 0  # the index of the number 1
Place = tuple[Any, ...]


class Numbers:
    """The numbers of a lane, by their index: constants, those in memory, and what Python computes of them.

    Calls look them up in ``now``, or in ``tensors``, which PyTorch takes in half the time where it would make one.
    """

    def __init__(self, real: torch.dtype) -> None:
        self.real = real
        self.now: list[float] = [1.0]
        self.tensors: list[Tensor] = []
        self._constants: dict[str, int] = {repr(1.0): ONE}
        self._memory: dict[int, tuple[int, Any]] = {}
        self._steps: dict[tuple[Callable[[float, float], float], int, int], int] = {}

    def index(self, number: float | Tensor) -> int:
        """The index of a constant, or of a tensor of one number for all lanes or for each."""
        if isinstance(number, Tensor):
            if id(number) not in self._memory:
                self._memory[id(number)] = self._new(), number.detach().reshape(-1).numpy()
            return self._memory[id(number)][0]
        name = repr(float(number))
        if name not in self._constants:
            self._constants[name] = self._new(torch.tensor(number, dtype=self.real).item())  # rounded as kernels do
        return self._constants[name]

    def settle(self) -> None:
        """There are no more."""
        together = torch.empty(len(self.now), dtype=self.real)
        self.tensors, self._array = [*together], together.numpy()

    def _new(self, number: float = math.nan) -> int:
        self.now.append(number)
        return len(self.now) - 1

    def times(self, i: int, j: int) -> int:
        """The index of a product."""
        return j if i == ONE else i if j == ONE else self._step(_times, i, j)

    def over(self, i: int, j: int) -> int:
        """The index of a quotient."""
        return i if j == ONE else self._step(_over, i, j)

    def root(self, i: int) -> int:
        """The index of a square root."""
        return i if i == ONE else self._step(_root, i, ONE)

    def size(self, i: int) -> int:
        """The index of an absolute value."""
        return i if i == ONE else self._step(_size, i, ONE)

    def _step(self, function: Callable[[float, float], float], i: int, j: int) -> int:
        key = function, i, j
        if key not in self._steps:
            self._steps[key] = self._new()
        return self._steps[key]

    def of(self, lane: int) -> None:
        """Put the lane's numbers into ``now``.

        Raises:
            ArithmeticError: one by which something would be divided is 0, or one is not finite or out of range.
        """
        now = self.now
        for at, array in self._memory.values():
            now[at] = float(array.item(lane if array.size > 1 else 0))
        for (function, i, j), at in self._steps.items():
            now[at] = function(now[i], now[j])
        self._array[:] = now


def _regular(number: float) -> float:
    if not LEAST <= abs(number) <= MOST:
        raise ArithmeticError(number)
    return number


def _times(a: float, b: float) -> float:
    return a * b if a == 0 or b == 0 else _regular(a * b)


def _over(a: float, b: float) -> float:
    quotient = a / _regular(b)
    return quotient if a == 0 else _regular(quotient)


def _root(a: float, _: float) -> float:
    if a < 0:
        raise ArithmeticError(a)
    return math.sqrt(_regular(a))


def _size(a: float, _: float) -> float:
    return abs(a)


@dataclass(frozen=True)
class Value:
    """scale · base: ``scale`` is the index of a number, and the base a, a·b, a/b or 1/a, of vectors."""

    scale: int
    kind: Literal["vector", "product", "quotient", "inverse"]
    a: int
    b: int = -1

    @property
    def passes(self) -> int:
        """Over memory, until it is a vector."""
        return (self.scale != ONE) + (self.kind != "vector")


@dataclass(frozen=True)
class Instruction:
    """One pass over memory: ``make(out, numbers, *indices, *operands)`` is the call that does it.

    An operand is a vector, by its index, or a tensor of one number for all lanes or for each.
    """

    make: Callable[..., Kernel]
    operands: tuple[int | Tensor, ...]
    numbers: tuple[int, ...]
    out: int
    dtype: torch.dtype

    @property
    def vectors(self) -> list[int]:
        return [a for a in self.operands if isinstance(a, int)]


def _sum(out: Tensor, s: Numbers, i: int, a: Tensor, b: Tensor) -> Kernel:
    return lambda: torch.add(a, b, alpha=s.now[i], out=out)


def _plus_product(out: Tensor, s: Numbers, i: int, a: Tensor, b: Tensor, c: Tensor) -> Kernel:
    return lambda: torch.addcmul(a, b, c, value=s.now[i], out=out)


def _plus_quotient(out: Tensor, s: Numbers, i: int, a: Tensor, b: Tensor, c: Tensor) -> Kernel:
    return lambda: torch.addcdiv(a, b, c, value=s.now[i], out=out)


def _scaled(out: Tensor, s: Numbers, i: int, a: Tensor) -> Kernel:
    return partial(torch.mul, a, s.tensors[i], out=out)


def _shifted(out: Tensor, s: Numbers, i: int, a: Tensor) -> Kernel:
    return partial(torch.add, a, s.tensors[i], out=out)


def _plain(function: Callable[..., Any]) -> Callable[..., Kernel]:
    return lambda out, _, *vectors: partial(function, *vectors, out=out)


_product, _quotient = _plain(torch.mul), _plain(torch.div)
_inverse, _absolute = _plain(torch.reciprocal), _plain(torch.abs)


def _inverse_root(out: Tensor, _: Numbers, a: Tensor) -> Kernel:
    # The operations and the bits of torch.rsqrt, which PyTorch compiles for AVX-512 here alone: half the time.
    return partial(torch.pow, a, -0.5, out=out)


def _copied(out: Tensor, _: Numbers, a: Tensor) -> Kernel:
    return partial(out.copy_, a)


@dataclass
class Algebra:
    """The instructions of a chain; ``loads`` are the operands that lie in memory, ``stores`` what is kept there."""

    chain: Chain
    real: torch.dtype
    instructions: list[Instruction] = field(default_factory=list)
    loads: dict[int, Tensor] = field(default_factory=dict)  # vector -> where it lies
    stores: dict[int, Tensor] = field(default_factory=dict)  # vector -> where it is wanted afterwards
    _values: dict[Place, Value] = field(default_factory=dict)
    _known: dict[Value, int] = field(default_factory=dict)  # what is a vector already
    _count: int = 0

    def __post_init__(self) -> None:
        self.numbers = Numbers(self.real)
        self._shape = self.chain.ops[0].outs[0].size()
        last = {place(op.outs[0]): op for op in self.chain.ops}
        for op in self.chain.ops:
            out = op.outs[0]
            value = self._value(op)
            if last[place(out)] is op and place(out)[0] in self.chain.keep:
                value = self._store(value, out)
            self._values[place(out)] = value
        self.numbers.settle()

    def _value(self, op: Op) -> Value:
        rule = _RULES.get(op.func)
        matrices = [t for t in (*op.tensors, *op.outs) if t.size() == self._shape]
        if rule is None or any(t.dtype != self.real for t in matrices):
            return self._own(op)
        return rule(self, *(self._operand(a) for a in op.args))

    def _operand(self, value: Any) -> Value | int:
        if not isinstance(value, Tensor) or value.size() != self._shape:
            return self.numbers.index(value)
        at = place(value)
        if at not in self._values:
            self._values[at] = Value(ONE, "vector", self._next())
            self.loads[self._values[at].a] = value
        return self._values[at]

    def _next(self) -> int:
        self._count += 1
        return self._count - 1

    def _emit(
        self, make: Callable[..., Kernel], *operands: int | Tensor, number: int | None = None, dtype: Any = None
    ) -> int:
        numbers = () if number is None else (number,)
        self.instructions.append(Instruction(make, operands, numbers, self._next(), dtype or self.real))
        return self.instructions[-1].out

    def _own(self, op: Op) -> Value:
        """An operation without a rule: its own kernel on vectors, the lanes' numbers as they lie."""
        assert op.out is not None
        function, (name,) = op.out

        def make(out: Tensor, _: Numbers, *operands: Tensor) -> Kernel:
            given = iter(operands)
            args = [next(given) if isinstance(a, Tensor) else a for a in op.args]
            return partial(function, *args, **{name: out})

        tensors = [a for a in op.args if isinstance(a, Tensor)]
        operands = [self._vector(self._operand(a)) if a.size() == self._shape else a for a in tensors]
        return Value(ONE, "vector", self._emit(make, *operands, dtype=op.outs[0].dtype))

    def _store(self, value: Value, out: Tensor) -> Value:
        vector = self._vector(value)
        if vector in self.loads or vector in self.stores:
            vector = self._emit(_copied, vector, dtype=out.dtype)
        self.stores[vector] = out
        return Value(ONE, "vector", vector)

    def _base(self, value: Value) -> int:
        """The base as a vector."""
        if value.kind == "vector":
            return value.a
        key = replace(value, scale=ONE)
        if key not in self._known:
            make = {"product": _product, "quotient": _quotient, "inverse": _inverse}[value.kind]
            self._known[key] = self._emit(make, *((value.a,) if value.kind == "inverse" else (value.a, value.b)))
        return self._known[key]

    def _vector(self, value: Value | int) -> int:
        """The value as a vector."""
        assert isinstance(value, Value)
        base = self._base(value)
        if value.scale == ONE:
            return base
        if value not in self._known:
            self._known[value] = self._emit(_scaled, base, number=value.scale)
        return self._known[value]

    # the rules, of values and indices of numbers -----------------------------------------------

    def times(self, x: Value | int, y: Value | int) -> Value:
        """x · y"""
        if isinstance(x, int):
            x, y = y, x
        assert isinstance(x, Value)
        if isinstance(y, int):
            return replace(x, scale=self.numbers.times(x.scale, y))
        scale = self.numbers.times(x.scale, y.scale)
        if x.kind == "inverse":
            x, y = y, x
        if y.kind == "inverse":
            return Value(scale, "quotient", self._base(x), y.a)
        return Value(scale, "product", self._base(x), self._base(y))

    def over(self, x: Value | int, y: Value | int) -> Value:
        """x / y"""
        if isinstance(y, int):
            assert isinstance(x, Value)
            return replace(x, scale=self.numbers.over(x.scale, y))
        if isinstance(x, int):
            scale = self.numbers.over(x, y.scale)
            return Value(scale, "vector", y.a) if y.kind == "inverse" else Value(scale, "inverse", self._base(y))
        scale = self.numbers.over(x.scale, y.scale)
        if y.kind == "inverse":
            return Value(scale, "product", self._base(x), y.a)
        return Value(scale, "quotient", self._base(x), self._base(y))

    def root(self, x: Value | int) -> Value:
        """√x"""
        assert isinstance(x, Value)
        kind: Literal["vector", "inverse"] = "vector" if x.kind == "inverse" else "inverse"
        inverse = self._emit(_inverse_root, x.a if x.kind == "inverse" else self._base(x))
        return Value(self.numbers.root(x.scale), kind, inverse)

    def plus(self, x: Value | int, y: Value | int) -> Value:
        """x + y"""
        if isinstance(x, int):
            x, y = y, x
        assert isinstance(x, Value)
        if isinstance(y, int):  # s·e + c = s·(e + c/s), and who takes it further has s for nothing
            return Value(x.scale, "vector", self._emit(_shifted, self._base(x), number=self.numbers.over(y, x.scale)))
        if x.passes + (y.kind == "inverse") > y.passes + (x.kind == "inverse"):
            x, y = y, x
        start = self._vector(x)
        if y.kind == "product":
            return Value(ONE, "vector", self._emit(_plus_product, start, y.a, y.b, number=y.scale))
        if y.kind == "quotient":
            return Value(ONE, "vector", self._emit(_plus_quotient, start, y.a, y.b, number=y.scale))
        return Value(ONE, "vector", self._emit(_sum, start, self._base(y), number=y.scale))

    def minus(self, x: Value | int, y: Value | int) -> Value:
        """x − y"""
        if isinstance(y, int):
            return self.plus(x, self.numbers.times(self.numbers.index(-1.0), y))
        return self.plus(x, self.negative(y))

    def negative(self, x: Value | int) -> Value:
        """−x"""
        return self.times(x, self.numbers.index(-1.0))

    def absolute(self, x: Value | int) -> Value:
        """|x|"""
        assert isinstance(x, Value)
        return Value(self.numbers.size(x.scale), "vector", self._emit(_absolute, self._base(x)))


_RULES: dict[Any, Callable[..., Value]] = {
    aten.add.Tensor: Algebra.plus,
    aten.sub.Tensor: Algebra.minus,
    aten.rsub.Scalar: lambda a, x, y: a.minus(y, x),
    aten.mul.Tensor: Algebra.times,
    aten.div.Tensor: Algebra.over,
    aten.neg.default: Algebra.negative,
    aten.abs.default: Algebra.absolute,
    aten.sqrt.default: Algebra.root,
    aten.rsqrt.default: lambda a, x: a.over(ONE, a.root(x)),
    aten.reciprocal.default: lambda a, x: a.over(ONE, x),
}  # what has none (comparisons, where, sign) runs its own kernel


def place(tensor: Tensor) -> Place:
    """What identifies the part of memory that a tensor is."""
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.size(), tensor.stride(), tensor.dtype
