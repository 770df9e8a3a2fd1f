"""Models that are easier to train: ways around layers, and outputs on the way (section 8.7.5)."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from problems.bounds import Count, NonNegative
from problems.heads import head_on
from problems.layout import Layout, Piece
from problems.models import Bend, Between, Elementwise, plainly, untouched
from problems.names import UsageError
from problems.problem import Batch, Pieces, Problem, problem
from problems.starts import lecun_uniform
from problems.transforms._layers import begun, changed, need, need_new, shapes
from problems.ways import gone_around, trunk

if TYPE_CHECKING:
    from torch import Tensor


@problem(section="8.7.5", source="Deep Learning, section 8.7.5; He et al. 2016")
def skip_connections(problem: Problem, every: Count = 1) -> Problem:
    """Another problem in which a hidden layer's activations are added to those of the layer ``every`` layers on.

    h_l ← S h_{l−k} + α_l f(W h_{l−1} + b) with k = ``every``, for hidden layers l = k + 1, k + 2, …: the shortest
    way from a layer to the loss becomes k times shorter than the net is deep. S takes every so many-th
    pixel of images that have shrunk, and fills new channels or units with 0, or leaves surplus ones out
    (He et al. 2016, option A: no parameters). States of recurrent layers one above the other are added at each step
    (Wu et al. 2016, GNMT). The scalars α_l, new parameters, start at 1/√d for d
    connections, so that the signal grows by at most √e (De & Smith 2020). There is none from images to dense layers.

    Raises:
        UsageError: there are no two hidden layers to connect; there are ways around layers already.

    Source: *Deep Learning*, section 8.7.5; He et al. 2016 (residual nets).
    """
    inner, who = problem, "skip_connections"
    need(who, inner, inner.units, "to connect")
    need_new(who, inner, [f"{name}.skip" for name in inner.units], "has skip connections")
    if around := gone_around(inner, to_outputs=False):
        first = min(around, key=inner.units.index)
        raise UsageError(
            f"{who}: {inner.name} has ways around its layers already, such as around {first}; take a net without, as "
            "cifar10_resnet(skip=False)"
        )
    shape, _ = shapes(inner)
    names = list(shape)
    if len(names) <= every:
        count = f"{len(names)} hidden layer{'s' * (len(names) > 1)}"
        raise UsageError(f"{who}: {inner.name} has {count}; connections {every} apart take {every + 1} or more")
    pairs = {to: frm for frm, to in zip(names, names[every:], strict=False) if len(shape[frm]) == len(shape[to])}
    if not pairs:
        raise UsageError(
            f"{who}: {inner.name} has no two hidden layers of one kind (images, vectors) that are {every} apart; "
            "choose another distance, every=..."
        )
    scales = {to: f"{to}.skip" for to in pairs}
    start = len(pairs) ** -0.5
    layout = Layout((*inner.layout, *(Piece(name, (1,), "scale", fill=(start,)) for name in scales.values())))

    def predict(pieces: Pieces, batch: Batch, between: Between = untouched, bend: Bend = plainly) -> Tensor:
        seen: dict[str, Tensor] = {}

        def connected(name: str, x: Tensor, nonlinearity: Elementwise) -> Tensor:
            def around(x: Tensor) -> Tensor:
                y = nonlinearity(x)
                return _shortcut(seen[pairs[name]], y) + pieces[scales[name]] * y if name in pairs else y

            seen[name] = bend(name, x, around)
            return seen[name]

        return inner.predict(pieces, batch, between, connected)

    return changed(
        inner,
        partial(skip_connections, every=every),
        name=f"{who}({inner.name})",
        layout=layout,
        predict=predict,
        start=begun(inner, layout),
    )


def _shortcut(x: Tensor, like: Tensor) -> Tensor:
    """x [batch, channels, …] in the shape of ``like``: every so many-th pixel, channels filled with 0 or left out."""
    from torch.nn.functional import pad

    for axis in range(2, x.dim()):
        size = like.shape[axis]
        every = max(1, x.shape[axis] // size)
        x = x[(slice(None),) * axis + (slice(None, None, every),)].narrow(axis, 0, size)
    more = like.shape[1] - x.shape[1]
    return pad(x, [0, 0] * (x.dim() - 2) + [0, more]) if more else x


@problem(section="8.7.5", source="Deep Learning, section 8.7.5; Lee et al. 2015")
def auxiliary_heads(problem: Problem, weight: NonNegative = 0.3, margin: NonNegative = 0.0) -> Problem:
    """Another problem whose hidden layers are taught too: each gets a linear head with the loss of the outputs.

    In training the loss is C(y) + w Σ_l max(C(y_l) − γ, 0) with the criterion C, w = ``weight``, γ = ``margin``
    and the outputs y_l = U_l h_l + c_l of the heads, new parameters; images are averaged over their pixels
    before, and of sequences each step has its outputs, or the last one, as the net has. So every layer hears from
    the labels directly. None is on the last hidden layer, which the outputs teach, nor on one that something goes
    around: in a residual net they are where branches end. The heads count in training only: evaluation measures
    the outputs.

    Args:
        weight: 0.3 as in GoogLeNet (Szegedy et al. 2015).
        margin: a head whose loss is below it is left in peace.

    The heads are drawn from U(−1/√m, 1/√m). Lee et al. let w decay and use a squared hinge loss.

    Raises:
        UsageError: there are no two hidden layers; they have heads already; the outputs are neither a vector
            nor one at each step.

    Source: *Deep Learning*, section 8.7.5; Lee et al. 2015, deeply-supervised nets, equation 3; Szegedy et al. 2015.
    """
    import torch

    inner, who = problem, "auxiliary_heads"
    need(who, inner, inner.units, "to teach")
    need_new(who, inner, [f"{name}.head.weight" for name in inner.units], "has heads")
    below = [name for name in trunk(inner) if name != inner.units[-1]]
    if not below:
        raise UsageError(
            f"{who}: {inner.name} has no hidden layers that everything goes by but the last, which its outputs teach; "
            "take a net with two or more that everything goes by"
        )
    shape, outputs = shapes(inner)
    try:
        heads = {name: head_on(name, f"{name}.head", inner.layout, shape[name], outputs) for name in below}
    except ValueError as reason:
        raise UsageError(f"{who}: {inner.name} has {reason}") from None
    layout = Layout((*inner.layout, *(piece for head in heads.values() for piece in head.pieces)))

    def predict(pieces: Pieces, batch: Batch, between: Between = untouched, bend: Bend = plainly) -> Any:
        found: list[Tensor] = []

        def taught(name: str, x: Tensor, nonlinearity: Elementwise) -> Tensor:
            y = bend(name, x, nonlinearity)
            if name in heads:
                found.append(heads[name](pieces, y))
            return y

        outputs = inner.predict(pieces, batch, between, taught)
        if not inner.carry:
            return torch.stack([outputs, *found])
        final, carried = outputs
        return torch.stack([final, *found]), carried

    def criterion(all_outputs: Tensor, batch: Batch) -> Tensor:
        final, *others = (inner.criterion(each, batch) for each in all_outputs.unbind(0))
        return final + weight * torch.stack([(other - margin).clamp(min=0) for other in others]).sum()

    return dataclasses.replace(
        inner,
        name=f"{who}({inner.name})",
        layout=layout,
        predict=predict,
        criterion=criterion,
        start=begun(inner, layout, lecun_uniform),
        evaluated=inner.evaluated or inner,
        minimum=None,
        flow=None,
    )
