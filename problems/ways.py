"""Ways around the hidden layers of a net: which layers everything goes by, and which not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.models import Elementwise, untouched
from problems.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor


def trunk(made: Problem) -> tuple[str, ...]:
    """The layers whose activations everything that follows goes by, in their order.

    In a net whose layout tells its residual branches, those at whose end one is added, for the way around it begins
    before the nonlinearity.
    """
    branches = made.layout.branches()
    around = {layer for branch in branches for layer in branch[:-1]} if branches else gone_around(made)
    return tuple(name for name in made.units if name not in around)


def gone_around(made: Problem, to_outputs: bool = True) -> set[str]:
    """The layers of ``units`` around which something of the inputs or of θ reaches a later one, or the outputs.

    A pass in which every layer's activations are leaves of their own tells on which ones each depends directly. One
    that depends on something older than the layer before it goes around that.

    Args:
        to_outputs: whether ways that end in the outputs count.
    """
    import torch

    pieces = made.layout.split(made.like.new_zeros(made.size))
    pieces = {name: piece.clone().requires_grad_() for name, piece in pieces.items()}
    x, *rest = (t[:2] for t in made.train.tensors)
    x = x.clone().requires_grad_() if x.is_floating_point() else x
    names: list[str] = []
    ends: list[Tensor] = []
    leaves: list[Tensor] = []

    def bend(name: str, x: Tensor, nonlinearity: Elementwise) -> Tensor:
        names.append(name)
        ends.append(nonlinearity(x))
        leaves.append(ends[-1].detach().requires_grad_())
        return leaves[-1]

    with torch.enable_grad():
        outputs = made.outputs(pieces, (x, *rest), untouched, bend)
    ends += [outputs] if to_outputs else []
    sources = [*([x] if x.is_floating_point() else []), *pieces.values()]
    since = dict.fromkeys(range(len(sources)), len(ends))  # the first end that each reached
    if x.is_floating_point():
        since[0] = 0
    around: set[str] = set()
    for k, end in enumerate(ends):
        slopes = torch.autograd.grad(end.sum(), [*sources, *leaves[:k]], retain_graph=True, allow_unused=True)
        reached = [i for i, slope in enumerate(slopes) if slope is not None]
        for i in reached:
            if i < len(sources):
                since[i] = min(since[i], k)
        oldest = min((since[i] if i < len(sources) else i - len(sources) + 1 for i in reached), default=k)
        around |= set(names[oldest:k])
    return around
