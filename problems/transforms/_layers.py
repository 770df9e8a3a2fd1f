"""What transforms of an architecture need to know of the one that they change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from problems.layout import Layout
from problems.models import Elementwise, untouched
from problems.names import UsageError
from problems.problem import Problem
from problems.starts import Start, filled

if TYPE_CHECKING:
    from torch import Generator, Tensor


SHIFT = "continuation.shift"  # what a blurred problem adds to its parameters in training


def need(who: str, made: Problem, layers: tuple[str, ...], what: str) -> None:
    """Raise a UsageError where there are no layers to work on."""
    if not layers:
        raise UsageError(
            f"{who}: {made.name} has no hidden layers {what}; take a net that has, such as digits_deep_mlp "
            "(a problem of your own names its layers in Problem.hidden and Problem.units)"
        )


def need_new(who: str, made: Problem, names: list[str], done: str) -> None:
    """Raise a UsageError where a transform's pieces are there already, or come too late to be blurred."""
    if {piece.name for piece in made.layout} & set(names):
        raise UsageError(f"{who}: {made.name} {done} already; leave one {who} out")
    if SHIFT in made.step_pieces:
        raise UsageError(f"{who}: {made.name} blurs the parameters that it has now; write continuation({who}(...))")


def looked(made: Problem, *hooks: Any) -> Tensor:
    """The outputs on two examples at θ = 0, with hooks that look on the way."""
    import torch

    with torch.no_grad():
        pieces = made.layout.split(torch.zeros(made.size, dtype=made.like.dtype, device=made.like.device))
        return made.outputs(pieces, tuple(t[:2] for t in made.train.tensors), *hooks)


def shapes(made: Problem) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """The shape of one example's activations in each layer, in their order, and of its outputs."""
    found: dict[str, tuple[int, ...]] = {}

    def bend(name: str, x: Tensor, nonlinearity: Elementwise) -> Tensor:
        y = nonlinearity(x)
        found[name] = tuple(y.shape[1:])
        return y

    outputs = looked(made, untouched, bend)
    return found, tuple(outputs.shape[1:])


def nonlinearities(made: Problem) -> int:
    """How often a pass meets a nonlinearity of hidden units that can be changed."""
    from problems.nonlinear import changing

    met = []

    def counted(f: Elementwise, x: Tensor) -> Tensor:
        met.append(f)
        return f(x)

    with changing(counted):
        looked(made)
    return len(met)


def begun(inner: Problem, layout: Layout, draw: Callable[[Any, Any, Any], None] | None = None) -> Start | None:
    """A start in a layout with further pieces: the others as the inner problem draws them, those by ``draw`` or their
    fill."""
    if inner.start is None:
        return None
    known = {piece.name for piece in inner.layout}

    def begin(generator: Generator) -> Tensor:
        assert inner.start is not None
        values = dict(inner.layout.split(inner.start(generator)))
        for piece in layout:
            if piece.name not in known:
                values[piece.name] = filled(piece).clone()
                if piece.role == "weight" and draw is not None:
                    draw(values[piece.name], piece, generator)
        return layout.join(values)

    return begin


def changed(inner: Problem, transform: Callable[[Problem], Problem], **fields: Any) -> Problem:
    """The problem with another architecture, in what is evaluated too.

    Args:
        transform: makes the same of what is evaluated.
    """
    target = inner.target and dataclasses.replace(inner.target, origin=f"that of {inner.name}: {inner.target.origin}")
    evaluated = inner.evaluated and transform(inner.evaluated)
    return dataclasses.replace(inner, target=target, evaluated=evaluated, minimum=None, flow=None, **fields)
