"""A problem from any ``torch.nn.Module``: its parameters become the pieces of θ."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from problems import layers
from problems.layout import Layout, Piece, Role
from problems.models import Bend, Between, plainly, untouched
from problems.module_layers import Layers
from problems.names import UsageError
from problems.nonlinear import is_changing
from problems.problem import Batch, Data, Pieces, Problem
from problems.references import RAISED

if TYPE_CHECKING:
    from torch import Generator

Loss = Callable[..., Tensor]


def from_module(
    module: nn.Module,
    loss: Loss,
    train: Data | Sequence[Tensor],
    *,
    name: str | None = None,
    valid: Data | Sequence[Tensor] | None = None,
    test: Data | Sequence[Tensor] | None = None,
    **rest: Any,
) -> Problem:
    """A problem that minimizes ``loss(module(*inputs), target)`` over data (inputs …, target).

    The module is copied as it stands, in the mode (``train`` or ``eval``) that it is in. Pieces are
    named as its parameters; those with two or more dimensions are weights, drawn by
    initializers, the others are biases (and scales of normalizations) that start at their present
    values. The default start calls every layer's ``reset_parameters`` under a seed of the run.
    ``nn.Linear`` and plain ``nn.Conv2d`` run by the suite's own layers, whose bits do not depend on other
    lanes. Linear and convolutional layers that run once in a pass are hidden layers, but for the last; a
    nonlinearity that follows one, as a module or a function (``nn.ReLU``, ``torch.tanh``), makes its activations. If
    all are the same, that is the problem's ``activation``.

    Args:
        loss: the mean over a batch, such as ``torch.nn.functional.cross_entropy``.
        train, valid, test: tensors with one row an example, the last of them the target.
        rest: further fields of :class:`Problem`: ``activation``, ``target``, ``metrics``, ``batch_size``, ….

    Raises:
        UsageError: the module cannot be a pure function of its parameters: it changes its
            buffers, draws random numbers, keeps a state, or branches on values.
    """
    name = name or type(module).__name__
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name}: a module must be a torch.nn.Module, got {module!r}")
    pure = _with_own_layers(copy.deepcopy(module))
    layout = Layout(tuple(_piece(key, p) for key, p in pure.named_parameters() if p.requires_grad))
    if not len(layout):
        raise UsageError(f"{name}: the module has no parameters that require a gradient")
    given = {"train": train, "valid": valid, "test": test}
    splits = {split: None if data is None else _data(data, f"{name}: {split}") for split, data in given.items()}
    frozen = {key: p.detach() for key, p in pure.named_parameters() if not p.requires_grad}
    fixed = {**frozen, **{key: buffer.detach().clone() for key, buffer in pure.named_buffers()}}
    seen = Layers(pure, {piece.name for piece in layout})
    # now, for functional_call may mix up the parameters of layers that are shared
    values = {key: p.detach() for key, p in pure.named_parameters()}
    known = {key for key, _ in (*pure.named_parameters(), *pure.named_buffers())}

    def predict(pieces: Pieces, batch: Batch, between: Between = untouched, bend: Bend = plainly) -> Tensor:
        own = {key: value for key, value in pieces.items() if key in known}
        like = own[next(iter(own))]
        own |= {piece.name: like.new_zeros(piece.shape) for piece in layout if piece.name not in own}  # without a bias
        plain = between is untouched and bend is plainly and not is_changing()
        with nullcontext() if plain else seen.watched(between, bend):
            found: Tensor = functional_call(pure, own, tuple(batch[:-1]))
        return found

    def criterion(outputs: Tensor, batch: Batch) -> Tensor:
        return loss(outputs, batch[-1])

    fields: dict[str, Any] = {**splits, "start": partial(_start, module, layout), "batch_size": 128, **rest}
    fields["batch_size"] = min(fields["batch_size"], len(fields["train"]))
    made = Problem(name, layout, predict, criterion, fixed=fixed, **fields)
    tried, values = made.to("cpu", torch.float32), {key: value.float() for key, value in values.items()}
    _need_mean(tried, values)
    _need_pure(tried, values)
    seen.look(lambda: functional_call(pure, {**tried.fixed, **values}, tuple(_few(tried)[:-1])))
    told = {"hidden": seen.hidden, "units": seen.units, "activation": seen.activation}
    return dataclasses.replace(made, **{**told, **{key: rest[key] for key in told if key in rest}})


def _data(split: Data | Sequence[Any], who: str) -> Data:
    """Examples as tensors, NumPy arrays taken as they are; missing values are refused."""
    if isinstance(split, Tensor):
        raise UsageError(f"{who} must be (inputs, targets), got one tensor of shape {tuple(split.shape)}")
    data = split if isinstance(split, Data) else Data(tuple(torch.as_tensor(part) for part in split))
    for at, tensor in enumerate(data.tensors):
        bad = ~tensor.isfinite().reshape(len(tensor), -1).all(1)
        if bad.any():
            which = "targets" if at == len(data.tensors) - 1 else "inputs"
            count, first = int(bad.sum()), int(bad.nonzero()[0])
            raise UsageError(
                f"{who}: {which} of {count} of {len(tensor)} examples are not finite, first of example {first}"
            )
    return data


def _piece(name: str, parameter: Tensor) -> Piece:
    shape = tuple(parameter.shape)
    if len(shape) >= 2:
        field = parameter[0, 0].numel()
        return Piece(name, shape, "weight", fan_in=shape[1] * field, fan_out=shape[0] * field)
    role: Role = "scale" if name.endswith("weight") else "bias"
    return Piece(name, shape, role, fill=tuple(parameter.detach().flatten().tolist()))


def _few(made: Problem) -> Batch:
    return tuple(t[:4] for t in made.train.tensors)


def _start(module: nn.Module, layout: Layout, generator: Generator) -> Tensor:
    """θ₀ as the module's own layers draw it, from a seed that the generator gives; no global state is left changed."""
    fresh = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        for layer in fresh.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
    values = dict(fresh.named_parameters())
    return layout.join({piece.name: values[piece.name].detach() for piece in layout}).float()


