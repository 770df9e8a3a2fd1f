"""Initialization by learning: starts that are trained before training, whose steps and seconds are counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from problems import problem as registry
from problems.bounds import Count, Natural, Unit
from problems.layout import Layout, dense
from problems.names import Spec
from problems.parameters import In, spec
from problems.problem import Batch, Data, Pieces, Problem
from suite.initializers.base import Initializer, NotApplicable, initializer
from suite.initializers.learning import (
    activations,
    all_activations,
    layers_of,
    start_of_pieces,
    trained,
)
from suite.optimizers import optimizer as optimizers

if TYPE_CHECKING:
    from torch import Generator, Tensor

Training = Annotated[Spec, In(optimizers)]
Source = Annotated[Spec, In(registry)]
Stage = Callable[
    [Problem, str, "Tensor", "Generator"], Problem
]  # (net, layer, its inputs, generator) -> what it learns


def layer_by_layer(inner: Initializer, optimizer: Spec, steps: int, stage: Stage) -> Initializer:
    """Train one hidden layer after the other, each on what the layers below it, which then stay, make of the data."""

    def start(problem: Problem, generator: Generator) -> Tensor:
        layers = layers_of(problem)
        theta = inner(problem, generator).clone()
        pieces = problem.layout.split(theta)
        for layer in layers:
            if pieces[f"{layer}.weight"].dim() != 2:
                raise NotApplicable(f"{layer} of {problem.name} is no dense layer")
        x = problem.train.tensors[0].flatten(1)
        for layer in layers:
            if x.shape[1] != pieces[f"{layer}.weight"].shape[1]:
                raise NotApplicable(f"{layer} of {problem.name} takes more than what the layer below it gives")
            small = stage(problem, layer, x, generator)
            learned = trained(small, optimizer, start_of_pieces(small, pieces, generator), steps, generator)
            for name, value in small.layout.split(learned).items():
                if name in pieces:
                    pieces[name].copy_(value)
            x = all_activations(problem, theta, layer)
        return theta

    return start


def _with_head(net: Problem, layer: str, head: str, outputs: int, data: tuple[Tensor, ...]) -> Problem:
    """One hidden layer of a net and a linear layer on it, on data of its own; the criterion is to be given."""
    import torch

    from problems.layers import linear

    own = [piece for piece in net.layout if piece.name in (f"{layer}.weight", f"{layer}.bias")]
    layout = Layout((*own, *dense(head, own[0].shape[0], outputs)))
    bend: Callable[[Tensor], Tensor] = getattr(torch, net.activation) if net.activation != "linear" else lambda x: x

    def predict(pieces: Pieces, batch: Batch) -> Tensor:
        hidden = bend(linear(batch[0], pieces[f"{layer}.weight"], pieces.get(f"{layer}.bias")))
        return linear(hidden, pieces[f"{head}.weight"], pieces[f"{head}.bias"])

    return Problem(f"{layer} of {net.name}", layout, predict, squared_error, Data(data), batch_size=net.batch_size)


def squared_error(outputs: Tensor, batch: Batch) -> Tensor:
    """‖f(x) − y‖², summed over outputs, a mean over examples."""
    return (outputs - batch[-1]).square().sum(1).mean()


@initializer(section="8.7.4, 15.1", reference="Vincent et al. 2008; Hinton et al. 2006; Bengio et al. 2007")
def pretraining(
    initializer: Initializer = spec("default"),
    optimizer: Training = spec("adam(lr=0.001)"),
    steps: Natural = 500,
    masked: Unit = 0.25,
) -> Initializer:
    """Greedy layer-wise unsupervised pretraining: each hidden layer is that of a denoising autoencoder.

    From the layer below come x, and x̃ in which a share of the entries is set to 0 (drawn once). The
    layer's W, b and a decoder V, c minimize the mean of ‖x − (V f(W x̃ + b) + c)‖²; then the decoder
    is thrown away and the next layer learns on f(Wx + b). No labels are used; the output layer is as drawn.

    Args:
        initializer: draws what is trained.
        steps: for each layer, in minibatches of the problem's size.
        masked: the share that is set to 0.

    Raises:
        NotApplicable: there are no dense hidden layers in a chain, or training them fails.
    """

    def autoencoder(net: Problem, layer: str, x: Tensor, generator: Generator) -> Problem:
        import torch

        kept = torch.rand(x.shape, generator=generator) >= masked
        return _with_head(net, layer, "decoder", x.shape[1], (x * kept.to(x), x))

    return layer_by_layer(initializer, optimizer, steps, autoencoder)


@initializer(section="8.7.4", reference="Bengio et al. 2007")
def greedy_supervised(
    initializer: Initializer = spec("default"), optimizer: Training = spec("adam(lr=0.001)"), steps: Natural = 500
) -> Initializer:
    """Greedy supervised pretraining: each hidden layer is that of a net with one hidden layer on the task itself.

    The layer's inputs are the activations of those below, which are trained already and stay. Its
    output layer is thrown away when the next one is trained; that of the last becomes the net's own.

    Args:
        initializer: draws what is trained.
        steps: for each layer, in minibatches of the problem's size.

    Raises:
        NotApplicable: there are no dense hidden layers in a chain, or training them fails.
    """

    def shallow(net: Problem, layer: str, x: Tensor, generator: Generator) -> Problem:
        outputs = net.outputs(_zero(net), tuple(t[:2] for t in net.train.tensors))
        if outputs.dim() != 2:
            raise NotApplicable(f"{net.name} has outputs that are no vectors")
        last = net.layout[-1].name.rpartition(".")[0] if layer == net.units[-1] else "outputs"
        small = _with_head(net, layer, last, outputs.shape[1], (x, *net.train.tensors))
        return dataclasses.replace(small, criterion=lambda outputs, batch: net.criterion(outputs, batch[1:]))

    return layer_by_layer(initializer, optimizer, steps, shallow)


def _zero(net: Problem) -> Pieces:
    return net.layout.split(net.like.new_zeros(net.size))


@initializer(section="8.7.4", reference="Yosinski et al. 2014")
def transfer(
    source: Source,
    layers: Count = 1,
    initializer: Initializer = spec("default"),
    optimizer: Training = spec("adam(lr=0.001)"),
    steps: Natural = 1000,
) -> Initializer:
    """The first k layers of a net that was trained on another problem; the others as drawn.

    Args:
        source: the other problem, trained from its default start.
        layers: k, in the order of the layout.
        initializer: draws the other layers.
        steps: on the other problem, in minibatches of its size.

    Raises:
        NotApplicable: one of the first k layers has another shape there, or is not there.
    """
    inner = initializer

    def start(problem: Problem, generator: Generator) -> Tensor:
        other = registry.build(source).to(problem.like.device, problem.like.dtype)
        mine, theirs = _layers(problem)[:layers], _layers(other)[:layers]
        if [shapes for _, shapes in mine] != [shapes for _, shapes in theirs] or len(mine) < layers:
            raise NotApplicable(
                f"the first {layers} layers of {problem.name} have shapes {[s for _, s in mine]}, "
                f"those of {other.name} {[s for _, s in theirs]}"
            )
        theta = inner(problem, generator).clone()
        first = _default(other, generator)
        learned = other.layout.split(trained(other, optimizer, first, steps, generator))
        pieces = problem.layout.split(theta)
        for (names, _), (there, _) in zip(mine, theirs, strict=True):
            for name, of_source in zip(names, there, strict=True):
                pieces[name].copy_(learned[of_source])
        return theta

    return start


def _layers(problem: Problem) -> list[tuple[list[str], list[tuple[int, ...]]]]:
    """The names and shapes of each layer's pieces; a layer is what agrees up to the last dot."""
    names: dict[str, list[str]] = {}
    for piece in problem.layout:
        if piece.role != "other":
            names.setdefault(piece.name.rpartition(".")[0], []).append(piece.name)
    return [(own, [problem.layout.named(name).shape for name in own]) for own in names.values()]


