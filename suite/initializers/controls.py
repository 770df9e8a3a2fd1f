"""Starts that must not work: negative controls which show why the units of a layer have to differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Real
from problems.layout import Piece
from problems.problem import Problem
from suite.initializers.base import Initializer, initializer, weights

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializer(section="8.4")
def zeros() -> Initializer:
    """Weights of 0: units of a layer stay alike for ever, which shows why symmetry must be broken."""
    return constant(0.0)


@initializer(section="8.4")
def constant(value: Real = 0.1) -> Initializer:
    """Weights of one value: units of a layer stay alike for ever. As torch.nn.init.constant_."""

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        weight.fill_(value)

    return weights(draw)


@initializer(section="8.4")
def symmetric() -> Initializer:
    """Random weights that are alike for all units of a layer, which therefore stay alike for ever.

    In the first layer one row from U(−√(3/m), √(3/m)) is that of every unit; in later ones a
    single number is that of every weight (of every place in a convolution's kernel). The net differs
    from a random one in nothing but its symmetry, and is no better than one with one unit in each layer.
    """

    def start(problem: Problem, generator: Generator) -> Tensor:
        first = next((piece.name for piece in problem.layout if piece.role == "weight"), None)

        def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
            one = weight[:1] if piece.name == first else weight[:1, :1]
            bound = (3 / piece.fan_in) ** 0.5
            weight.copy_(one.clone().uniform_(-bound, bound, generator=generator).expand_as(weight))

        return weights(draw)(problem, generator)

    return start
