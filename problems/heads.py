"""Linear outputs on a hidden layer, as those of the net itself are on its last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from problems.layout import Layout, Piece, dense
from problems.problem import Pieces

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Head:
    """A linear layer from the activations y [batch, …] of a hidden layer to outputs as the net has them.

    Of images the mean of each channel is taken before. Of sequences [batch, time, features] it takes each step
    where the net has outputs at each, [batch, time, outputs], else the last one.
    """

    name: str
    features: int
    outputs: int
    channels: bool  # whether the features lie in front of positions
    each_step: bool

    @property
    def pieces(self) -> list[Piece]:
        return dense(self.name, self.features, self.outputs)

    def __call__(self, pieces: Pieces, y: Tensor) -> Tensor:
        from problems.layers import linear

        weight, bias = pieces[f"{self.name}.weight"], pieces[f"{self.name}.bias"]
        if self.channels and y.dim() > 2:
            y = y.flatten(2).mean(2)
        if self.each_step:
            return linear(y.flatten(0, 1), weight, bias).unflatten(0, y.shape[:2])
        return linear(y[:, -1] if y.dim() > 2 else y, weight, bias)


def head_on(layer: str, name: str, layout: Layout, shape: tuple[int, ...], outputs: tuple[int, ...]) -> Head:
    """A head on a layer whose activations and outputs have these shapes, of one example.

    Raises:
        ValueError: the outputs are neither a vector nor one at each step of the layer.
    """
    channels = len(layout.weight_of(layer).shape) > 2
    each_step = len(outputs) == 2 and not channels and shape[:-1] == outputs[:-1]
    if not each_step and len(outputs) != 1:
        raise ValueError(f"outputs of shape {outputs}; a linear head has a vector, or one at each step of a sequence")
    return Head(name, shape[0] if channels else shape[-1], outputs[-1], channels, each_step)
