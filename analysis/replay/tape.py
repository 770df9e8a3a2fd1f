"""Record the kernels that a pure function runs, and run them again without Python's share.

An update rule is written as it stands in the book, out of place, for one lane. Lifted by
``vmap`` and differentiated by autograd it costs some ten microseconds of bookkeeping per
operation and a fresh tensor for every intermediate. All of that is the same at every step,
so it is done once: a :class:`Tape` records the ATen operations below autograd and vmap,
drops what does not change from step to step, gives every intermediate a fixed buffer
(several share one where their lifetimes allow, results go straight to where they belong),
and then replays bare kernels. The kernels are the ones that eager PyTorch runs, so the bits
are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.replay import graphs
from analysis.replay.chains import chained
from analysis.replay.native import calls
from analysis.replay.out_forms import OWN_FORMS, out_form
from analysis.replay.products import rerouted
from analysis.replay.steady import steady

aten = torch.ops.aten
_READS_DATA = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.nonzero.default, aten.equal.default}
_ARITHMETIC = {aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor}
_LARGE = 1 << 20  # bytes from which a dead dynamic result is given back at once
_SMALL = 1 << 12  # bytes, such as a number per lane: sharing these saves nothing and would fix the order of operations
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
        return list(_tensors((*self.args, *self.kwargs.values())))

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


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results of an ATen operation, which are nested in tuples and lists at most."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


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
        self._record(Op(func, args, kwargs, list(_tensors(out)), writes))
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


class Tape:
    """The recorded kernels of ``function()``.

    Args:
        function: takes nothing, uses ``inputs``, returns the output tensors.
        inputs: tensors whose contents change between replays; everything else that the
            function touches is taken to be constant.
        into: where each output goes; an entry may be one of the inputs. None leaves an
            output where it is computed.
        reroute: large matrix products may go to another library, whose last bits differ.

    ``outputs`` hold the results after each call.

    Raises:
        Untraceable: the function's kernels depend on the values it computes.
    """

    def __init__(
        self,
        function: Callable[[], Sequence[Tensor]],
        inputs: Sequence[Tensor],
        into: Sequence[Tensor | None] | None = None,
        reroute: bool = False,
    ) -> None:
        recorder = Recorder()
        own_inputs = [recorder.intern(t) for t in inputs]
        with recorder:
            results = list(function())
        results = [recorder.intern(t.detach()) for t in results]
        targets = [None] * len(results) if into is None else [None if t is None else recorder.intern(t) for t in into]
        self.outputs = [r if t is None else t for r, t in zip(results, targets, strict=True)]
        self._views = recorder.views
        self._inputs = {key_of(t) for t in own_inputs}
        ops = _needed(_varying(recorder.ops, self._inputs), results)
        ops = rerouted(ops, recorder.intern) if reroute else ops
        for op in ops:
            if op.call is None and not op.writes:
                op.out = out_form(op.func)
        self._users: dict[int, list[Op]] = {}
        for op in ops:
            for key in {*op.reads, *op.writes}:
                self._users.setdefault(key, []).append(op)
        copies = self._place(ops, results, targets)
        fixed = self._inputs | {key_of(t) for t in (*results, *self.outputs)}
        fixed |= {
            key for op in ops if op.dynamic or op.writes or op.call for key in (*map(key_of, op.outs), *op.writes)
        }
        fixed |= {key for op in ops if op.call for key in op.reads}
        self._share_buffers(ops, fixed)
        device = self.outputs[0].device if self.outputs else torch.device("cpu")
        self.program = graphs.stretches(
            [*self._kernels(ops, fixed), *copies], [op.call for op in ops if op.call is not None], device
        )

    def __call__(self) -> None:
        """Run the kernels on what the inputs hold now."""
        for kernel in self.program:
            kernel()

    # where results go --------------------------------------------------------------------

    def _move(self, old: int, home: Tensor) -> None:
        """Move every view of a storage into the memory of ``home``, from its offset on."""
        views = self._views.pop(old)
        start = min(view.storage_offset() for view in views)
        storage = home.untyped_storage()
        for view in views:
            offset = home.storage_offset() + view.storage_offset() - start
            stride = home.stride() if view.size() == home.size() else view.stride()
            view.set_(storage, offset, view.size(), stride)
        new = storage._cdata
        self._views.setdefault(new, []).extend(views)
        users = self._users.pop(old, [])
        for op in users:
            op.reads = {new if key == old else key for key in op.reads}
        self._users.setdefault(new, []).extend(users)

    def _place(self, ops: list[Op], results: list[Tensor], targets: Sequence[Tensor | None]) -> list[Kernel]:
        """Let results be computed where they are wanted; what cannot is copied at the end."""
        makers = {key_of(op.outs[0]): i for i, op in enumerate(ops) if op.out is not None and len(op.outs) == 1}
        pending = [(result, target) for result, target in zip(results, targets, strict=True) if target is not None]
        where = [key_of(result) for result, _ in pending]
        bound = {key for op in ops if op.call for key in op.reads}  # a call knows its operands by their addresses
        late: list[tuple[Tensor, Tensor]] = []
        for i, (result, target) in enumerate(pending):
            at = makers.get(where[i])
            alone = where.count(where[i]) == 1 and key_of(target) not in where and where[i] not in bound
            if at is not None and alone and self._fits(ops, at, result, target):
                self._move(where[i], target)
            elif not (key_of(result) == key_of(target) and same_view(result, target)):
                late.append((result, target))
        return _copies(late)

    def _fits(self, ops: list[Op], at: int, result: Tensor, target: Tensor) -> bool:
        """Whether operation ``at`` may write its result into ``target`` at once."""
        op, home, views = ops[at], key_of(target), self._views[key_of(result)]
        if result.size() != target.size() or result.dtype != target.dtype:
            return False
        if result.stride() != target.stride() and any(view.size() != result.size() for view in views):
            return False
        if any(home in later.reads or home in later.writes for later in ops[at + 1 :]):
            return False
        in_place = op.pointwise and all(same_view(t, target) for t in op.tensors if key_of(t) == home)
        return home not in op.reads or in_place

    def _share_buffers(self, ops: list[Op], fixed: set[int]) -> None:
        """Let intermediates whose lifetimes do not meet share memory; pointwise results overwrite dying inputs."""
        last = {key: i for i, op in enumerate(ops) for key in (*op.reads, *map(key_of, op.outs))}
        own = {key_of(out) for op in ops for out in op.outs} - fixed
        free: list[int] = []
        for i, op in enumerate(ops):
            dying = [key for key in sorted(op.reads & own) if last[key] == i]
            for out in op.outs:
                key, size = key_of(out), out.untyped_storage().nbytes()
                if key not in own or size < _SMALL:
                    continue
                over = [
                    k for k in dying if op.pointwise and all(same_view(t, out) for t in op.tensors if key_of(t) == k)
                ]
                idle = [k for k in free if size <= self._views[k][0].untyped_storage().nbytes() <= 2 * size]
                if not over and not idle:
                    continue
                home = (over or idle)[0]
                (dying if over else free).remove(home)
                whole = torch.empty(0, dtype=out.dtype, device=out.device)
                whole.set_(self._views[home][0].untyped_storage(), 0, (0,), (1,))
                self._move(key, whole)
                own.discard(key)
                last[home] = last.pop(key)
            free += dying
            free += [k for k in {key_of(out) for out in op.outs} & own if last[k] == i and k not in free]

    def _kernels(self, ops: list[Op], fixed: set[int]) -> list[Kernel]:
        """The program: chains of pointwise operations as one call, and every other operation by itself."""
        last = {key: i for i, op in enumerate(ops) for key in (*op.reads, *map(key_of, op.outs))}
        dynamic = {key_of(out) for op in ops if op.dynamic for out in op.outs}
        outputs = {key_of(t) for t in self.outputs}
        program: list[Kernel] = []
        for item in chained(ops, dynamic, fixed):
            if not isinstance(item, int):
                program += calls(item)
                continue
            op = ops[item]
            program += [self._adopting(op)] if op.dynamic else steady(op, dynamic) or [op.kernel()]
            for key in dynamic & {*op.reads, *map(key_of, op.outs)} - outputs:
                views = self._views[key]
                if last[key] == item and views[0].untyped_storage().nbytes() >= _LARGE:
                    program.append(partial(_release, views))
        return program

    def _adopting(self, op: Op) -> Kernel:
        """The kernel of an operation without an ``out`` form: its results are adopted, not copied."""
        run = op.kernel()
        adopters = [
            [(v, v.storage_offset(), v.size(), v.stride()) for v in self._views[key_of(out)]] for out in op.outs
        ]

        def kernel() -> None:
            for result, views in zip(_tensors(run()), adopters, strict=True):
                storage = result.untyped_storage()
                for view, offset, size, stride in views:
                    view.set_(storage, offset, size, stride)

        return kernel


def _varying(ops: list[Op], inputs: set[int]) -> list[Op]:
    """The operations whose results differ between replays; the others' results stay as recorded."""
    changing = inputs | {key for op in ops for key in op.writes}
    kept = []
    for op in ops:
        outs = {key_of(out) for out in op.outs}
        random = op.call is None and torch.Tag.nondeterministic_seeded in op.func.tags
        if not (op.call or random or (op.reads | outs) & changing):
            continue
        changing |= outs
        if op.call or op.writes or not outs <= op.reads:  # else it is a view, which is there already
            kept.append(op)
    return kept


def _needed(ops: list[Op], results: Iterable[Tensor]) -> list[Op]:
    """The operations that the results depend on, and all calls: what they fill is looked at from outside."""
    needed = {key_of(t) for t in results}
    kept = []
    for op in reversed(ops):
        if op.call or needed & ({key_of(out) for out in op.outs} | op.writes):
            needed |= op.reads
            kept.append(op)
    return kept[::-1]


def _copies(late: list[tuple[Tensor, Tensor]]) -> list[Kernel]:
    """Copies to be made at the end, none of which may overwrite what another still has to read."""
    homes = {key_of(target) for _, target in late}
    first: list[Kernel] = []
    then: list[Kernel] = []
    for result, target in late:
        if key_of(result) in homes:
            saved = torch.empty_like(result)
            first.append(partial(saved.copy_, result))
            result = saved
        then.append(partial(target.copy_, result))
    return first + then


def _release(views: list[Tensor]) -> None:
    for view in views:
        view.set_(torch.UntypedStorage(0, device=view.device), 0, (0,), (1,))