def _default(problem: Problem, generator: Generator) -> Tensor:
    return initializer.build(initializer.bind("default"))(problem, generator)


@initializer(section="8.7.5", reference="Romero et al. 2015")
def hints(
    teacher: Source,
    initializer: Initializer = spec("default"),
    optimizer: Training = spec("adam(lr=0.001)"),
    teacher_steps: Natural = 1000,
    steps: Natural = 1000,
    hint: Natural = 0,
    guided: Natural = 0,
) -> Initializer:
    """FitNets: the lower half of a thin deep net first learns to predict a middle layer of a wider, shallower one.

    The teacher is trained on the same examples. Then the student's layers up to the guided one and a
    linear regressor r minimize the mean of ½‖v(x) − r(u(x))‖² for the teacher's activations v of its hint
    layer and the student's u of its guided layer. r is thrown away; the run that follows trains the
    whole student, on the problem's own loss, where the paper adds the teacher's softened outputs to it.

    Args:
        teacher: a problem on the same examples.
        initializer: draws the student.
        teacher_steps, steps: for the teacher and for the hints, in minibatches of the problems' sizes.
        hint, guided: which hidden layers, from 1 on; 0 for the middle ones.

    Raises:
        NotApplicable: the teacher has other examples, or hidden layers are not told.
    """
    inner = initializer

    def start(problem: Problem, generator: Generator) -> Tensor:
        import torch

        wide = registry.build(teacher).to(problem.like.device, problem.like.dtype)
        if not torch.equal(wide.train.tensors[0].flatten(1), problem.train.tensors[0].flatten(1)):
            raise NotApplicable(f"{wide.name} has other training examples than {problem.name}")
        hinted, led = _chosen(wide, hint), _chosen(problem, guided)
        theta = inner(problem, generator).clone()
        known = trained(wide, optimizer, _default(wide, generator), teacher_steps, generator)
        student = _hinted(problem, led, all_activations(wide, known, hinted), theta)
        pieces = problem.layout.split(theta)
        learned = trained(student, optimizer, start_of_pieces(student, pieces, generator), steps, generator)
        for name, value in student.layout.split(learned).items():
            if name in pieces:
                pieces[name].copy_(value)
        return theta

    return start


