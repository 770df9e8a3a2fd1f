"""Architectures, and the problems that they make of data: a problem is data × architecture × loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from problems.data.splits import Splits
from problems.layout import Layout, Piece, conv, dense, recurrent
from problems.problem import Metric, Pieces, Problem

if TYPE_CHECKING:
    from torch import Tensor

Between = Callable[[str, "Tensor"], "Tensor"]
Elementwise = Callable[["Tensor"], "Tensor"]
Bend = Callable[[str, "Tensor", Elementwise], "Tensor"]


def untouched(name: str, x: Tensor) -> Tensor:
    """What happens by default between a layer and its nonlinearity: nothing."""
    return x


def plainly(name: str, x: Tensor, nonlinearity: Elementwise) -> Tensor:
    """What a layer's units are by default: the nonlinearity of their sums."""
    return nonlinearity(x)


@dataclass(frozen=True)
class Model:
    """An architecture: the pieces of θ that it has, and ``apply(pieces, x [batch, ...]) -> outputs``.

    Args:
        hidden: the layers whose sums Wx + b a third argument ``between(name, sums)`` of ``apply`` may
            change before anything else is done with them; a layer without the piece of its bias goes
            without it.
        units: the layers whose activations a fourth argument ``bend(name, x, nonlinearity)`` of ``apply``
            makes of their (maybe pooled) sums x. Of a recurrent layer ``between`` sees Wx + b at all steps as rows
            [time · batch, …]; its nonlinearity runs through the steps and gives [batch, time, …].
        activation: see :class:`Problem`.
        carry: the shape of what ``apply(pieces, x, …, carried=[batch, *carry]) -> (outputs, carried)`` carries
            on to the examples that follow; () if it takes and gives nothing of that kind.
    """

    layout: Layout
    apply: Callable[..., Any]
    hidden: tuple[str, ...] = ()
    activation: str = ""
    units: tuple[str, ...] = ()
    carry: tuple[int, ...] = ()


def mlp(sizes: Sequence[int], activation: str | None = "relu", bias: float | None = 0.0) -> Model:
    """Fully connected layers ``layer1`` … of sizes[0] inputs up to sizes[-1] outputs.

    Args:
        activation: a function of ``torch`` between layers; None for a linear net.
        bias: what biases start at; None for layers without.
    """
    import torch

    from problems.layers import linear
    from problems.nonlinear import changeable

    nonlinearity: Elementwise = changeable(getattr(torch, activation)) if activation else lambda x: x
    names = [f"layer{i}" for i in range(1, len(sizes))]
    widths = zip(names, sizes[:-1], sizes[1:], strict=True)
    layout = Layout(tuple(piece for name, m, n in widths for piece in dense(name, m, n, bias)))

    def apply(pieces: Pieces, x: Tensor, between: Between = untouched, bend: Bend = plainly) -> Tensor:
        for name in names[:-1]:
            x = between(name, linear(x, pieces[f"{name}.weight"], pieces.get(f"{name}.bias")))
            x = bend(name, x, nonlinearity)
        return linear(x, pieces[f"{names[-1]}.weight"], pieces.get(f"{names[-1]}.bias"))

    return Model(layout, apply, tuple(names[:-1]), activation or "linear", tuple(names[:-1]))


