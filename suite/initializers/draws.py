"""Starts that draw each weight by itself, from the numbers of a layer's inputs m and outputs n."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from problems import starts
from problems.bounds import Positive
from problems.layout import Piece
from problems.problem import Problem
from suite.initializers.base import Initializer, initializer, weights

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializer()
def default() -> Initializer:
    """The start that the problem's source prescribes; U(−1/√m, 1/√m) where it prescribes none."""

    def start(problem: Problem, generator: Generator) -> Tensor:
        own = problem.start or starts.start(problem.layout, starts.lecun_uniform)
        return own(generator)

    return start


@initializer(section="8.4")
def lecun_uniform() -> Initializer:
    """Weights from U(−1/√m, 1/√m) for m inputs, the book's first heuristic.

    The variance is 1/(3m). As torch.nn.Linear draws its weights (``kaiming_uniform_`` with
    a = √5); Keras gives the name to U(−√(3/m), √(3/m)), whose variance is 1/m.
    """
    return weights(starts.lecun_uniform)


@initializer(section="8.4", equation="8.23", reference="Glorot & Bengio 2010", aliases=("xavier_uniform",))
def glorot_uniform() -> Initializer:
    """Weights from U(−√(6/(m+n)), √(6/(m+n))) for m inputs and n outputs.

    A compromise between equal variance of activations and of gradients in all layers of a
    linear net. As torch.nn.init.xavier_uniform_.
    """
    return weights(starts.glorot_uniform)


@initializer(section="8.4", reference="Glorot & Bengio 2010", aliases=("xavier_normal",))
def glorot_normal() -> Initializer:
    """Weights from N(0, 2/(m+n)) for m inputs and n outputs. As torch.nn.init.xavier_normal_."""

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        weight.normal_(0.0, math.sqrt(2 / (piece.fan_in + piece.fan_out)), generator=generator)

    return weights(draw)


@initializer(section="8.4", reference="He et al. 2015", aliases=("kaiming_normal",))
def he_normal() -> Initializer:
    """Weights from N(0, 2/m) for m inputs: keeps the variance through ReLU layers.

    As torch.nn.init.kaiming_normal_.
    """
    return weights(starts.he_normal)


@initializer(section="8.4", reference="He et al. 2015", aliases=("kaiming_uniform",))
def he_uniform() -> Initializer:
    """Weights from U(−√(6/m), √(6/m)) for m inputs, of variance 2/m. As torch.nn.init.kaiming_uniform_."""

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        bound = math.sqrt(6 / piece.fan_in)
        weight.uniform_(-bound, bound, generator=generator)

    return weights(draw)


@initializer(section="8.4")
def gaussian(std: Positive = 0.01) -> Initializer:
    """Weights from N(0, std²), whatever the layer's size."""

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        weight.normal_(0.0, std, generator=generator)

    return weights(draw)


@initializer(section="8.4")
def truncated_normal(std: Positive = 0.01) -> Initializer:
    """Weights from N(0, std²) cut off at two standard deviations: no weight is large, and σ is 0.88 std.

    As torch.nn.init.trunc_normal_ with a = −2 std and b = 2 std.
    """
    return weights(starts.truncated_normal(std))
