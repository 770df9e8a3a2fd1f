"""Listening to the ATen operations that a function runs, below autograd and vmap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.replay.out_forms import OWN_FORMS

aten = torch.ops.aten
_READS_DATA = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.nonzero.default, aten.equal.default}
_ARITHMETIC = {aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor}
Kernel = Callable[[], Any]


class Untraceable(RuntimeError):
    """The function looks at values (``if loss < best``, ``.item()``), so its kernels may differ at each step."""


@dataclass(eq=False)
class Op:
    """One recorded operation on interned tensors.

    ``out`` is its form that writes into given tensors, as (function, argument names);
    ``call`` a Python action that fills ``outs`` in place of an ATen operation.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outs: list[Tensor]
    writes: set[int] = field(default_factory=set)  # storages that it changes in place
    reads: set[int] = field(default_factory=set)
    call: Kernel | None = None
    out: tuple[Any, tuple[str, ...]] | None = None

    @property
    def pointwise(self) -> bool:
        return self.out is not None and torch.Tag.pointwise in self.func.tags

    @property
    def dynamic(self) -> bool:
        """Whether its results are new tensors at each replay."""
        return self.out is None and self.call is None and not self.writes

    @property
    def tensors(self) -> list[Tensor]:
        return list(tensors_in((*self.args, *self.kwargs.values())))

    def kernel(self) -> Kernel:
        """The operation with its arguments, ready to be called."""
        if self.call is not None:
            return self.call
        if self.out is None:
            return partial(self.func, *self.args, **self.kwargs)
        func, names = self.out
        arguments = self.args
        if self.pointwise and func not in OWN_FORMS.values():
            # The functions in torch parse their arguments in half the time that torch.ops takes, and
            # a number that is a tensor already need not be made one each time: 2 of 5 microseconds.
            func = getattr(torch, self.func.overloadpacket.__name__, func)
            if self.func in _ARITHMETIC:
                arguments = tuple(torch.tensor(a, dtype=torch.float64) if type(a) is float else a for a in arguments)
        return partial(func, *arguments, **self.kwargs, **dict(zip(names, self.outs, strict=True)))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results of an ATen operation, which are nested in tuples and lists at most."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


def key_of(tensor: Tensor) -> int:
    """What identifies the memory of a tensor."""
    return tensor.untyped_storage()._cdata


def same_view(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors lie alike, each in its own memory."""
    alike = a.size() == b.size() and a.stride() == b.stride() and a.dtype == b.dtype
    return alike and int(a.storage_offset()) == int(b.storage_offset())


class Recorder(TorchDispatchMode):
    """Listens below autograd and vmap. ``current`` is the one at work, if any."""

    current: Recorder | None = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.ops: list[Op] = []
        self.views: dict[int, list[Tensor]] = {}  # storage -> every view of it that an operation uses
        self._interned: dict[tuple[Any, ...], Tensor] = {}
        self._alive: list[Tensor] = []
        self._paused = False
        self.depth = 0  # of loops that are being recorded, whose operations may run several times or never
        self.varies = False  # whether there are such loops
        self.pending: list[Kernel] = []  # what is to be done when the recording is over

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No compiler runs in here; to say so at each operation, torch would import it first (0.7 seconds)."""
        return False

    def __enter__(self) -> Recorder:
        super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self._outer, Recorder.current = Recorder.current, self
        return self

    def __exit__(self, *error: Any) -> None:
        Recorder.current = self._outer
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch leaves it unannotated

    def intern(self, tensor: Tensor) -> Tensor:
        """A tensor of our own over the same memory, which may later be moved elsewhere by ``set_``."""
        storage = tensor.untyped_storage()
        key = (storage._cdata, tensor.storage_offset(), tensor.size(), tensor.stride(), tensor.dtype)
        if key not in self._interned:
            paused, self._paused = self._paused, True
            own = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            own.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())
            self._paused = paused
            self._interned[key] = own
            self.views.setdefault(storage._cdata, []).append(own)
            self._alive.append(tensor)  # else its address could be given to another while we record
        return self._interned[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        if func in _READS_DATA:
            raise Untraceable(f"{func} reads a value")
        out = func(*args, **kwargs)
        arguments = func._schema.arguments
        given = [*zip(arguments, args, strict=False), *((a, kwargs.get(a.name)) for a in arguments[len(args) :])]
        writes = {key_of(v) for a, v in given if a.alias_info and a.alias_info.is_write and isinstance(v, Tensor)}
        self._record(Op(func, args, kwargs, list(tensors_in(out)), writes))
        return out

    def _record(self, op: Op) -> None:
        def own(value: Any) -> Any:  # what arguments of ATen operations are made of, in a fifth of tree_map's time
            if isinstance(value, Tensor):
                return self.intern(value)
            return type(value)(own(v) for v in value) if isinstance(value, tuple | list) else value

        op.args, op.outs = own(tuple(op.args)), own(op.outs)
        op.kwargs = {name: own(value) for name, value in op.kwargs.items()}
        op.reads |= {key_of(t) for t in op.tensors}
        self.ops.append(op)

    def call(self, inputs: Sequence[Tensor], make: Callable[..., tuple[Kernel, list[Tensor]]]) -> list[Tensor]:
        """Record a Python action: ``make(*inputs)`` gives it and the fixed tensors that it fills."""
        self._paused = True
        try:
            action, outputs = make(*(self.intern(t) for t in inputs))
        finally:
            self._paused = False
        self._record(Op(None, (), {}, outputs, reads={key_of(t) for t in inputs}, call=action))
        return outputs