def cnn_2c2d(channels: int, side: int, classes: int, bias: float = 0.05) -> Model:
    """conv 5×5-32, pool 2, conv 5×5-64, pool 2, 1024, classes; ReLU, convolutions that keep the size.

    ``side`` must be a multiple of 4. DeepOBS's 2c2d (Schneider et al. 2019), after
    TensorFlow's tutorial "Deep MNIST for experts".
    """
    import torch

    from problems.layers import conv2d, linear, max_pool2d
    from problems.nonlinear import changeable

    relu, flat = changeable(torch.relu), 64 * (side // 4) ** 2
    layout = Layout(
        (
            *conv("conv1", channels, 32, 5, bias),
            *conv("conv2", 32, 64, 5, bias),
            *dense("layer1", flat, 1024, bias),
            *dense("layer2", 1024, classes, bias),
        )
    )

    def apply(pieces: Pieces, x: Tensor, between: Between = untouched, bend: Bend = plainly) -> Tensor:
        for name in ("conv1", "conv2"):
            x = between(name, conv2d(x, pieces[f"{name}.weight"], pieces.get(f"{name}.bias"), padding=2))
            x = bend(name, max_pool2d(x, 2), relu)  # as pooling after ReLU, with a quarter of the work
        x = linear(x.flatten(1), pieces["layer1.weight"], pieces.get("layer1.bias"))
        x = bend("layer1", between("layer1", x), relu)
        return linear(x, pieces["layer2.weight"], pieces["layer2.bias"])

    return Model(layout, apply, hidden := ("conv1", "conv2", "layer1"), "relu", hidden)


def cnn_3c3d(classes: int) -> Model:
    """conv 5×5-64, conv 3×3-96, conv 3×3-128 (the last keeps its size), 512, 256, classes, for 32 × 32 colour images.

    Each convolution is followed by max-pooling 3 with stride 2; ReLU; biases 0. DeepOBS's 3c3d
    (Schneider et al. 2019).
    """
    import torch

    from problems.layers import conv2d, linear, max_pool2d
    from problems.nonlinear import changeable

    relu, paddings = changeable(torch.relu), {"conv1": 0, "conv2": 0, "conv3": 1}
    layout = Layout(
        (
            *conv("conv1", 3, 64, 5),
            *conv("conv2", 64, 96, 3),
            *conv("conv3", 96, 128, 3),
            *dense("layer1", 1152, 512),
            *dense("layer2", 512, 256),
            *dense("layer3", 256, classes),
        )
    )

    def apply(pieces: Pieces, x: Tensor, between: Between = untouched, bend: Bend = plainly) -> Tensor:
        for name, padding in paddings.items():
            x = between(name, conv2d(x, pieces[f"{name}.weight"], pieces.get(f"{name}.bias"), padding=padding))
            x = bend(name, max_pool2d(x, 3, 2, ceil=True), relu)
        x = x.flatten(1)
        for name in ("layer1", "layer2"):
            x = between(name, linear(x, pieces[f"{name}.weight"], pieces.get(f"{name}.bias")))
            x = bend(name, x, relu)
        return linear(x, pieces["layer3.weight"], pieces["layer3.bias"])

    return Model(layout, apply, hidden := (*paddings, "layer1", "layer2"), "relu", hidden)


def resnet(classes: int, blocks: int, widths: Sequence[int] = (16, 32, 64), skip: bool = True) -> Model:
    """A residual net for 32 × 32 colour images: 3 stages of ``blocks`` pairs of 3×3 convolutions.

    x ← shortcut(x) + α·conv(relu(conv(relu(x)))), each stage but the first halving the image. The
    shortcut takes every other pixel and fills new channels with 0 (He et al. 2016, option A).
    The scalars α start at 1/√d for d pairs, so that the signal grows by at most √e, in place of
    normalization (De & Smith 2020). Without ``skip`` the shortcuts are left out and α is 1.
    """
    import torch
    from torch.nn.functional import pad

    from problems.layers import conv2d, linear
    from problems.nonlinear import changeable

    relu = changeable(torch.relu)
    pieces_of, plan, inputs = [*conv("stem", 3, widths[0], 3)], [], widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            name = f"stage{stage + 1}.block{block + 1}"
            pieces_of += [*conv(f"{name}.conv1", inputs, width, 3), *conv(f"{name}.conv2", width, width, 3)]
            if skip:
                pieces_of.append(Piece(f"{name}.scale", (1,), "scale", fill=((len(widths) * blocks) ** -0.5,)))
            plan.append((name, 2 if inputs != width else 1, width - inputs))
            inputs = width
    layout = Layout((*pieces_of, *dense("layer1", inputs, classes)))

    def apply(pieces: Pieces, x: Tensor, between: Between = untouched, bend: Bend = plainly) -> Tensor:
        def convolved(name: str, x: Tensor, stride: int = 1) -> Tensor:
            weight, bias = pieces[f"{name}.weight"], pieces.get(f"{name}.bias")
            return between(name, conv2d(x, weight, bias, stride=stride, padding=1))

        last, x = "stem", convolved("stem", x)
        for name, stride, more in plan:
            h = convolved(f"{name}.conv1", bend(last, x, relu), stride)
            h = convolved(f"{name}.conv2", bend(f"{name}.conv1", h, relu))
            if skip:
                h = pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, more)) + pieces[f"{name}.scale"] * h
            last, x = f"{name}.conv2", h
        return linear(bend(last, x, relu).mean((2, 3)), pieces["layer1.weight"], pieces["layer1.bias"])

    hidden = ("stem", *(f"{name}.{conv}" for name, _, _ in plan for conv in ("conv1", "conv2")))
    return Model(layout, apply, hidden, "relu", hidden)


