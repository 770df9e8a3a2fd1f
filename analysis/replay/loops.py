"""Loops that end when no lane goes on, in steps that are recorded and in steps that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from analysis.replay.out_forms import out_form
from analysis.replay.recorder import Op, Recorder, key_of
from analysis.replay.tape import Tape, made_by

Body = Callable[[Any, Tensor], tuple[Any, Tensor]]  # (state, active) -> both after a round


def repeat(body: Body, state: Any, active: Tensor, most: int) -> Any:
    """The state after rounds of ``state, active = body(state, active)`` until no lane is active, ``most`` at most.

    Args:
        body: leaves lanes as they are that are not active, for it runs as long as any is. On a tape its kernels are
            recorded once and replayed each round, so it looks at no values and counts nothing in Python.
        state: a tree of tensors.
        active: a 0-dim condition.
    """
    recorder = Recorder.current
    if recorder is None:
        for _ in range(most):
            if not physical(active).any():
                break
            state, active = body(state, active)
        return state
    leaves, tree = tree_flatten((ordered(state), active))
    everyone = active | ~active
    places = [torch.where(everyone, leaf, leaf) for leaf in leaves]  # copies, in which every lane has its own
    start = len(recorder.ops)
    recorder.depth += 1
    try:
        state, active = body(*tree_unflatten(places, tree))
        new, kind = tree_flatten((ordered(state), active))
        if kind != tree:
            raise TypeError(f"a round must return a state of the form that it was given, {tree}; got {kind}")
        moved = [(place, leaf) for place, leaf in zip(places, new, strict=True) if leaf is not place]
        homes = {key_of(physical(place)) for place in places}
        fresh = [leaf.clone() if key_of(physical(leaf)) in homes else leaf for _, leaf in moved]
        for (place, _), leaf in zip(moved, fresh, strict=True):
            place.copy_(leaf)
    finally:
        recorder.depth -= 1
    _fold(recorder, start, [physical(place) for place in places], most)
    return tree_unflatten(places, tree)[0]


def ordered(state: Any) -> Any:
    """A state with the keys of its dictionaries in one order, whatever order they were written in."""
    if isinstance(state, dict):
        return {key: ordered(state[key]) for key in sorted(state, key=str)}
    if isinstance(state, list | tuple) and not hasattr(state, "_fields"):
        return type(state)(ordered(value) for value in state)
    return state


def physical(tensor: Tensor) -> Tensor:
    """The tensor of all lanes that stands behind one lane's under vmap."""
    while torch._C._functorch.is_batchedtensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _fold(recorder: Recorder, start: int, places: list[Tensor], most: int) -> None:
    """Put one operation, which replays them, in place of those that were recorded since ``start``."""
    before, ops = recorder.ops[:start], recorder.ops[start:]
    recorder.varies = True
    made, own = made_by(ops), {key_of(place) for place in places}
    replaced = made_by(op for op in before if not (op.call or op.writes or out_form(op.func)))
    active = places[-1]
    tapes: list[Tape] = []
    recorder.pending.append(lambda: tapes.append(Tape.of(recorder, ops, places, replaced)))

    def action() -> None:
        for _ in range(most):
            if not active.any():
                break
            tapes[0]()

    reads = {key for op in ops for key in op.reads} - made
    recorder.ops[start:] = [Op(None, (), {}, [recorder.intern(t) for t in places], own, reads, call=action)]
