"""Initialization by learning: starts that are trained before training, whose steps and seconds are counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from problems import problem as registry
from problems.bounds import Count, Natural, Unit
from problems.course import Course, Stream
from problems.heads import head_on
from problems.names import NotApplicable, Spec
from problems.parameters import In, spec
from problems.problem import Batch, Pieces, Problem
from problems.ways import gone_around, trunk
from suite.initializers.base import Initializer, initializer
from suite.initializers.learning import (
    activations,
    below,
    few,
    layers_of,
    learn,
    part_of,
    shape_of,
    trained,
)
from suite.initializers.maps import Map
from suite.optimizers import optimizer as optimizers

if TYPE_CHECKING:
    from torch import Generator, Tensor

Training = Annotated[Spec, In(optimizers)]
Source = Annotated[Spec, In(registry)]
Layers = Callable[[Problem], tuple[str, ...]]
Stage = Callable[[Problem, "Tensor", str, str], Problem]  # (net, θ, layer, the one before or "") -> what it learns


def layer_by_layer(inner: Initializer, optimizer: Spec, steps: int, stage: Stage, layers: Layers) -> Initializer:
    """Train one hidden layer after the other, each on what the layers below it, which then stay, make of the data."""

    def start(problem: Problem, generator: Generator) -> Tensor:
        net = problem.plain
        chain = layers(net)
        theta = inner(problem, generator).clone()
        pieces = problem.layout.split(theta)
        for before, layer in pairwise(("", *chain)):
            small = stage(net, net.layout.join(pieces), layer, before)
            learn(small, optimizer, pieces, steps, generator)
        return theta

    return start


def own(net: Problem, layer: str, before: str) -> set[str]:
    """The pieces of a layer and of what lies between it and the one before."""
    return below(net, layer) - (below(net, before) if before else set())


@initializer(section="8.7.4, 15.1", reference="Vincent et al. 2008; Masci et al. 2011; Hinton et al. 2006")
def pretraining(
    initializer: Initializer = spec("default"),
    optimizer: Training = spec("adam(lr=0.001)"),
    steps: Natural = 500,
    masked: Unit = 0.25,
) -> Initializer:
    """Greedy layer-wise unsupervised pretraining: each hidden layer is that of a denoising autoencoder.

    From the layer below come x, and x̃ in which a share of the entries is set to 0, others at each step. The
    layer's W, b and a decoder V, c minimize the mean of ‖x − (V f(W x̃ + b) + c)‖²; then the decoder
    is thrown away and the next layer learns on f(Wx + b). No labels are used; the output layer is as drawn.
    Between images f pools too, and V is a convolution behind a resizing to the nearest pixel (Masci et al. put
    values back where their maxima were); of recurrent layers each step's state is decoded.

    Args:
        initializer: draws what is trained.
        steps: for each layer, in minibatches of the problem's size.
        masked: the share that is set to 0.

    Raises:
        NotApplicable: there are no hidden layers in a chain, the inputs are no numbers, or training fails.
    """
    return layer_by_layer(initializer, optimizer, steps, partial(denoising, masked=masked), _chain)


def _chain(net: Problem) -> tuple[str, ...]:
    layers = layers_of(net)
    if not net.train.tensors[0].is_floating_point():
        raise NotApplicable(
            f"the inputs of {net.name} are symbols, of which none is 0 to mask others by; take greedy_supervised"
        )
    if around := gone_around(net, to_outputs=False):
        raise NotApplicable(
            f"there are ways around {min(around, key=layers.index)} of {net.name}, by which what is masked would be "
            "seen all the same; take greedy_supervised, or a net without"
        )
    return layers


def denoising(net: Problem, theta: Tensor, layer: str, before: str, masked: float) -> Problem:
    """The denoising autoencoder of a layer: what it learns, with all below as in θ."""
    import torch

    given = shape_of(net, before) if before else tuple(net.train.tensors[0].shape[1:])
    kernel = net.layout.weight_of(layer).shape
    decoder = Map("decoder", shape_of(net, layer), given, kernel[-1] if len(kernel) == 4 else 1)
    size = min(net.batch_size, len(net.train))

    def mask(k: int, stream: Stream) -> Tensor:
        return (torch.rand(size, *given, generator=stream()) >= masked).float()

    def predict(pieces: Pieces, batch: Batch) -> Tensor:
        clean = batch[0]
        kept = pieces.get("mask", 1.0)

        def seen(name: str, y: Tensor) -> Tensor:
            nonlocal clean
            if name != before:
                return y
            clean = y
            return y * kept

        x = batch[0] if before else batch[0] * kept
        coded = activations(net, pieces, (x, *batch[1:]), layer, seen)
        return torch.stack([decoder(pieces, coded), clean])

    return part_of(
        net,
        theta,
        own(net, layer, before),
        decoder.pieces,
        name=f"{layer} of {net.name}",
        predict=predict,
        criterion=lambda outputs, batch: apart(outputs),
        course=Course(pieces={"mask": mask}, who="pretraining"),
    )


def apart(outputs: Tensor) -> Tensor:
    """Of two activations [2, batch, …] the squared distance, a mean over examples."""
    return (outputs[0] - outputs[1]).square().flatten(1).sum(1).mean()


@initializer(section="8.7.4", reference="Bengio et al. 2007; Belilovsky et al. 2019")
def greedy_supervised(
    initializer: Initializer = spec("default"), optimizer: Training = spec("adam(lr=0.001)"), steps: Natural = 500
) -> Initializer:
    """Greedy supervised pretraining: each hidden layer is that of a net with one hidden layer on the task itself.

    The layer's inputs are the activations of those below, which are trained already and stay. Its
    output layer is thrown away when the next one is trained; that of the last becomes the net's own. Of images it
    sees the mean of each channel, of sequences each step or the last one, as the net's own does. In a residual net
    each branch is trained as a whole, and so is what something goes around.

    Args:
        initializer: draws what is trained.
        steps: for each layer, in minibatches of the problem's size.

    Raises:
        NotApplicable: there are no hidden layers, the outputs are neither a vector nor one at each step, or
            training fails.
    """
    return layer_by_layer(initializer, optimizer, steps, shallow, _trunk)


def _trunk(net: Problem) -> tuple[str, ...]:
    layers_of(net)
    layers = trunk(net)
    if not layers:
        raise NotApplicable(
            f"there are ways around all hidden layers of {net.name}; take a net with one that everything goes by"
        )
    return layers


def shallow(net: Problem, theta: Tensor, layer: str, before: str) -> Problem:
    """A layer and outputs on it, with all below as in θ: what it learns."""
    fields = {"name": f"{layer} of {net.name}", "criterion": net.criterion}
    if layer == trunk(net)[-1]:
        names = {piece.name for piece in net.layout} - (below(net, before) if before else set())
        return part_of(net, theta, names, [], predict=net.outputs, **fields)
    outputs = tuple(net.outputs(net.layout.split(theta.to(net.like)), few(net)).shape[1:])
    try:
        head = head_on(layer, "outputs", net.layout, shape_of(net, layer), outputs)
    except ValueError as reason:
        raise NotApplicable(f"{net.name} has {reason}") from None

    def predict(pieces: Pieces, batch: Batch) -> Tensor:
        return head(pieces, activations(net, pieces, batch, layer))

    return part_of(net, theta, own(net, layer, before), head.pieces, predict=predict, **fields)


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
                f"the first {layers} of {problem.name}'s layers have shapes {[s for _, s in mine]}, those of "
                f"{other.name} {[s for _, s in theirs]}; take fewer layers, or a source that begins in the same way"
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
        wide = registry.build(teacher).to(problem.like.device, problem.like.dtype)
        if not _same(wide.train.tensors[0], problem.train.tensors[0]):
            raise NotApplicable(
                f"the teacher {wide.name} has other training examples than {problem.name}; take one on the same data"
            )
        hinted, led = _chosen(wide, hint), _chosen(problem, guided)
        theta = inner(problem, generator).clone()
        known = trained(wide, optimizer, _default(wide, generator), teacher_steps, generator)
        student = hinted_by(wide, known, hinted, problem, theta, led)
        learn(student, optimizer, problem.layout.split(theta), steps, generator)
        return theta

    return start


def _same(x: Tensor, y: Tensor) -> bool:
    """Whether inputs are alike, in one shape or another."""
    import torch

    return torch.equal(x.flatten(1), y.flatten(1))


def _chosen(net: Problem, number: int) -> str:
    layers = layers_of(net)
    if number > len(layers):
        raise NotApplicable(f"{net.name} has {len(layers)} hidden layers, not {number}; choose one of these")
    return layers[(number or (len(layers) + 1) // 2) - 1]


def hinted_by(wide: Problem, known: Tensor, hint: str, net: Problem, theta: Tensor, guided: str) -> Problem:
    """The regression of the activations of a teacher's layer on those of a layer of the net."""
    import torch

    shape, inputs = shape_of(wide, hint), wide.train.tensors[0].shape[1:]
    regressor = Map("regressor", shape_of(net, guided), shape)
    teacher = wide.layout.split(known.to(net.like))

    def predict(pieces: Pieces, batch: Batch) -> Tensor:
        wanted = activations(wide, teacher, (batch[0].reshape(-1, *inputs), *batch[1:]), hint)
        return torch.stack([regressor(pieces, activations(net, pieces, batch, guided)), wanted])

    return part_of(
        net,
        theta,
        below(net, guided),
        regressor.pieces,
        name=f"hints for {net.name}",
        predict=predict,
        criterion=lambda outputs, batch: 0.5 * apart(outputs),
    )
