"""Small nets of each family, named on the command line's way: ``tests/problems/transforms/nets.py:residual``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from problems import Data, Problem, problem
from problems.data.splits import Splits
from problems.models import Model, classifier, cnn_2c2d, mlp, recurrent_net, resnet
from problems.starts import he_normal, lecun_uniform, start


def _draw(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _labels(*shape: int, classes: int = 5) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(6))


def _of(name: str, model: Model, x: Tensor, y: Tensor, draw: Any = he_normal, **rest: Any) -> Problem:
    data = Splits(Data((x[:24], y[:24])), Data((x[24:], y[24:])))
    return classifier(name, model, data, start=start(model.layout, draw), batch_size=8, **rest)


@problem()
def perceptron() -> Problem:
    """Three hidden ReLU layers."""
    return _of("perceptron", mlp((6, 7, 7, 5, 5)), _draw(32, 6), _labels(32))


@problem()
def convolutional() -> Problem:
    """A small 2c2d."""
    return _of("convolutional", cnn_2c2d(1, 8, 5), _draw(32, 1, 8, 8), _labels(32))


@problem()
def residual(skip: bool = True) -> Problem:
    """Two stages of a residual pair each."""
    return _of("residual", resnet(5, 1, (3, 4), skip=skip), _draw(32, 3, 8, 8), _labels(32))


@problem()
def stacked_lstm(carry: bool = False) -> Problem:
    """Two LSTM layers with outputs at each step."""
    model = recurrent_net(3, 6, 5, "lstm", depth=2, every_step=True, carry=carry)
    return _of("stacked_lstm", model, _draw(32, 4, 3), _labels(32, 4), lecun_uniform)


@problem()
def stacked_rnn() -> Problem:
    """Three plain recurrent layers with outputs after the last step."""
    return _of("stacked_rnn", recurrent_net(3, 6, 5, "rnn", depth=3), _draw(32, 4, 3), _labels(32), lecun_uniform)


def sequential() -> nn.Sequential:
    """The net of ``perceptron`` in modules."""
    layers = [[nn.Linear(m, n), nn.ReLU()] for m, n in ((6, 7), (7, 7), (7, 5))]
    return nn.Sequential(*(part for pair in layers for part in pair), nn.Linear(5, 5))


class Branched(nn.Module):
    """Convolutions with one ReLU module for all, a way around one of them, and a function for the last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.hidden, self.out = nn.Linear(3, 6), nn.Linear(6, 5)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = x + self.relu(self.second(x))
        return self.out(torch.tanh(self.hidden(x.mean((2, 3)))))


def _module(name: str, module: nn.Module, x: Tensor, y: Tensor) -> Problem:
    return Problem.from_module(module, nn.functional.cross_entropy, (x[:24], y[:24]), name=name, batch_size=8)


@problem()
def module() -> Problem:
    """``perceptron`` as a module."""
    torch.manual_seed(1)
    return _module("module", sequential(), _draw(32, 6), _labels(32))


@problem()
def branched() -> Problem:
    """A module that calls its nonlinearities in its own way."""
    torch.manual_seed(1)
    return _module("branched", Branched(), _draw(32, 1, 6, 6), _labels(32))


def located(text: str) -> str:
    """Text in which these nets go by ``@name``, with where they lie."""
    own = (perceptron, convolutional, residual, stacked_lstm, stacked_rnn, module, branched)
    for net in own:
        text = text.replace(f"@{net.__name__}", f"{__file__}:{net.__name__}")
    return text


def made(text: str) -> Problem:
    """A problem from such text."""
    return problem.build(problem.bind(located(text)))
