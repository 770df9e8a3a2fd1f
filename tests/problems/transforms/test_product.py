"""Every transform with every other, and with a problem of each family: it composes, purely, or says why not."""

from __future__ import annotations

import itertools

import pytest
import torch
from nets import made as built
from torch import Tensor

from problems import Problem, UsageError
from problems import problem as registry
from suite.evaluate import evaluate
from suite.objective import Objective, rows
from suite.sampler import Sampler

TRANSFORMS = [entry.name for entry in registry if entry.wraps]
FAMILIES = [
    "digits_mlp(hidden=(8, 8))",
    "digits_autoencoder",
    "digits_logistic",
    "adding_lstm(length=6, sequences=64)",
    "copy_rnn(delay=2, symbols=2, sequences=64)",
    "@residual",
    "@residual(skip=False)",
    "@stacked_lstm",
    "@stacked_lstm(carry=True)",
    "@stacked_rnn",
    "@module",
    "@branched",
    "linear_net(depth=3)",
    "linear_regression",
    "quadratic_deep",
    "rosenbrock",
]
BASE = FAMILIES[0]
SIZE, STEP = 8, 3


def made(text: str) -> Problem | None:
    """The problem, or None where the outermost transform refuses it with a reason of its own."""
    try:
        return built(text)
    except UsageError as error:
        told = str(error)
    assert told.partition(":")[0] in TRANSFORMS and ";" in told, told  # who, why, and behind ; what to do
    return None


def lane(p: Problem, seeds: list[int]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Losses, gradients and measures of lanes at some step of training."""
    assert p.start is not None
    theta = rows(len(seeds), p.size, torch.empty(0))
    for row, seed in zip(theta, seeds, strict=True):
        row.copy_(p.start(torch.Generator().manual_seed(seed)))
    sampler = Sampler(p.train, seeds, min(SIZE, len(p.train)), "reshuffle", course=p.course)
    sampler.fill(STEP)
    values, gradients = Objective(p, len(seeds), sampler.batch, taped=False).gradient(theta)
    return values, gradients, evaluate(p, theta, SIZE)


def check(p: Problem) -> None:
    """Lanes equal alone to the bit, the base's measures, and a recorded step that is the eager one."""
    values, gradients, measures = lane(p, [0, 1, 2])
    value, gradient, measure = lane(p, [1])
    assert torch.equal(values[1], value[0]) and torch.equal(gradients[1], gradient[0])
    assert all(torch.equal(m[1], measure[name][0]) for name, m in measures.items())
    assert bool(torch.isfinite(values).all()) and bool(torch.isfinite(gradients).all())


@pytest.mark.parametrize(("transform", "base"), [*itertools.product(TRANSFORMS, FAMILIES)])
def test_transform_on_problem(transform: str, base: str) -> None:
    p = made(f"{transform}({base})")
    if p is None:
        assert base != BASE, f"{transform} must work on a perceptron"
        return
    check(p)
    measures = {name.partition("_")[2] for name in lane(p, [0])[2]}
    assert measures - {"excess"} == {"loss", *built(base).metrics}


@pytest.mark.parametrize(("outer", "inner"), [*itertools.product(TRANSFORMS, TRANSFORMS)])
def test_transform_on_transform(outer: str, inner: str) -> None:
    p = made(f"{outer}({inner}({BASE}))")
    if p is not None:
        check(p)


def test_most_pairs_compose() -> None:
    """What is refused is known: twice the same, or a change of parameters that are blurred already."""
    refused = {
        (outer, inner)
        for outer, inner in itertools.product(TRANSFORMS, TRANSFORMS)
        if made(f"{outer}({inner}({BASE}))") is None
    }
    twice = {(name, name) for name in TRANSFORMS} - {("l2", "l2"), ("label_smoothing", "label_smoothing")}
    late = {(name, "continuation") for name in ("batch_norm", "skip_connections", "auxiliary_heads")}
    loss = {("label_smoothing", inner) for inner in ("label_smoothing", "continuation", "auxiliary_heads")}
    assert refused == twice | late | loss
