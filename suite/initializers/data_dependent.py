"""Starts that look at a minibatch: each layer's weights are scaled by what it makes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from problems.bounds import Count, Positive
from problems.names import NotApplicable
from problems.parameters import spec
from problems.problem import Batch, Pieces, Problem
from suite.initializers.base import Initializer, initializer
from suite.initializers.spending import charge

if TYPE_CHECKING:
    from torch import Generator, Tensor


def layers_of(problem: Problem) -> list[str]:
    """The layers in the order of a pass: the hidden ones, and the one of the outputs where it can be told.

    Raises:
        NotApplicable: the problem tells no hidden layers, or normalizes them.
    """
    if not problem.hidden:
        raise NotApplicable(
            f"{problem.name} has no hidden layers whose sums could be scaled; take a net that has, such as digits_mlp "
            "(a problem of your own names its layers in Problem.hidden)"
        )
    if any(piece.name == f"{problem.hidden[0]}.gamma" for piece in problem.layout):
        raise NotApplicable(
            f"{problem.name} normalizes its sums at every step, so they do not depend on how weights are scaled; take "
            "a start that draws, such as he_normal, or the net without batch_norm"
        )
    others = [p.name.rpartition(".")[0] for p in problem.layout if p.role == "weight"]
    others = [name for name in dict.fromkeys(others) if name not in problem.hidden]
    return [*problem.hidden, *(name for name in others[-1:] if _makes_outputs(problem, name))]


def _makes_outputs(problem: Problem, layer: str) -> bool:
    """Whether twice a layer's weights and biases give twice the outputs, at some θ."""
    import torch

    generator = torch.Generator().manual_seed(0)
    own = {piece.name for piece in problem.layout.of(layer)}
    pieces = problem.layout.split(torch.randn(problem.size, generator=generator).to(problem.like) / 8)
    batch = tuple(t[:4] for t in problem.train.tensors)
    with torch.no_grad():
        outputs = problem.outputs(pieces, batch)
        twice = problem.outputs({name: 2 * t if name in own else t for name, t in pieces.items()}, batch)
    return torch.allclose(twice, 2 * outputs, rtol=1e-3)


def minibatch(problem: Problem, examples: int, generator: Generator) -> Batch:
    """So many training examples, drawn at random; all if there are not so many."""
    import torch

    chosen = torch.randperm(len(problem.train), generator=generator)[:examples].to(problem.like.device)
    return tuple(t[chosen] for t in problem.train.tensors)


@initializer(section="8.4", reference="Mishkin & Matas 2015")
def lsuv(
    initializer: Initializer = spec("orthogonal"), tol: Positive = 0.1, rounds: Count = 10, examples: Count = 256
) -> Initializer:
    """Layer-sequential unit variance: one layer after the other, weights are divided by the std of the layer's sums.

    For each layer in the order of a pass W ← W/√Var(Wx + b) until |Var(Wx + b) − 1| < tol, at most
    ``rounds`` times, on one minibatch, over whose examples and all units the variance is taken; of a recurrent
    layer also over all steps, of Wx + b without what its state adds, whose matrix stays. Biases stay.
    One forward pass is enough, since a layer's inputs are scaled already when it is met.

    Args:
        initializer: draws what is scaled; the paper takes orthonormal matrices.
        examples: in the minibatch.

    Raises:
        NotApplicable: there are no hidden layers, or they are normalized; or a layer's sums are all alike.
    """
    inner = initializer

    def start(problem: Problem, generator: Generator) -> Tensor:
        import torch

        net = problem.plain
        layers = layers_of(net)
        theta = inner(problem, generator).clone()
        pieces = problem.layout.split(theta)
        at = {name: piece.to(problem.like) for name, piece in pieces.items()}

        def scale(name: str, sums: Tensor) -> Tensor:
            bias = at.get(f"{name}.bias", sums.new_zeros(sums.shape[1])).view(-1, *[1] * (sums.dim() - 2))
            product, factor = sums - bias, 1.0
            for _ in range(rounds):
                variance = float((factor * product + bias).var())
                if not 0 < variance < math.inf:
                    raise NotApplicable(
                        f"the sums of {name} in {problem.name} have a variance of {variance:g}, which no factor "
                        "makes 1; draw other weights to be scaled"
                    )
                if abs(variance - 1) < tol:
                    break
                factor /= math.sqrt(variance)
            pieces[problem.layout.weight_of(name).name].mul_(factor)
            return factor * product + bias

        with torch.no_grad():
            outputs = net.outputs(at, minibatch(problem, examples, generator), scale)
            if layers[-1] not in net.hidden:
                dense = len(problem.layout.weight_of(layers[-1]).shape) == 2
                scale(layers[-1], outputs.flatten(0, -2) if dense else outputs)
        charge(value=1)
        return theta

    return start