def _chosen(net: Problem, number: int) -> str:
    layers = layers_of(net)
    if number > len(layers):
        raise NotApplicable(f"{net.name} has {len(layers)} hidden layers, not {number}")
    return layers[(number or (len(layers) + 1) // 2) - 1]


def _hinted(net: Problem, layer: str, wanted: Tensor, theta: Tensor) -> Problem:
    """The regression of a teacher's activations [n, units] on those of a layer of the net."""
    from problems.layers import linear

    below = net.units[: net.units.index(layer) + 1]
    own = [piece for piece in net.layout if piece.name.rpartition(".")[0] in below]
    rest = {name: value.to(net.like) for name, value in net.layout.split(theta).items()}
    for piece in own:
        del rest[piece.name]
    units = all_activations(net, theta, layer).shape[1]
    layout = Layout((*own, *dense("regressor", units, wanted.shape[1])))

    def predict(pieces: Pieces, batch: Batch) -> Tensor:
        at = activations(net, {**rest, **pieces}, (batch[0], *batch[2:]), layer).flatten(1)
        return linear(at, pieces["regressor.weight"], pieces["regressor.bias"])

    def criterion(outputs: Tensor, batch: Batch) -> Tensor:
        return 0.5 * (outputs - batch[1]).square().sum(1).mean()

    data = Data((net.train.tensors[0], wanted))
    return Problem(f"hints for {net.name}", layout, predict, criterion, data, batch_size=net.batch_size)
