"""Block-coordinate descent (section 8.7.2): an optimizer on one block of θ at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from problems.bounds import Count
from problems.layout import Layout
from problems.names import UsageError
from suite.optimizers.base import Optimizer, Oracle, State, optimizer
from suite.strategies.gradients import Changed

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

    The inner optimizer sees the gradient 0 outside of the block; there θ and those parts of its
    state that have θ's shape stay as they are, so that each block has its own memory.
    """
    inner = optimizer

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"inner": inner.init(oracle, theta), "t": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch
        from torch.utils._pytree import tree_map

        owner, count = _owners(getattr(oracle, "layout", None), theta, by)
        active = owner == torch.as_tensor(state["t"] / every).floor() % count

        def inside(new: Any, old: Any) -> Any:
            same = isinstance(new, torch.Tensor) and new.shape == theta.shape
            return torch.where(active, new, old) if same else new

        masked = Changed(oracle, lambda oracle, theta, g: g.where(active, 0.0))
        moved, within = inner.step(masked, state["inner"], theta)
        within = tree_map(inside, within, state["inner"])
        return torch.where(active, moved, theta), {"inner": within, "t": state["t"] + 1}

    return replace(inner, init=init, step=step, readout=lambda state, theta: inner.readout(state["inner"], theta))


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
