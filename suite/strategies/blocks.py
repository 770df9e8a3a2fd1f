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
    outside of it are 0, and where it looks ahead it does so within the block. Each block has its own memory: those
    parts of the state that have θ's shape stay as they are outside of it, and numbers, such as how many steps were
    taken, are kept for each block. Matrices are shared, and so is all of what a class of torch.optim remembers, on
    which a turn of the others acts as so many gradients of 0.
    """
    inner = optimizer

    def init(oracle: Oracle, theta: Tensor) -> State:
        import torch
        from torch.utils._pytree import tree_map

        _, count = _owners(getattr(oracle, "layout", None), theta, by)
        kinds = {bool: torch.bool, int: torch.float64, float: torch.float64}  # of a number that a state begins with

        def of_each(leaf: Any) -> Tensor:
            if not _is_number(leaf):
                return theta.new_zeros(0)
            return torch.as_tensor(leaf, dtype=kinds.get(type(leaf)), device=theta.device).expand(count).clone()

        state = inner.init(oracle, theta)
        return {"inner": state, "each": tree_map(of_each, state), "t": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch
        from torch.utils._pytree import tree_flatten, tree_unflatten

        owner, count = _owners(getattr(oracle, "layout", None), theta, by)
        turn = torch.as_tensor(state["t"] / every, device=theta.device).floor() % count
        active, mine = owner == turn, torch.arange(count, device=theta.device) == turn

        def taken(leaf: Any, each: Tensor) -> Any:
            if _is_number(leaf):
                return each.gather(0, turn.long().view(1)).view(())
            return leaf.where(active, 0) if _is_like(leaf, theta) else leaf

        leaves, form = tree_flatten(state["inner"])
        each = form.flatten_up_to(state["each"])
        own = tree_unflatten([taken(*both) for both in zip(leaves, each, strict=True)], form)
        still = theta if inner.needs.vmap else theta.clone()  # a foreign rule changes theta in place
        moved, within = inner.step(_Block(oracle, theta, still, active), own, theta)
        after = form.flatten_up_to(within)
        kept = [
            torch.where(active, new, old) if _is_like(new, theta) else new
            for new, old in zip(after, leaves, strict=True)
        ]
        each = [
            torch.where(mine, new, old).to(old.dtype) if _is_number(new) else old
            for new, old in zip(after, each, strict=True)
        ]
        inside = {"inner": tree_unflatten(kept, form), "each": tree_unflatten(each, form), "t": state["t"] + 1}
        return torch.where(active, moved, still), inside

    return replace(inner, init=init, step=step, readout=lambda state, theta: inner.readout(state["inner"], theta))


def _is_number(leaf: Any) -> bool:
    import torch

    return isinstance(leaf, bool | int | float) or (isinstance(leaf, torch.Tensor) and not leaf.dim())


def _is_like(leaf: Any, theta: Tensor) -> bool:
    import torch

    return isinstance(leaf, torch.Tensor) and leaf.shape == theta.shape


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
