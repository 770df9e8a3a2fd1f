"""The nonlinearities of a net's units, in whose place something else may be put."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from torch import Tensor

    from problems.models import Elementwise

Change = Callable[["Elementwise", "Tensor"], "Tensor"]

_CHANGE: ContextVar[Change | None] = ContextVar("change", default=None)


@contextmanager
def changing(change: Change) -> Iterator[None]:
    """Within it, every nonlinearity f of a unit gives on what ``change(f, x)`` makes of x in place of f(x)."""
    token = _CHANGE.set(change)
    try:
        yield
    finally:
        _CHANGE.reset(token)


def is_changing() -> bool:
    """Whether nonlinearities are changed at present."""
    return _CHANGE.get() is not None


def changeable(f: Elementwise) -> Elementwise:
    """f where nothing changes it: what a model writes for a nonlinearity of its units."""

    def units(x: Tensor) -> Tensor:
        change = _CHANGE.get()
        return f(x) if change is None else change(f, x)

    return units


def _named(*names: str) -> set[Any]:
    places = (torch, torch.Tensor, functional)
    return {getattr(place, name) for name in names for place in places if hasattr(place, name)}


_OF_UNITS = _named(
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign"),
    *("tanh", "sigmoid", "hardtanh", "hardswish", "hardsigmoid", "logsigmoid", "tanhshrink"),
    *("relu_", "leaky_relu_", "elu_", "selu_", "celu_", "tanh_", "sigmoid_", "hardtanh_"),
)


class Met(TorchFunctionMode):
    """Within it, nonlinearities that any code calls, as modules or as functions, are handed to ``met``.

    Args:
        met: (name, f, x) -> what it gives on in place of f(x). An f whose name ends in ``_`` overwrites x.
    """

    def __init__(self, met: Callable[[str, Elementwise, Tensor], Tensor]) -> None:
        super().__init__()
        self._met = met

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in _OF_UNITS or not args:
            return func(*args, **kwargs)
        if kwargs.get("inplace"):  # whoever writes nn.ReLU(inplace=True) goes on with what it returns
            kwargs["inplace"] = False
        x, *rest = args
        return self._met(func.__name__, lambda x: func(x, *rest, **kwargs), x)
