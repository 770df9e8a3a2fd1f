"""Schedules against torch.optim.lr_scheduler where the two coincide, and their formulas at the ends."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems.names import UsageError, parse
from problems.problem import problem
from suite.lanes import lanes_of
from suite.optimizers import optimizer
from suite.schedules import schedule, scheduled

K = 40


def values(spec, steps=K):
    made = schedule.build(schedule.bind(spec))
    return [made(k) for k in range(steps)]


def torchs(make, lr=0.5, steps=K):
    instance = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(instance)
    found = []
    for _ in range(steps):
        found.append(instance.param_groups[0]["lr"])
        instance.step()
        scheduler.step()
    return found


lr_scheduler = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("constant(0.5)", lambda o: lr_scheduler.LambdaLR(o, lambda k: 1.0)),
        (
            "linear(0.5, end=0.1, steps=20)",
            lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=20),
        ),
        ("step(0.5, every=7, factor=0.3)", lambda o: lr_scheduler.StepLR(o, 7, gamma=0.3)),
        ("multistep(0.5, at=(3, 9, 10), factor=0.3)", lambda o: lr_scheduler.MultiStepLR(o, [3, 9, 10], gamma=0.3)),
        ("exponential(0.5, factor=0.1, steps=10)", lambda o: lr_scheduler.ExponentialLR(o, gamma=0.1**0.1)),
        ("inverse(0.5, steps=7)", lambda o: lr_scheduler.LambdaLR(o, lambda k: 7 / (7 + k))),
        ("inverse(0.5, steps=7, power=0.6)", lambda o: lr_scheduler.LambdaLR(o, lambda k: (7 / (7 + k)) ** 0.6)),
        ("polynomial(0.5, steps=20, power=3.0)", lambda o: lr_scheduler.PolynomialLR(o, total_iters=20, power=3.0)),
        (
            "restarts(0.5, steps=6, growth=2, end=0.1)",
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=6, T_mult=2, eta_min=0.05),
        ),
        ("restarts(0.5, steps=7)", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=7)),
        (
            "cyclic(0.5, steps=12, start=0.2)",
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.5, step_size_up=6, cycle_momentum=False),
        ),
        (
            "cyclic(0.5, steps=12, start=0.2, decay=0.5)",
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.5, step_size_up=6, mode="triangular2", cycle_momentum=False),
        ),
        ("rising(0.5, steps=3)", lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 - 3 / (k + 3))),
        (
            "warmup_inverse_sqrt(0.5, steps=9)",
            lambda o: lr_scheduler.LambdaLR(o, lambda k: 3 * min((k + 1) / 27, (k + 1) ** -0.5)),
        ),
        (
            "warmup(0.5, steps=10, start=0.0)",
            lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, end_factor=1.0, total_iters=9),
        ),
        (
            "warmup(0.5, steps=10, start=0.2)",
            lambda o: lr_scheduler.LinearLR(o, start_factor=0.28, end_factor=1.0, total_iters=9),
        ),
    ],
)
def test_as_torch(spec, make):
    assert values(spec) == pytest.approx(torchs(make), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "theirs", "same"),
    [
        ("step", lr_scheduler.StepLR, {"factor": "gamma"}),
        ("multistep", lr_scheduler.MultiStepLR, {"factor": "gamma"}),
        (
            "reduce_on_plateau",
            lr_scheduler.ReduceLROnPlateau,
            {name: name for name in ("factor", "patience", "threshold", "cooldown")},
        ),
    ],
)
def test_what_is_left_out_is_as_torch_has_it(name, theirs, same):
    defaults = inspect.signature(theirs).parameters
    own = {parameter.name: parameter.default for parameter in schedule.find(name).parameters}
    assert {mine: own[mine] for mine in same} == {mine: defaults[other].default for mine, other in same.items()}


def test_cosine_as_torch_within_its_period():
    theirs = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30, eta_min=0.05), steps=31)
    assert values("cosine(0.5, steps=30, end=0.1)", 31) == pytest.approx(theirs, rel=1e-9)


def test_ends():
    assert values("linear(2.0, end=0.01, steps=10)")[0] == 2.0
    assert values("linear(2.0, end=0.01, steps=10)")[10:] == pytest.approx([0.02] * (K - 10))
    assert values("linear(2.0, end=0.01, steps=10)")[5] == pytest.approx(0.5 * 2.0 + 0.5 * 0.02)
    assert values("cosine(2.0, steps=10)")[0] == 2.0
    assert values("cosine(2.0, steps=10)")[10:] == pytest.approx([0.0] * (K - 10), abs=1e-15)
    assert values("cosine(2.0, steps=10)")[5] == pytest.approx(1.0)
    assert values("warmup(2.0, steps=10)")[0] == pytest.approx(0.2)
    assert values("warmup(2.0, steps=10)")[9:] == [2.0] * (K - 9)
    both = values("warmup_cosine(2.0, warmup_steps=5, steps=20, end=0.1)")
    assert both[4] == both[5] == 2.0
    assert both[20:] == pytest.approx([0.2] * (K - 20))
    assert both[0] == pytest.approx(0.4)


DECAYING = [
    "linear(1.0, steps=17)",
    "cosine(1.0, steps=17)",
    "step(1.0, every=5)",
    "multistep(1.0, at=(5, 17))",
    "exponential(1.0, steps=17)",
    "inverse(1.0, steps=17)",
    "polynomial(1.0, steps=17)",
]


@pytest.mark.parametrize("spec", DECAYING)
def test_decay_never_rises(spec):
    found = values(spec)
    assert all(a >= b for a, b in itertools.pairwise(found))


@given(value=st.floats(1e-6, 1e3), k=st.integers(0, 100), name=st.sampled_from(schedule.names()))
def test_lanes_follow_it_like_numbers(value, k, name):
    """The value may be a tensor, one number per lane."""
    made = schedule.build(schedule.bind(f"{name}({value!r})"))
    lanes = schedule.build(
        schedule.bind(f"{name}({value!r})").replace(value=torch.tensor([value], dtype=torch.float64))
    )
    assert math.isfinite(made(k))
    assert float(lanes(k)) == pytest.approx(made(k), rel=1e-12)


def test_a_plain_number_is_its_own_schedule():
    assert scheduled(0.3, 17) == 0.3
    assert scheduled(schedule.build(schedule.bind("step(1.0, every=10)")), 17) == pytest.approx(0.1)


def test_it_stands_for_any_number_of_an_optimizer_within_its_bounds():
    bound = optimizer.bind("momentum(lr=linear(0.1, steps=10), alpha=warmup(0.9, steps=5))")
    assert str(bound) == (
        "momentum(lr=linear(value=0.1, end=0.01, steps=10), alpha=warmup(value=0.9, steps=5, start=0.0))"
    )
    with pytest.raises(UsageError, match=r"momentum: alpha must be in \[0, 1\), got 1.5"):
        optimizer.bind("momentum(alpha=warmup(1.5))")
    with pytest.raises(UsageError, match=r"unknown schedule 'linaer'; did you mean linear"):
        optimizer.bind("sgd(lr=linaer(0.1))")


def test_schedule_free_learning_begins_at_a_rate_of_0():
    """x ← (1 − c)x + cz with c = ε²/Σε², written out; what was reached at a rate of 0 weighs nothing."""
    made = problem.build(problem.bind("quadratic(size=4, condition=10)")).to("cpu", torch.float64)
    start = made.start(torch.Generator().manual_seed(0)).double()
    spec = parse(str(optimizer.bind("schedule_free_sgd(lr=cyclic(1.0, steps=8, start=0.0))")))
    lanes = lanes_of(made, [spec], start[None].clone(), [0], 0, "sequential")
    q, x, total = made.fixed["Q"].numpy(), start.numpy(), 0.0
    z = x
    for k in range(20):
        lanes.step(k)
        rate = 1 - abs(k % 8 / 4 - 1)
        z = z - rate * q @ (0.1 * z + 0.9 * x)
        total += rate**2
        x = x + (rate**2 / total * (z - x) if total else 0)
        np.testing.assert_allclose(lanes.theta[0].numpy(), x, rtol=1e-9, atol=1e-12)
