"""Problems for single claims of section 8.7, by ``suite.claims._tasks:name``: none that is listed among the others."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

from problems.bounds import Count, Natural, Positive
from problems.data import builtin
from problems.data.splits import Splits
from problems.families.surfaces import surface
from problems.models import classifier, mlp, regressor
from problems.problem import Data, Known, Problem, Target
from problems.starts import glorot_uniform, he_normal, start

if TYPE_CHECKING:
    from torch import Generator, Tensor


def linear_chain(depth: Count = 5, examples: Count = 1000) -> Problem:
    """ŷ = w_l … w₁x of normal x, each layer one unit without a bias."""
    model = mlp((1,) * (depth + 1), activation=None, bias=None)
    x = torch.randn(examples, 1, generator=torch.Generator().manual_seed(0))
    return regressor("linear_chain", model, Splits(Data((x, 2 * x))), start=start(model.layout, glorot_uniform))


def deep_net(activation: str = "relu", depth: Count = 11, width: Count = 32) -> Problem:
    """``digits_deep_mlp`` with any elementwise function of torch, from He's draw for ReLU and Glorot's for others."""
    model = mlp((64, *[width] * (depth - 1), 10), activation)
    return classifier(
        "deep_net",
        model,
        builtin.digits(),
        start=start(model.layout, he_normal if activation == "relu" else glorot_uniform),
        target=Target("valid_accuracy", 0.93, "higher", "that of digits_deep_mlp"),
        batch_size=32,
        epochs=30,
    )


def digits_from(
    first: int = 0, count: Count = 5, examples: Natural = 0, depth: Count = 5, width: Count = 32
) -> Problem:
    """``count`` classes of digits from ``first`` on, told apart by a perceptron with ReLU layers.

    Args:
        examples: for training; 0 for all.
    """
    model = mlp((64, *[width] * (depth - 1), count))

    def among(split: Data | None, most: int) -> Data:
        assert split is not None
        x, labels = split.tensors
        mine = ((labels >= first) & (labels < first + count)).nonzero()[: most or None, 0]
        return Data((x[mine], labels[mine] - first))

    whole = builtin.digits()
    return classifier(
        "digits_from",
        model,
        Splits(among(whole.train, examples), among(whole.valid, 0), among(whole.test, 0)),
        start=start(model.layout, he_normal),
        target=Target("valid_accuracy", 0.95, "higher", "that of digits_mlp"),
        batch_size=32,
        epochs=30,
    )


def rastrigin(size: Count = 2) -> Problem:
    """Σ θᵢ² + 10(1 − cos 2πθᵢ) from θ ~ U(−5.12, 5.12): local minima near all whole numbers (Rastrigin 1974)."""

    def value(theta: Tensor) -> Tensor:
        return (theta.square() + 10 * (1 - (2 * math.pi * theta).cos())).sum()

    return _from_anywhere(surface("rastrigin", value, (1.0,) * size, Known(0.0, torch.zeros(size))), 5.12)


def plain_bowl(size: Count = 2) -> Problem:
    """Σ θᵢ² from θ ~ U(−5.12, 5.12): ``rastrigin`` without its local minima."""
    made = surface("plain_bowl", lambda theta: theta.square().sum(), (1.0,) * size, Known(0.0, torch.zeros(size)))
    return _from_anywhere(made, 5.12)


def narrow_and_wide(width: Positive = 0.2) -> Problem:
    """1 − exp(−½(θ/width)²) − ½ exp(−½((θ − 3)/1.5)²) from within a width of 0: its narrow well is the deeper."""

    def value(theta: Tensor) -> Tensor:
        narrow, wide = (-0.5 * (theta / width).square()).exp(), (-0.5 * ((theta - 3) / 1.5).square()).exp()
        return (1 - narrow - 0.5 * wide).sum()

    return _from_anywhere(surface("narrow_and_wide", value, (0.0,)), width)


def plateau(distance: Positive = 6.0) -> Problem:
    """1 − exp(−½θ²) from θ = ``distance`` on, or as much further as a hundredth: flat but for a well at 0."""
    made = surface("plateau", lambda theta: 1 - (-0.5 * theta.square()).exp().sum(), (distance,), Known(0.0))
    return dataclasses.replace(made, start=lambda g: distance * (1 + 0.01 * torch.rand(1, generator=g)))


def _from_anywhere(made: Problem, reach: float) -> Problem:
    def begin(generator: Generator) -> Tensor:
        return reach * (2 * torch.rand(made.size, generator=generator) - 1)

    return dataclasses.replace(made, start=begin)