def _with_own_layers(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]  # the same values, where no other layer needs them
        if type(layer) is nn.Linear:
            layer.forward = partial(_linear, layer)  # type: ignore[method-assign]
        elif type(layer) is nn.Conv2d and _is_plain(layer):
            layer.forward = partial(_conv, layer)  # type: ignore[method-assign]
    return module


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    y = layers.linear(x.reshape(-1, x.shape[-1]), layer.weight, layer.bias)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def _is_plain(layer: nn.Conv2d) -> bool:
    square = all(isinstance(s, tuple) and len(set(s)) == 1 for s in (layer.stride, layer.padding))
    return square and set(layer.dilation) == {1} and layer.groups == 1 and layer.padding_mode == "zeros"


def _conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return layers.conv2d(x, layer.weight, layer.bias, stride=layer.stride[0], padding=int(layer.padding[0]))


def _need_mean(made: Problem, values: dict[str, Tensor]) -> None:
    """Run the module on a few examples, and on each of them twice, and refuse a loss that is not their mean."""
    batch = _few(made)
    pieces = {piece.name: values[piece.name] for piece in made.layout}
    shapes = ", ".join(f"{tuple(t.shape)} of {str(t.dtype).removeprefix('torch.')}" for t in batch)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("error", "Using a target size")
        try:
            loss = made.loss_of(pieces, batch)
            twice = made.loss_of(pieces, tuple(torch.cat([t, t]) for t in batch))
        except RAISED as error:
            what = f"{type(error).__name__}: {error}"
            raise UsageError(
                f"{made.name}: the loss of the first examples, {shapes}, cannot be computed: {what}"
            ) from error
    if not isinstance(loss, Tensor) or loss.dim():
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UsageError(
            f"{made.name}: the loss must be one number, the mean over a batch (reduction='mean'), got {got}"
        )
    if loss and torch.isclose(twice, 2 * loss, rtol=1e-5):
        raise UsageError(
            f"{made.name}: the loss must be a mean over the batch (reduction='mean'): of every example twice it is "
            f"twice as large, {float(twice):.4g} after {float(loss):.4g}"
        )


def _need_pure(made: Problem, values: dict[str, Tensor]) -> None:
    """Run the module twice on a few examples, and as two lanes, and refuse it where that shows a state."""
    batch = _few(made)
    pieces = {piece.name: values[piece.name] for piece in made.layout}
    before = {name: buffer.clone() for name, buffer in made.fixed.items()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        first = made.loss_of(pieces, batch)
        changed = [name for name, old in before.items() if not torch.equal(old, made.fixed[name])]
        if changed:
            raise UsageError(
                f"{made.name}: the forward pass changes {', '.join(changed)}, so the module is no pure function; "
                "use .eval(), or a layer without running statistics (track_running_stats=False)"
            )
        if not torch.allclose(first, made.loss_of(pieces, batch), rtol=1e-4, equal_nan=True):
            raise UsageError(
                f"{made.name}: two passes over the same examples differ, so the module draws random numbers "
                "(dropout?) or keeps a state; use .eval() or leave that layer out"
            )
        try:
            lanes = {name: torch.stack([piece, piece]) for name, piece in pieces.items()}
            torch.vmap(made.loss_of)(lanes, tuple(torch.stack([t, t]) for t in batch))
        except RuntimeError as error:
            raise UsageError(
                f"{made.name}: the module cannot run in lanes (torch.func.vmap): {error}; leave out what branches on "
                "values, and write what has no rule for vmap by what has (problems.layers.lstm in place of nn.LSTM)"
            ) from error
