"""A digest of what tensors hold, computed once in a process for each."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LENGTH = 16  # characters


def digest(tensors: Sequence[Tensor]) -> str:
    """SHA-256, shortened, of the types, shapes and numbers of tensors; floating-point ones count as float32.

    It is remembered for as long as they, or the tensors that they are views of, live and are not changed.
    """
    node = _root()
    for tensor in tensors:
        node = node.then(tensor)
    return node.state.hexdigest()[:LENGTH]


class _Node:
    """The digest of some tensors, and those of these and one more."""

    def __init__(self, state: Any) -> None:
        from torch.utils.weak import WeakTensorKeyDictionary

        self.state = state
        self.after: MutableMapping[Tensor, dict[Any, _Node]] = WeakTensorKeyDictionary()

    def then(self, tensor: Tensor) -> _Node:
        if tensor.is_inference():  # which does not count its changes
            return _Node(_with(self.state, tensor))
        owner = tensor if tensor._base is None else tensor._base
        place = tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor._version
        known = self.after.setdefault(owner, {})
        if place not in known:
            known[place] = _Node(_with(self.state, tensor))
        return known[place]


@cache
def _root() -> _Node:
    return _Node(hashlib.sha256())


def _with(state: Any, tensor: Tensor) -> Any:
    """The digest of what a state has seen, and of a tensor after it."""
    found = state.copy()
    plain = (tensor.float() if tensor.is_floating_point() else tensor).cpu().contiguous()
    found.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
    found.update(plain.numpy().data)
    return found
