"""Small problems for tests, named on the command line's way: ``tests/suite/tiny_problems.py:cnn``."""

from __future__ import annotations

import torch

from problems import Data, Metric, Problem, layers, problem
from problems.layout import Layout, conv, dense, recurrent
from problems.starts import lecun_uniform, start


def _classifier(name, layout, predict, x, y):
    return Problem(
        name,
        layout,
        predict,
        lambda out, batch: layers.cross_entropy(out, batch[1]),
        Data((x[:200], y[:200])),
        Data((x[200:250], y[200:250])),
        Data((x[250:], y[250:]), drop_partial=True),
        metrics={"accuracy": Metric(lambda out, batch: layers.accuracy(out, batch[1]), "higher")},
        start=start(layout, lecun_uniform),
        batch_size=16,
    )


def _draw(*shape):
    return torch.randn(300, *shape, generator=torch.Generator().manual_seed(3))


@problem()
def mlp() -> Problem:
    """A multilayer perceptron 20-33-5; 33 is no multiple of anything."""
    layout = Layout((*dense("1", 20, 33), *dense("2", 33, 5)))

    def predict(p, batch):
        hidden = torch.relu(layers.linear(batch[0], p["1.weight"], p["1.bias"]))
        return layers.linear(hidden, p["2.weight"], p["2.bias"])

    x = _draw(20)
    return _classifier("mlp", layout, predict, x, x[:, :5].argmax(1))


@problem()
def cnn() -> Problem:
    """A convolution, a pooling and a dense layer."""
    layout = Layout((*conv("1", 1, 4, 3), *dense("2", 64, 5)))

    def predict(p, batch):
        maps = torch.relu(layers.conv2d(batch[0], p["1.weight"], p["1.bias"], padding=1))
        flat = layers.max_pool2d(maps, 2).flatten(1)
        return layers.linear(flat, p["2.weight"], p["2.bias"])

    x = _draw(1, 8, 8)
    return _classifier("cnn", layout, predict, x, x.flatten(1)[:, :5].argmax(1))


@problem()
def rnn() -> Problem:
    """An LSTM over seven steps and a dense layer on its last state."""
    layout = Layout((*recurrent("1", 3, 32, (0.0, 1.0, 0.0, 0.0)), *dense("2", 32, 5)))

    def predict(p, batch):
        states, _ = layers.lstm(batch[0], p["1.input"], p["1.hidden"], p["1.bias"])
        return layers.linear(states[:, -1], p["2.weight"], p["2.bias"])

    x = _draw(7, 3)
    return _classifier("rnn", layout, predict, x, x[:, 0].argmax(1))


@problem()
def symbols() -> Problem:
    """Three symbols of six, each as a row of a table, and two dense layers: data without a real number."""
    layout = Layout((*dense("0", 6, 4, bias=None), *dense("1", 12, 16), *dense("2", 16, 5)))

    def predict(p, batch):
        rows = (batch[0].flatten().unsqueeze(1) == torch.arange(6, device=batch[0].device)).to(p["0.weight"].dtype)
        x = layers.linear(rows, p["0.weight"]).reshape(len(batch[0]), 12)
        return layers.linear(torch.tanh(layers.linear(x, p["1.weight"], p["1.bias"])), p["2.weight"], p["2.bias"])

    x = torch.randint(6, (300, 3), generator=torch.Generator().manual_seed(3))
    return _classifier("symbols", layout, predict, x, x.sum(1) % 5)


@problem()
def foreign() -> Problem:
    """PyTorch's own layers, whose lanes may differ in the last bit: it has to train all the same."""
    layout = Layout((*dense("1", 20, 8), *dense("2", 8, 5)))

    def predict(p, batch):
        hidden = torch.tanh(torch.nn.functional.linear(batch[0], p["1.weight"], p["1.bias"]))
        return torch.nn.functional.linear(hidden, p["2.weight"], p["2.bias"])

    x = _draw(20)
    return _classifier("foreign", layout, predict, x, x[:, :5].argmax(1))


@problem()
def unlifted() -> Problem:
    """A model that looks at values, which vmap cannot lift and a tape cannot record."""
    layout = Layout((*dense("1", 20, 5),))

    def predict(p, batch):
        out = torch.nn.functional.linear(batch[0], p["1.weight"], p["1.bias"])
        return out * 2 if float(out.detach().sum()) > 0 else out * 3

    x = _draw(20)
    return _classifier("unlifted", layout, predict, x, x[:, :5].argmax(1))