def recurrent_net(
    inputs: int,
    hidden: int,
    outputs: int,
    cell: str = "lstm",
    depth: int = 1,
    forget_bias: float = 1.0,
    every_step: bool = False,
    carry: bool = False,
) -> Model:
    """``depth`` recurrent layers over x [batch, time, inputs], and a linear layer on the states of the last.

    Args:
        cell: ``lstm``, or ``rnn`` for h ← tanh(Wx + Uh + b).
        forget_bias: where the forget gate's bias starts; 1 keeps the memory open at first
            (Gers et al. 2000; Jozefowicz et al. 2015; *Deep Learning*, section 10.10.1).
        every_step: outputs [batch, time, outputs] at every step, not [batch, outputs] after the last.
        carry: begin with the state in which the sequences before ended, not with 0.
    """
    import torch

    from problems import layers

    run, parts = {"lstm": (layers.lstm_through, 2), "rnn": (layers.rnn_through, 1)}[cell]
    gates = (0.0, forget_bias, 0.0, 0.0) if cell == "lstm" else (0.0,)
    names = [f"{cell}{i}" for i in range(1, depth + 1)]
    stack = [recurrent(name, hidden if i else inputs, hidden, gates) for i, name in enumerate(names)]
    layout = Layout((*(piece for pieces in stack for piece in pieces), *dense("layer1", hidden, outputs)))

    def apply(
        pieces: Pieces,
        x: Tensor,
        between: Between = untouched,
        bend: Bend = plainly,
        carried: Tensor | None = None,
    ) -> Any:
        begins = [None] * depth if carried is None else carried.split(parts, dim=1)
        ends = []
        for name, begin in zip(names, begins, strict=True):

            def recur(sums: Tensor, name: str = name, begin: Tensor | None = begin) -> Tensor:
                states, end = run(sums, pieces[f"{name}.hidden"], begin)
                ends.append(end)
                return states

            sums = layers.over_time(x, pieces[f"{name}.input"], pieces.get(f"{name}.bias"))
            x = bend(name, between(name, sums.flatten(0, 1)).unflatten(0, sums.shape[:2]), recur)
        states = x.flatten(0, 1) if every_step else x[:, -1]
        y = layers.linear(states, pieces["layer1.weight"], pieces["layer1.bias"])
        y = y.unflatten(0, x.shape[:2]) if every_step else y
        return (y, torch.cat(ends, dim=1)) if carry else y

    return Model(layout, apply, tuple(names), "tanh", tuple(names), carry=(depth * parts, hidden) if carry else ())


def character_model(
    symbols: int, embedding: int, hidden: int, depth: int, forget_bias: float, carry: bool = False
) -> Model:
    """An embedding and LSTM layers that predict each next symbol: x [batch, time] in 0 … symbols − 1.

    The embedding is a product with one-hot rows, whose gradient has no order of summation to
    depend on, unlike that of a table look-up. ``carry`` as in ``recurrent_net``.
    """
    import torch

    from problems.layers import linear

    body = recurrent_net(embedding, hidden, symbols, "lstm", depth, forget_bias, every_step=True, carry=carry)
    layout = Layout((*dense("embedding", symbols, embedding, bias=None), *body.layout))

    def apply(pieces: Pieces, x: Tensor, *hooks: Any, **carried: Tensor) -> Any:
        weight = pieces["embedding.weight"]
        one_hot = (x.flatten().unsqueeze(1) == torch.arange(symbols, device=x.device)).to(weight.dtype)
        return body.apply(pieces, linear(one_hot, weight).unflatten(0, x.shape), *hooks, **carried)

    return Model(layout, apply, body.hidden, body.activation, body.units, body.carry)


def classifier(name: str, model: Model, data: Splits, **rest: Any) -> Problem:
    """Softmax cross-entropy of a model's outputs [batch, classes] against labels; ``accuracy`` beside it.

    ``rest``: further fields of :class:`Problem`.
    """
    from problems.layers import accuracy, cross_entropy

    def predict(pieces: Pieces, batch: tuple[Tensor, ...], *hooks: Any) -> Any:
        carried = {"carried": batch[-1]} if model.carry else {}
        return model.apply(pieces, batch[0], *hooks, **carried)

    return Problem(
        name,
        model.layout,
        predict,
        lambda outputs, batch: cross_entropy(outputs, batch[1]),
        *data,
        hidden=model.hidden,
        activation=model.activation,
        carry=model.carry,
        units=model.units,
        **{"metrics": {"accuracy": Metric(lambda outputs, batch: accuracy(outputs, batch[1]), "higher")}, **rest},
    )


def regressor(name: str, model: Model, data: Splits, **rest: Any) -> Problem:
    """Squared error summed over outputs, a mean over examples: ‖f(x) − y‖² for batches (x, y).

    A batch of x alone is its own target, as for an autoencoder. ``rest``: further fields of
    :class:`Problem`.
    """

    def squared_error(outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        return (outputs - batch[-1]).square().sum(1).mean()

    return Problem(
        name,
        model.layout,
        lambda pieces, batch, *between: model.apply(pieces, batch[0], *between),
        squared_error,
        *data,
        hidden=model.hidden,
        activation=model.activation,
        units=model.units,
        **rest,
    )
