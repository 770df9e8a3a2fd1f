"""Where training starts by default: a draw for each weight, the layout's fill for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from problems.layout import Layout, Piece

if TYPE_CHECKING:
    from torch import Generator, Tensor

Draw = Callable[["Tensor", Piece, "Generator"], None]
Start = Callable[["Generator"], "Tensor"]


def start(layout: Layout, draw: Draw | None = None) -> Start:
    """θ₀ [D] on the CPU in float32: weights drawn in the layout's order from one generator.

    Args:
        draw: fills a weight in place, given its piece and the generator; None where the layout
            has no weights. Biases and coordinates get their piece's fill.
    """

    def begin(generator: Generator) -> Tensor:
        import torch

        theta = torch.empty(layout.size)
        for piece, view in zip(layout, layout.split(theta).values(), strict=True):
            if piece.role == "weight" and draw is not None:
                draw(view, piece, generator)
            else:
                view.copy_(filled(piece))
        return theta

    return begin


def filled(piece: Piece) -> Tensor:
    """A tensor of the piece's shape, each entry of its fill over an equal part."""
    import torch

    return torch.tensor(piece.fill).repeat_interleave(piece.size // len(piece.fill)).view(piece.shape)


def truncated_normal(std: float) -> Draw:
    """N(0, std²) cut off at 2 std, as TensorFlow's ``truncated_normal`` (what is cut off is drawn again)."""

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        import torch

        torch.nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)

    return draw


def lecun_uniform(weight: Tensor, piece: Piece, generator: Generator) -> None:
    """U(−1/√m, 1/√m) for m inputs (*Deep Learning*, section 8.4)."""
    bound = 1 / math.sqrt(piece.fan_in)
    weight.uniform_(-bound, bound, generator=generator)


def glorot_uniform(weight: Tensor, piece: Piece, generator: Generator) -> None:
    """U(−√(6/(m+n)), √(6/(m+n))) for m inputs and n outputs (Glorot & Bengio 2010)."""
    bound = math.sqrt(6 / (piece.fan_in + piece.fan_out))
    weight.uniform_(-bound, bound, generator=generator)


def glorot_normal(weight: Tensor, piece: Piece, generator: Generator) -> None:
    """N(0, 2/(m+n)) truncated at two standard deviations of the result, for m inputs and n outputs.

    As TensorFlow draws it: σ is divided by 0.87962566 to make up for the truncation (Glorot & Bengio 2010).
    """
    std = math.sqrt(2 / (piece.fan_in + piece.fan_out)) / 0.87962566
    truncated_normal(std)(weight, piece, generator)


def he_normal(weight: Tensor, piece: Piece, generator: Generator) -> None:
    """N(0, 2/m) for m inputs (He et al. 2015)."""
    weight.normal_(0.0, math.sqrt(2 / piece.fan_in), generator=generator)
