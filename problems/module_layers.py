"""The hidden layers of a ``torch.nn.Module``, found by looking at one pass, and hooks on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from problems.models import Bend, Between, Elementwise
from problems.names import UsageError
from problems.nonlinear import Met, changeable, is_changing

KINDS = nn.Linear | nn.modules.conv._ConvNd
TOLD = ("relu", "tanh", "sigmoid")  # what a problem's activation may be here


class Layers:
    """Which layers of a module are hidden, and which nonlinearity follows each.

    A hidden layer is linear or a convolution, with a weight that is trained, runs once in a pass and is not the
    last. Its units are made by the first nonlinearity that is called behind it, before the next layer is.

    Args:
        of: the module.
        trained: the names of its parameters that are trained.
    """

    def __init__(self, of: nn.Module, trained: Collection[str]) -> None:
        self.module = of
        self._trained = trained
        self._names = [name for name, part in of.named_modules() if name and isinstance(part, KINDS)]
        self._passes = 0  # how many layers run in a pass
        self.hidden: tuple[str, ...] = ()
        self.units: tuple[str, ...] = ()
        self.activation = ""

    def look(self, run: Callable[[], Any]) -> None:
        """Find them in a pass."""
        order: list[str] = []
        found: dict[str, str] = {}

        def between(name: str, sums: Tensor) -> Tensor:
            order.append(name)
            return sums

        def met(kind: str, f: Elementwise, x: Tensor) -> Tensor:
            if order:
                found.setdefault(order[-1], kind)
            return f(x)

        with torch.no_grad(), self._hooked(between), Met(met):
            run()
        once = [name for name in order[:-1] if order.count(name) == 1 and f"{name}.weight" in self._trained]
        self._passes, self.hidden = len(order), tuple(once)
        self.units = tuple(name for name in once if name in found)
        kinds = {found[name] for name in self.units}
        self.activation = kinds.pop() if len(kinds) == 1 and kinds <= set(TOLD) else ""

    @contextmanager
    def watched(self, between: Between, bend: Bend) -> Iterator[None]:
        """Let ``between`` and ``bend`` (see :class:`Problem`) see and change what layers put out in a pass."""
        ran: list[str] = []
        bent: set[str] = set()

        def heard(name: str, sums: Tensor) -> Tensor:
            ran.append(name)
            return between(name, sums) if name in self.hidden else sums

        def met(kind: str, f: Elementwise, x: Tensor) -> Tensor:
            if len(ran) == self._passes:  # it makes the outputs
                return f(x)
            if kind.endswith("_") and is_changing():
                raise UsageError(
                    f"{type(self.module).__name__}: its forward overwrites numbers by {kind}(), so nothing can be put "
                    f"in its place; write {kind[:-1]}()"
                )
            if not ran or ran[-1] not in self.units or ran[-1] in bent:
                return changeable(f)(x)
            bent.add(ran[-1])
            return bend(ran[-1], x, changeable(f))

        with self._hooked(heard), Met(met):
            yield

    @contextmanager
    def _hooked(self, between: Between) -> Iterator[None]:
        def hook(name: str, layer: nn.Module, inputs: Any, sums: Tensor) -> Tensor:
            if isinstance(layer, nn.Linear):  # several rows an example, as of a sequence
                return between(name, sums.flatten(0, -2)).view(sums.shape)
            return between(name, sums)

        handles = [self.module.get_submodule(name).register_forward_hook(partial(hook, name)) for name in self._names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
