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

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from analysis.replay import graphs
from analysis.replay.chains import chained
from analysis.replay.native import calls
from analysis.replay.out_forms import out_form
from analysis.replay.products import rerouted
from analysis.replay.recorder import Kernel, Op, Recorder, key_of, same_view, tensors_in
from analysis.replay.steady import steady

_LARGE = 1 << 20  # bytes from which a dead dynamic result is given back at once
_SMALL = 1 << 12  # bytes, such as a number per lane: sharing these saves nothing and would fix the order of operations


class Tape:
    """The recorded kernels of ``function()``.

    Args:
        function: takes nothing, uses ``inputs``, returns the output tensors.
        inputs: tensors whose contents change between replays; everything else that the
            function touches is taken to be constant.
        into: where each output goes; an entry may be one of the inputs. None leaves an
            output where it is computed.
        reroute: large matrix products may go to another library, whose last bits differ.

    ``outputs`` hold the results after each call; ``varies`` says whether there are loops among the kernels, which
    take as many rounds as they need.

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
        for settle in recorder.pending:
            settle()
        results = [recorder.intern(t.detach()) for t in results]
        targets = [None] * len(results) if into is None else [None if t is None else recorder.intern(t) for t in into]
        self._settle(recorder, recorder.ops, own_inputs, results, targets, reroute)

    @classmethod
    def of(cls, recorder: Recorder, ops: list[Op], places: Sequence[Tensor], dynamic: set[int]) -> Tape:
        """Operations of a recording that still goes on; all that others have made may change between replays.

        Args:
            places: tensors that the operations write, and that hold their contents from one replay to the next.
            dynamic: storages that others replace at each replay.
        """
        tape, own = cls.__new__(cls), [recorder.intern(t) for t in places]
        made = made_by(ops)
        inputs = [t for op in ops for t in op.tensors if key_of(t) not in made]
        inputs += [recorder.views[key][0] for op in ops if op.call for key in op.reads - made]
        tape._settle(recorder, ops, [*inputs, *own], own, [None] * len(own), dynamic=dynamic)
        return tape

    def _settle(
        self,
        recorder: Recorder,
        ops: list[Op],
        inputs: Sequence[Tensor],
        results: list[Tensor],
        targets: Sequence[Tensor | None],
        reroute: bool = False,
        dynamic: Collection[int] = (),
    ) -> None:
        """Make the program of recorded operations."""
        self.varies = recorder.varies
        self.outputs = [r if t is None else t for r, t in zip(results, targets, strict=True)]
        self._views = recorder.views
        self._inputs = {key_of(t) for t in inputs}
        ops = _needed(_varying(ops, self._inputs), results)
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
        placed = self._read_beyond(ops, results) if graphs.captures(device) else set()
        kernels = [*self._kernels(ops, fixed, dynamic, placed), *copies]
        self.program = graphs.stretches(kernels, [op.call for op in ops if op.call is not None], device)

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
        free: dict[int, deque[int]] = {}  # bytes -> storages of that size that are idle; few sizes, maybe many of each
        for i, op in enumerate(ops):
            dying = [key for key in sorted(op.reads & own) if last[key] == i]
            for out in op.outs:
                key, size = key_of(out), out.untyped_storage().nbytes()
                if key not in own or size < _SMALL:
                    continue
                over = [
                    k for k in dying if op.pointwise and all(same_view(t, out) for t in op.tensors if key_of(t) == k)
                ]
                idle = next((some for held, some in free.items() if some and size <= held <= 2 * size), None)
                if over:
                    home = over[0]
                    dying.remove(home)
                elif idle:
                    home = idle.popleft()
                else:
                    continue
                whole = torch.empty(0, dtype=out.dtype, device=out.device)
                whole.set_(self._views[home][0].untyped_storage(), 0, (0,), (1,))
                self._move(key, whole)
                own.discard(key)
                last[home] = last.pop(key)
            unread = [k for k in {key_of(out) for out in op.outs} & own if last[k] == i and k not in dying]
            for key in (*dying, *unread):
                free.setdefault(self._views[key][0].untyped_storage().nbytes(), deque()).append(key)

    def _read_beyond(self, ops: list[Op], results: Iterable[Tensor]) -> set[int]:
        """Storages of results without an ``out`` form that are read beyond the next action, or from outside.

        A graph knows addresses, so these must stay where they are; within one graph all results do.
        """
        made: dict[int, int] = {}  # storage -> after how many actions
        found, actions = set(), 0
        for op in ops:
            found |= {key for key in op.reads | op.writes if op.call or made.get(key, actions) != actions}
            actions += op.call is not None
            if op.dynamic:
                made |= {key_of(out): actions for out in op.outs}
        found |= {key_of(t) for t in results if made.get(key_of(t)) != actions} | {key_of(t) for t in self.outputs}
        return found & made.keys()

    def _kernels(
        self, ops: list[Op], fixed: set[int], replaced: Collection[int], placed: Collection[int]
    ) -> list[Kernel]:
        """The program: chains of pointwise operations as one call, and every other operation by itself.

        Args:
            replaced: storages that others replace at each replay.
            placed: storages of results without an ``out`` form that must stay where they are.
        """
        last = {key: i for i, op in enumerate(ops) for key in (*op.reads, *map(key_of, op.outs))}
        own = {key_of(out) for op in ops if op.dynamic for out in op.outs}.difference(placed)
        dynamic = own.union(replaced)
        outputs = {key_of(t) for t in self.outputs}
        program: list[Kernel] = []
        for item in chained(ops, dynamic, fixed):
            if not isinstance(item, int):
                program += calls(item)
                continue
            op = ops[item]
            program += [self._adopting(op, placed)] if op.dynamic else steady(op, dynamic) or [op.kernel()]
            for key in own & {*op.reads, *map(key_of, op.outs)} - outputs:
                views = self._views[key]
                if last[key] == item and views[0].untyped_storage().nbytes() >= _LARGE:
                    program.append(partial(_release, views))
        return program

    def _adopting(self, op: Op, placed: Collection[int]) -> Kernel:
        """The kernel of an operation without an ``out`` form: its results are adopted, or copied where they must be."""
        run = op.kernel()
        adopters = [
            [(v, v.storage_offset(), v.size(), v.stride()) for v in self._views[key_of(out)]] for out in op.outs
        ]
        homes = [out if key_of(out) in placed else None for out in op.outs]

        def kernel() -> None:
            for result, home, views in zip(tensors_in(run()), homes, adopters, strict=True):
                if home is not None:
                    home.copy_(result)
                    continue
                storage = result.untyped_storage()
                for view, offset, size, stride in views:
                    view.set_(storage, offset, size, stride)

        return kernel


def made_by(ops: Iterable[Op]) -> set[int]:
    """The storages that operations make, those aside that they only view or change."""
    return {key for op in ops for key in {key_of(out) for out in op.outs} - op.reads - op.writes}


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