@initializer(section="8.4")
def scaled_by_hand(
    initializer: Initializer = spec("default"),
    low: Positive = 0.5,
    high: Positive = 2.0,
    rounds: Count = 200,
    examples: Count = 256,
) -> Initializer:
    """What a person does by hand: look at one minibatch's activations and gradients, and scale layer by layer.

    The first layer whose sums have a standard deviation outside [low, high] gets its weights divided by
    it, until there is none. Then the same for gradients, from the outputs down: where the gradient for a
    layer's sums is below ``low`` or above ``high`` times that for the layer above, the weights between the two
    are scaled to bring it to 1, as far as all activations stay within [low, high].

    Args:
        rounds: looks, each of which costs a gradient, at most.
        examples: in the minibatch.

    Raises:
        NotApplicable: there are no hidden layers, or they are normalized; or a layer's sums are all alike.
    """
    inner = initializer

    def start(problem: Problem, generator: Generator) -> Tensor:
        layers = layers_of(problem)
        theta = inner(problem, generator).clone()
        pieces = problem.layout.split(theta)
        batch = minibatch(problem, examples, generator)
        for _ in range(rounds):
            sums, gradients = ([float(t.std()) for t in of] for of in look(problem, pieces, batch, layers))
            change = next(_proposed(layers, sums, gradients, low, high), None)
            if change is None:
                break
            name, factor = change
            if not 0 < factor < math.inf:
                raise NotApplicable(
                    f"the sums of {name} in {problem.name} are all alike or not finite, so that no factor brings them "
                    "into the band; draw other weights to be scaled"
                )
            pieces[problem.layout.weight_of(name).name].mul_(factor)
        return theta

    return start


def look(problem: Problem, pieces: Pieces, batch: Batch, layers: list[str]) -> tuple[list[Tensor], list[Tensor]]:
    """Each layer's sums [examples, units, …] and the gradients of the loss for them; counted as one gradient."""
    import torch

    found: dict[str, Tensor] = {}

    def between(name: str, sums: Tensor) -> Tensor:
        found[name] = sums
        return sums

    at = {name: piece.to(problem.like).clone().requires_grad_() for name, piece in pieces.items()}
    with torch.enable_grad():
        outputs = problem.outputs(at, batch, between)
        found[layers[-1]] = found.get(layers[-1], outputs)
        sums = [found[name] for name in layers]
        gradients = torch.autograd.grad(problem.criterion(outputs, batch), sums)
    charge(gradient=1)
    return [s.detach() for s in sums], list(gradients)


def _proposed(
    layers: list[str], activations: list[float], gradients: list[float], low: float, high: float
) -> Iterator[tuple[str, float]]:
    """(layer, factor of its weights), the most urgent first."""
    for name, std in zip(layers, activations, strict=True):
        if not low <= std <= high:
            yield name, 1 / std if std else math.inf
    for i in reversed(range(len(layers) - 1)):
        ratio = gradients[i] / gradients[i + 1] if gradients[i + 1] else math.inf
        if low <= ratio <= high or not 0 < ratio < math.inf:
            continue
        above = activations[i + 1 :]
        factor = min(max(1 / ratio, low / min(above)), high / max(above))
        if abs(math.log(factor)) > 0.01:
            yield layers[i + 1], factor


@initializer(section="8.4, 8.7.5", reference="Zhang, Dauphin & Ma 2019")
def fixup(initializer: Initializer = spec("he_normal")) -> Initializer:
    """Residual nets without normalization: each branch begins at 0, so that depth does not blow signals up.

    In each of L branches of m layers the last layer is 0 and the others are as drawn times L^(−1/(2m−2));
    the output layer is 0, the branches' factors are 1 and all biases 0. The paper also puts a scalar
    bias before each layer, which the biases of the layers here make up for.

    Raises:
        NotApplicable: there are no residual branches of several layers, the last without a nonlinearity.
    """
    inner = initializer

    def start(problem: Problem, generator: Generator) -> Tensor:
        branches = problem.layout.branches()
        if not any(len(layers) > 1 for layers in branches):
            raise NotApplicable(
                f"{problem.name} has no residual branches of several layers with a factor; take a residual net, such "
                "as cifar10_resnet"
            )
        theta = inner(problem, generator).clone()
        pieces = problem.layout.split(theta)
        for *firsts, last in branches:
            for layer in firsts:
                pieces[f"{layer}.weight"].mul_(len(branches) ** (-1 / (2 * len(firsts))))
            pieces[f"{last}.weight"].zero_()
        pieces[[piece.name for piece in problem.layout if piece.role == "weight"][-1]].zero_()
        for piece in problem.layout:
            if piece.role in ("bias", "scale"):
                pieces[piece.name].fill_(float(piece.role == "scale"))
        return theta

    return start
