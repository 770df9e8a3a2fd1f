"""Starts scaled so that gradients neither grow nor shrink on their way back, through however many layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Positive
from problems.names import NotApplicable
from problems.parameters import In
from problems.problem import Pieces, Problem
from suite.initializers.base import Initializer, initializer, weights
from suite.initializers.data_dependent import layers_of, look, minibatch

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from problems.layout import Piece

WALKS = {  # of Gaussian weights: number of inputs -> g
    "linear": lambda m: math.exp(1 / (2 * m)),
    "relu": lambda m: math.sqrt(2) * math.exp(1.2 / (max(m, 6) - 2.4)),
}
EXAMPLES, TOLERANCE = 256, 0.05  # of a measured g: the minibatch, and how far from 0 the logarithm may be
WIDEST = 4.0  # |log g| that is tried


@initializer(section="8.4", reference="Sussillo & Abbott 2014")
def random_walk(
    gain: Positive | None = None, initializer: Annotated[Initializer, In(initializer)] | None = None
) -> Initializer:
    """Weights from N(0, g²/m) for m inputs, with the g at which the logarithm of the gradient's length does not drift.

    Going back through the layers it is a random walk, whose drift vanishes for g = e^(1/(2m)) in a
    linear net and g ≈ √2 e^(1.2/(max(m, 6) − 2.4)) with ReLU, so that hundreds of layers can be trained.
    At g = 1 and g = √2, which keep the mean of the squared length, typical lengths shrink with depth.

    Of other nonlinearities, and other draws than the Gaussian, g is measured, as the source does by
    simulation: it is found by bisection, on one minibatch, where the gradient for the sums of the first
    hidden layer is as long as that for those of the last, to 5 %. All layers have the same.

    The walk's steps remain: after l layers of m units the logarithm has a standard deviation of about
    √(l/(2m)), and of a product of l Gaussian matrices with l ≫ m hardly more than one direction is left.
    Orthogonal matrices have neither: from ``random_walk(initializer=orthogonal)`` a tanh net of a
    thousand layers of 32 units is trained within hundreds of steps. With ReLU the angles between
    examples close as layers go by, whatever the matrices, and a net of a thousand learns little.

    Args:
        gain: g of every layer, in place of these; with tanh the source finds 1.1 to 1.3 good.
        initializer: draws the matrices, which are scaled to the length that Gaussian ones have,
            ‖W‖² = g²n for n outputs, and the biases; none draws Gaussian ones.

    Raises:
        NotApplicable: a layer is recurrent, so that its steps do not draw anew; a layer is drawn as zeros;
            or g is to be measured, and the problem does not tell its hidden layers, or there is such a
            balance at no g between e⁻⁴ and e⁴.
    """

    def start(problem: Problem, generator: Generator) -> Tensor:
        if any(piece.recurrent for piece in problem.layout):
            raise NotApplicable(
                f"{problem.name} has recurrent layers, whose steps all go by the same weights; take orthogonal or "
                "identity"
            )
        theta = (initializer or weights(_gaussian))(problem, generator).clone()
        pieces = problem.layout.split(theta)
        matrices = [(piece, pieces[piece.name]) for piece in problem.layout if piece.role == "weight"]
        if initializer is not None:
            for piece, matrix in matrices:
                length = float(matrix.norm())
                if not 0 < length < math.inf:
                    raise NotApplicable(
                        f"{piece.name} of {problem.name} is drawn with a length of {length:g}, which cannot be scaled; "
                        "take another initializer"
                    )
                matrix.mul_(math.sqrt(piece.size / piece.fan_in) / length)
        if gain is not None:
            g = [gain] * len(matrices)
        elif initializer is None and problem.activation in WALKS:
            g = [WALKS[problem.activation](piece.fan_in) for piece, _ in matrices]
        else:
            g = [measured(problem, pieces, [matrix for _, matrix in matrices], generator)] * len(matrices)
        for (_, matrix), own in zip(matrices, g, strict=True):
            matrix.mul_(own)
        return theta

    return start


def _gaussian(weight: Tensor, piece: Piece, generator: Generator) -> None:
    weight.normal_(0.0, 1 / math.sqrt(piece.fan_in), generator=generator)


def measured(problem: Problem, pieces: Pieces, matrices: list[Tensor], generator: Generator) -> float:
    """The factor g of all matrices at which gradients are as long at the first hidden layer as at the last.

    Raises:
        NotApplicable: see ``random_walk``.
    """
    layers = [name for name in layers_of(problem) if name in problem.hidden]
    batch = minibatch(problem, EXAMPLES, generator)
    drawn = [matrix.clone() for matrix in matrices]

    def drift(log_g: float) -> float:
        """log(‖first‖/‖last‖); −∞ where either vanishes, with the signal or on its way, ∞ where they overflow."""
        for matrix, unscaled in zip(matrices, drawn, strict=True):
            matrix.copy_(unscaled * math.exp(log_g))
        _, gradients = look(problem, pieces, batch, layers)
        first, last = (float(gradients[i].double().norm()) for i in (0, -1))
        if not math.isfinite(first + last):
            return math.inf
        return math.log(first / last) if first and last else -math.inf

    log_g = _root(drift) if len(layers) > 1 else 0.0
    for matrix, unscaled in zip(matrices, drawn, strict=True):
        matrix.copy_(unscaled)
    if log_g is None:
        raise NotApplicable(  # as in a net all of whose units are dead
            f"gradients of {problem.name} are in balance at no gain from e^-{WIDEST:g} to e^{WIDEST:g}; "
            "give one, as in random_walk(gain=1.2)"
        )
    return math.exp(log_g)


def _root(rising: Callable[[float], float]) -> float | None:
    """Where a function that rises, or does on the whole, is within the tolerance of 0, or changes its sign.

    None if it has one sign on all of [−WIDEST, WIDEST], or no finite value where it changes it.
    """
    sign = 1 if rising(0.0) < 0 else -1
    inner, outer = 0.0, sign * 0.25
    while sign * rising(outer) < 0:
        inner, outer = outer, 2 * outer
        if abs(outer) > WIDEST:
            return None
    low, high = sorted((inner, outer))
    while True:
        at = (low + high) / 2
        value = rising(at)
        if abs(value) <= TOLERANCE or (high - low < 1e-6 and math.isfinite(value)):
            return at
        if high - low < 1e-9:
            return None
        low, high = (at, high) if value < 0 else (low, at)
