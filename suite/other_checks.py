"""What every problem and every initializer must keep, in words for its author."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from problems.entries import Entry
from problems.names import Spec, parse
from problems.problem import Problem, problem
from problems.references import RAISED
from suite.checks import Check
from suite.errors import told
from suite.initializers import NotApplicable, initializer
from suite.objective import Objective, rows
from suite.sampler import Sampler, generator

DIFFERENCE = 1e-5  # of θ, relative to its length, in central differences
AGREE = 1e-4  # relative, between a slope and its central difference in float64
PLACES = ("digits_mlp", "digits_autoencoder", "adding_lstm")  # where an initializer is tried


def check_problem(spec: Spec | str) -> list[Check]:
    """All checks of one problem.

    Raises:
        UsageError: there is no such problem, it cannot be made as asked, or its data are missing.
    """
    bound = problem.bind(spec)
    made, again = (problem.build(bound).to("cpu", torch.float32) for _ in range(2))
    found = [*_documented(problem.find(bound.name)), _origin(made), _repeated(made, again)]
    first = _tried("loss", _loss, made)
    if not first.holds:
        return [*found, Check("loss", False, f"{first.words}; nothing else was asked of it")]
    found.append(first)
    for name, check in (
        ("start", _start),
        ("gradient", _gradient),
        ("lanes equal alone", _lanes),
        ("inputs untouched", _untouched),
        ("loss falls", _falls),
        ("splits", _splits),
    ):
        found.append(_tried(name, check, made))
    return found


def check_initializer(spec: Spec | str) -> list[Check]:
    """All checks of one initializer, on a perceptron, an autoencoder and an LSTM.

    Raises:
        UsageError: there is no such initializer, or not with these settings.
    """
    bound = initializer.bind(spec)
    found = list(_documented(initializer.find(bound.name)))
    for place in PLACES:
        made = problem.build(problem.bind(place))
        found.append(_tried(f"on {place}", lambda made: _draws(bound, made), made))
    return found


def _tried(name: str, check: Callable[[Problem], tuple[bool, str]], made: Problem) -> Check:
    try:
        return Check(name, *check(made))
    except RAISED as error:
        return Check(name, False, f"it raised {told(error)}")


def _documented(entry: Entry[Any]) -> Iterator[Check]:
    if entry.factory.__name__ == "<lambda>":
        yield Check("docstring", True, "an object that is there already, not a function that makes it")
        return
    text = (inspect.getdoc(entry.factory) or "").strip()
    yield Check("docstring", bool(text), "it says what it is" if text else "write a docstring: one line of what it is")


def _origin(made: Problem) -> Check:
    if made.target is None:
        return Check("target", True, "it has none")
    words = f"{made.target.measure} {made.target.value:g}: {made.target.origin}"
    return Check("target", bool(made.target.origin), words if made.target.origin else "say where the number comes from")


def _repeated(made: Problem, again: Problem) -> Check:
    pairs = zip(made.splits.items(), again.splits.values(), strict=True)
    differ = [name for (name, one), other in pairs if one.fingerprint != other.fingerprint]
    words = f"made twice, its {' and '.join(differ)} examples differ; draw from a generator with a seed"
    return Check("same data", not differ, words if differ else "made twice, it has the same examples")


def _theta(made: Problem, seed: int) -> Tensor:
    return initializer.build(parse("default"))(made, generator(seed, "start"))


def _start(made: Problem) -> tuple[bool, str]:
    first, again = _theta(made, 0), _theta(made, 0)
    if first.shape != (made.size,):
        return False, f"start must give theta of shape ({made.size},), got {tuple(first.shape)}"
    if not torch.equal(first, again):
        return False, "two starts from one seed differ; draw from the generator that start is given"
    return bool(torch.isfinite(first).all()), "finite, and the same from the same seed"


def _few(made: Problem) -> tuple[Tensor, ...]:
    return tuple(t[:64] for t in made.train.tensors)


def _loss(made: Problem) -> tuple[bool, str]:
    """Whether there is one number to minimize, at the start and on a few examples."""
    theta = _theta(made, 0)
    if theta.shape != (made.size,):
        return False, f"start must give theta of shape ({made.size},), got {tuple(theta.shape)}"
    loss = made.loss(theta, _few(made))
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        return False, f"the loss must be a scalar, the mean over the batch's examples; got {got}"
    return bool(loss.isfinite()), f"{float(loss):.4g} at the start, on {len(_few(made)[0])} examples"


def _gradient(made: Problem) -> tuple[bool, str]:
    """The slope along a random direction against a central difference, in float64."""
    made = made.to("cpu", torch.float64)
    theta = _theta(made, 0).double()
    direction = torch.randn(made.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    direction = direction / direction.norm() * DIFFERENCE * max(1.0, float(theta.norm()))
    leaf = theta.clone().requires_grad_()
    loss = made.loss(leaf, _few(made))
    if loss.dim() != 0:
        return False, f"the loss must be a scalar, got shape {tuple(loss.shape)}"
    (g,) = torch.autograd.grad(loss, leaf)
    slope = float(g @ direction)
    ahead, behind = (float(made.loss(theta + sign * direction, _few(made))) for sign in (1, -1))
    difference = (ahead - behind) / 2
    scale = max(abs(slope), abs(difference), 1e-9 * abs(float(loss.detach())), 1e-12)
    close = abs(slope - difference) <= AGREE * scale + 1e-12
    words = f"slope {slope:.6g}, central difference {difference:.6g}"
    return close, words if close else f"{words}: is something detached, or the start on a kink?"


def _lanes(made: Problem) -> tuple[bool, str]:
    """Three lanes against each alone, in float32."""
    size = min(made.batch_size or 32, len(made.train), 32)
    theta = rows(3, made.size, made.train.tensors[0].new_empty(0, dtype=torch.float32))
    for lane in range(3):
        theta[lane] = _theta(made, lane)
    sampler = Sampler(made.train, [0, 1, 2], size, "reshuffle", course=made.course)
    sampler.fill(0)
    values, gradients = Objective(made, 3, sampler.batch, taped=False).gradient(theta)
    alone = Sampler(made.train, [1], size, "reshuffle", course=made.course)
    alone.fill(0)
    one = rows(1, made.size, theta)
    one[0] = theta[1]
    value, gradient = Objective(made, 1, alone.batch, taped=False).gradient(one)
    if torch.equal(values[1], value[0]) and torch.equal(gradients[1], gradient[0]):
        return True, "to the bit in float32: its runs train together"
    if torch.allclose(gradients[1], gradient[0], rtol=1e-3, atol=1e-5):
        return True, "but for rounding: on a CPU its runs train one by one (problems.layers keeps the bits)"
    return False, "a lane's gradient depends on the lanes beside it; is there state outside theta and the batch?"


def _untouched(made: Problem) -> tuple[bool, str]:
    theta, batch = _theta(made, 0), tuple(t.clone() for t in _few(made))
    before = theta.clone()
    first = made.loss(theta, batch)
    same = torch.equal(theta, before) and all(torch.equal(a, b) for a, b in zip(batch, _few(made), strict=True))
    if not same:
        return False, "the loss changes theta or the batch in place"
    again = made.loss(theta, batch)
    return torch.equal(first, again), "pure" if torch.equal(first, again) else "the loss differs when asked twice"


def _falls(made: Problem) -> tuple[bool, str]:
    theta = _theta(made, 0)
    began = float(made.loss(theta, _few(made)))
    for rate in (1.0, 0.1, 0.01, 1e-3, 1e-4):
        at = theta.clone()
        for _ in range(10):
            leaf = at.clone().requires_grad_()
            (g,) = torch.autograd.grad(made.loss(leaf, _few(made)), leaf)
            at = at - rate * g
        ended = float(made.loss(at, _few(made)))
        if ended < began:
            return True, f"from {began:.4g} to {ended:.4g} in ten plain steps at rate {rate:g}"
    return False, f"not from {began:.4g}, in ten plain steps at any rate from 1 to 0.0001"


def _splits(made: Problem) -> tuple[bool, str]:
    for name, split in made.splits.items():
        found = made.measure(_theta(made, 0), tuple(t[:8] for t in split.tensors))
        bad = [measure for measure, value in found.items() if not torch.isfinite(value).all()]
        if bad:
            return False, f"{bad[0]} is not finite at the start on the {name} split"
    return True, ", ".join(f"{name} {len(split):,}" for name, split in made.splits.items()) + " examples"


def _draws(bound: Spec, made: Problem) -> tuple[bool, str]:
    draw = initializer.build(bound)
    try:
        first, again, other = (draw(made, generator(seed, "start")) for seed in (0, 0, 1))
    except NotApplicable as reason:
        return True, f"makes no sense there: {reason}"
    if not isinstance(first, Tensor):
        return False, f"theta must be a tensor of shape ({made.size},), got {type(first).__name__}"
    if first.shape != (made.size,):
        return False, f"theta must have shape ({made.size},), got {tuple(first.shape)}"
    if not torch.isfinite(first).all():
        return False, "theta is not finite"
    if not torch.equal(first, again):
        return False, "two draws from one seed differ; draw from the generator that it is given"
    differs = "other seeds differ" if not torch.equal(first, other) else "every seed gives the same"
    return True, f"finite, the same from the same seed; {differs}"
