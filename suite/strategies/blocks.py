"""Block-coordinate descent (section 8.7.2): an optimizer on one block of θ at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from problems.bounds import Count
from problems.layout import Layout
from problems.names import UsageError
from suite.optimizers.base import Optimizer, Oracle, State, among, optimizer

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(section="8.7.2")
def blocks(optimizer: Optimizer, by: str = "layers", every: Count = 1) -> Optimizer:
    """Block-coordinate descent: the inner optimizer moves one block of θ for some steps, then the next.

    Args:
        by: ``layers`` (pieces whose names agree up to the last dot), ``pieces``,
            ``coordinates``, or names of layers and pieces, those of a block joined by ``+`` and
            blocks separated by ``|``: ``layer1|layer2+layer3.weight``. What no block names stays.
        every: steps on a block before the next one's turn.

    The inner optimizer sees the loss as a function of the block alone, the rest of θ held still: derivatives
    outside of it are 0, and where it looks ahead it does so within the block. Those parts of its state that have
    θ's shape are 0 there for it and stay as they are, so that each block has its own memory. Classes of
    torch.optim keep one memory, on which a turn of the others acts as so many gradients of 0.
    """
    inner = optimizer

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"inner": inner.init(oracle, theta), "t": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch
        from torch.utils._pytree import tree_map

        owner, count = _owners(getattr(oracle, "layout", None), theta, by)
        active = owner == torch.as_tensor(state["t"] / every).floor() % count

        def mine(value: Any) -> bool:
            return isinstance(value, torch.Tensor) and value.shape == theta.shape and inner.needs.vmap

        def inside(new: Any, old: Any) -> Any:
            return torch.where(active, new, old) if mine(new) else new

        whole = theta if inner.needs.vmap else theta.clone()  # a foreign rule changes theta in place
        own = tree_map(lambda value: value.where(active, 0) if mine(value) else value, state["inner"])
        moved, within = inner.step(_Block(oracle, theta, whole, active), own, theta)
        within = tree_map(inside, within, state["inner"])
        return torch.where(active, moved, whole), {"inner": within, "t": state["t"] + 1}

    return replace(inner, init=init, step=step, readout=lambda state, theta: inner.readout(state["inner"], theta))


@dataclass(frozen=True)
class _Block:
    """The loss as a function of one block of θ; outside of it every point is taken for θ and derivatives are 0."""

    oracle: Oracle
    theta: Tensor
    still: Tensor  # θ as the step began
    active: Tensor  # [D]
    steady = False

    def _point(self, theta: Tensor) -> Tensor:
        return theta if theta is self.theta else theta.where(self.active, self.still)

    def _masked(self, v: Tensor) -> Tensor:
        return v.where(self.active, 0.0)

    def value(self, theta: Tensor) -> Tensor:
        return self.oracle.value(self._point(theta))

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, g = self.oracle.gradient(self._point(theta))
        return value, self._masked(g)

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        return self._masked(self.oracle.hvp(self._point(theta), self._masked(v)))

    def ggn(self, theta: Tensor, v: Tensor) -> Tensor:
        return self._masked(self.oracle.ggn(self._point(theta), self._masked(v)))

    def hessian(self, theta: Tensor) -> Tensor:
        return self._masked(self.oracle.hessian(self._point(theta)) * self.active[:, None])

    def among(self, active: Tensor) -> _Block:
        return replace(self, oracle=among(self.oracle, active))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.oracle, name)


def _owners(layout: Layout | None, theta: Tensor, by: str) -> tuple[Tensor, int]:
    """The number of the block of each coordinate [D], −1 for none, and how many blocks there are."""
    import torch

    if by == "coordinates" or layout is None:
        return torch.arange(len(theta), device=theta.device), len(theta)
    names = [piece.name for piece in layout]
    layers = [name.rpartition(".")[0] or name for name in names]
    if by == "pieces":
        groups = [[name] for name in names]
    elif by == "layers":
        groups = [[layer] for layer in dict.fromkeys(layers)]
    else:
        groups = [[name.strip() for name in group.split("+")] for group in by.split("|")]
    numbers: dict[str, int] = {}
    for number, group in enumerate(groups):
        for name in group:
            mine = [piece for piece, layer in zip(names, layers, strict=True) if name in (piece, layer)]
            if not mine:
                known = ", ".join([*dict.fromkeys(layers), *names])
                raise UsageError(f"blocks: no layer or piece {name!r}; known are {known}")
            for piece in mine:
                if numbers.setdefault(piece, number) != number:
                    raise UsageError(f"blocks: {piece} is in two blocks of {by!r}")
    sizes = torch.tensor([piece.size for piece in layout])
    owner = torch.tensor([numbers.get(name, -1) for name in names]).repeat_interleave(sizes)
    return owner.to(theta.device), len(groups)
