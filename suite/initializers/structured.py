"""Starts with a structure: orthogonal, sparse and identity matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from problems import starts
from problems.bounds import Count, Positive
from problems.layout import Piece
from problems.names import NotApplicable
from problems.problem import Problem
from problems.starts import Draw
from suite.initializers.base import Initializer, initializer, weights

if TYPE_CHECKING:
    from torch import Generator, Tensor


def each_gate(fill: Callable[[Tensor, Generator], None]) -> Draw:
    """A draw that fills every matrix of a weight by itself: the gates of a recurrent layer one by one."""

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        for matrix in weight.chunk(piece.gates):
            fill(matrix, generator)

    return draw


@initializer(section="8.4", reference="Saxe et al. 2013")
def orthogonal(gain: Positive = 1.0) -> Initializer:
    """Random orthogonal matrices times a gain g: WᵀW = g²I, or WWᵀ = g²I where W is wider than high.

    With g = 1 the length of a signal survives any number of square linear layers, forwards and
    backwards; g = √2 makes up for ReLU. A convolution kernel counts as the matrix [outputs,
    inputs · area]; each gate of a recurrent layer has a matrix of its own. Uniform over all such
    matrices. As torch.nn.init.orthogonal_, in float64, which takes stacked gates for one matrix.
    """
    return weights(each_gate(lambda matrix, generator: _orthogonal(matrix, gain, generator)))


def _orthogonal(matrix: Tensor, gain: float, generator: Generator) -> None:
    import torch

    exact = torch.empty(matrix.shape, dtype=torch.float64)
    matrix.copy_(torch.nn.init.orthogonal_(exact, gain, generator=generator))


@initializer(section="8.4", reference="Xiao et al. 2018")
def delta_orthogonal(gain: Positive = 1.0) -> Initializer:
    """Kernels that are 0 but for an orthogonal matrix times g at their centre; other layers are orthogonal.

    So each pixel is rotated by itself, and a convolution keeps the length of a whole image, where
    an ``orthogonal`` kernel does so only for patches that do not overlap. As TensorFlow's
    ``ConvolutionDeltaOrthogonal``.

    Raises:
        NotApplicable: there are no convolutions, or one has more inputs than outputs, which no
            such kernel can do without loss.
    """

    def fill(kernel: Tensor, generator: Generator) -> None:
        if kernel.dim() <= 2:
            return _orthogonal(kernel, gain, generator)
        kernel.zero_()
        centre = kernel
        while centre.dim() > 2:
            centre = centre[..., centre.shape[-1] // 2]
        return _orthogonal(centre, gain, generator)

    draw = weights(each_gate(fill))

    def start(problem: Problem, generator: Generator) -> Tensor:
        kernels = [p for p in problem.layout if p.role == "weight" and len(p.shape) > 2]
        if not kernels:
            raise NotApplicable(f"{problem.name} has no convolutions, whose kernels this start makes; take orthogonal")
        for kernel in kernels:
            if kernel.shape[0] < kernel.shape[1]:
                raise NotApplicable(
                    f"{kernel.name} of {problem.name} has more inputs ({kernel.shape[1]}) than outputs "
                    f"({kernel.shape[0]}), so it cannot keep lengths; take orthogonal"
                )
        return draw(problem, generator)

    return start


@initializer(section="8.4", reference="Martens 2010")
def sparse(k: Count = 15, std: Positive = 1.0) -> Initializer:
    """Exactly k inputs of each unit, drawn at random, have weights from N(0, std²); the others are 0.

    So the sum of a unit has the same variance however many inputs it has, and units stay
    diverse. A unit with fewer than k inputs takes all. In a convolution a unit's inputs are
    its receptive field. torch.nn.init.sparse_ leaves a share of each input's weights, not of
    each unit's, and draws them with std = 0.01.
    """

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        import torch

        rows = weight.view(weight.shape[0], -1)
        chosen = torch.rand(rows.shape, generator=generator).argsort(1)[:, :k]
        values = torch.empty(chosen.shape).normal_(0.0, std, generator=generator)
        rows.zero_().scatter_(1, chosen, values)

    return weights(draw)


@initializer(section="8.4", reference="Le, Jaitly & Hinton 2015")
def identity(scale: Positive = 1.0) -> Initializer:
    """Recurrent matrices are the identity times a scale, so that a state is kept; other weights U(−1/√m, 1/√m).

    In an LSTM those of all gates. Le et al. draw the other weights from N(0, 0.001²).

    Raises:
        NotApplicable: there is no recurrent layer.
    """

    def draw(weight: Tensor, piece: Piece, generator: Generator) -> None:
        if not piece.recurrent:
            return starts.lecun_uniform(weight, piece, generator)
        for matrix in weight.chunk(piece.gates):
            matrix.zero_().fill_diagonal_(scale)
        return None

    def start(problem: Problem, generator: Generator) -> Tensor:
        if not any(piece.recurrent for piece in problem.layout):
            raise NotApplicable(
                f"{problem.name} has no recurrent layers, whose matrices this start makes; take orthogonal"
            )
        return weights(draw)(problem, generator)

    return start
