"""Continuation methods: a series of ever less smooth objectives (section 8.7.6)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from problems.bounds import Count, Positive
from problems.course import Course, Stream, progress
from problems.names import UsageError
from problems.problem import Batch, Pieces, Problem, problem
from problems.transforms._layers import SHIFT, nonlinearities

if TYPE_CHECKING:
    from torch import Tensor

SHARE = "annealed.share"


@problem(section="8.7.6", equation="8.40", source="Deep Learning, section 8.7.6; Mobahi & Fisher 2015")
def continuation(
    problem: Problem, sigma: Positive = 0.1, steps: Count = 1000, stages: Count = 10, samples: Count = 1
) -> Problem:
    """Another problem whose training begins with a blurred loss: E J(θ + σε), ε ~ N(0, I), for σ from ``sigma`` to 0.

    J⁽ⁱ⁾ with σᵢ = sigma·(1 − i/stages) for ``steps``/``stages`` steps each, i = 0 … stages − 1, and the loss itself
    from ``steps`` on. A quadratic keeps its minimum and gains ½σ² tr H; a double well loses its barrier
    where σ is large enough. The expectation is a mean over draws of ε, which are new at each step and the
    same for all evaluations of a step (common random numbers): gradients are unbiased. Evaluation
    measures the loss itself. A penalty is not blurred.

    Args:
        sigma: the first σ, of every entry of θ.
        samples: draws of ε at a step, each of which costs a gradient, after the last stage too.

    Raises:
        UsageError: the problem is blurred already, or carries something from batch to batch.

    Source: *Deep Learning*, section 8.7.6, equation 8.40; Mobahi & Fisher 2015.
    """
    import torch

    inner = problem
    if SHIFT in inner.step_pieces:
        raise UsageError(f"continuation: {inner.name} is blurred already; leave one continuation out")
    if inner.carry:
        raise UsageError(
            f"continuation: {inner.name} carries a state on, of which there would be one for each draw; carry=False "
            "begins every sequence anew"
        )

    def drawn(k: int, stream: Stream) -> Tensor:
        spread = sigma * (1 - progress(k, steps, stages))
        shape = (samples, inner.size)
        return spread * torch.randn(shape, generator=stream()) if spread else torch.zeros(shape)

    def predict(pieces: Pieces, batch: Batch, *hooks: object) -> Tensor:
        shift = pieces.get(SHIFT)
        if shift is None:
            return inner.predict(pieces, batch, *hooks).unsqueeze(0)
        shifts = (inner.layout.split(row) for row in shift.unbind(0))
        moved = ({**pieces, **{name: pieces[name] + by for name, by in of.items()}} for of in shifts)
        return torch.stack([inner.predict(at, batch, *hooks) for at in moved])

    def criterion(outputs: Tensor, batch: Batch) -> Tensor:
        return torch.stack([inner.criterion(each, batch) for each in outputs.unbind(0)]).mean()

    return dataclasses.replace(
        inner,
        name=f"continuation({inner.name})",
        predict=predict,
        criterion=criterion,
        evaluated=inner.evaluated or inner,
        course=Course(pieces={SHIFT: drawn}, who="continuation").after(inner.course),
        flow=None,
    )


@problem(section="8.7.6", source="Deep Learning, section 8.7.6; Gulcehre et al. 2017, mollifying networks")
def annealed(problem: Problem, steps: Count = 1000, stages: Count = 10) -> Problem:
    """Another problem whose training begins with a linear net: f_a(x) = a x + (1 − a) f(x), a from 1 to 0.

    f is the nonlinearity of the hidden layers; a = 1 − i/stages for ``steps``/``stages`` steps each,
    i = 0 … stages − 1, and 0, the net itself, from ``steps`` on. For ReLU f_a is leaky with slope a.
    Of an LSTM f is the tanh of candidates and of cells, so that its memory begins linear in what its gates let
    pass; the gates are what they are. Of a module it is every nonlinearity before the outputs' layer.
    Evaluation is of the net itself.

    Raises:
        UsageError: there are no hidden layers with a nonlinearity; it is annealed already.

    Source: *Deep Learning*, section 8.7.6; Gulcehre, Moczulski, Visin & Bengio 2017, with one a for all layers.
    """
    import torch

    from problems.nonlinear import changing

    inner = problem
    if SHARE in inner.step_pieces:
        raise UsageError(f"annealed: {inner.name} is annealed already; leave one annealed out")
    if not nonlinearities(inner):
        raise UsageError(
            f"annealed: {inner.name} has no hidden units with a nonlinearity to begin without; take a net that has, "
            "such as digits_mlp (a problem of your own tells it by problems.nonlinear.changeable)"
        )

    def linear(k: int, stream: Stream) -> Tensor:
        return torch.tensor(1 - progress(k, steps, stages))

    def predict(pieces: Pieces, batch: Batch, *hooks: object) -> Tensor:
        share = pieces.get(SHARE)
        if share is None:
            return inner.predict(pieces, batch, *hooks)
        with changing(lambda f, x: x.lerp(f(x), 1 - share)):
            return inner.predict(pieces, batch, *hooks)

    return dataclasses.replace(
        inner,
        name=f"annealed({inner.name})",
        predict=predict,
        course=Course(pieces={SHARE: linear}, who="annealed").after(inner.course),
        flow=None,
    )
