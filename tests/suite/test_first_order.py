"""Algorithms 8.1 to 8.7 against torch.optim where the two coincide, and written out in NumPy where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import PlainOracle, path, rosenbrock

from suite.optimizers import optimizer
from suite.optimizers.base import zeros

STEPS = 30
START = torch.tensor([-1.2, 1.0, 0.3, -0.4], dtype=torch.float64)


def ours(spec, steps=STEPS):
    points = path(optimizer.build(optimizer.bind(spec)), PlainOracle(rosenbrock), START, steps)
    return torch.stack(points).numpy()


def theirs(make, steps=STEPS):
    theta = START.clone().requires_grad_()
    instance = make([theta])
    points = [theta.detach().numpy().copy()]
    for _ in range(steps):
        instance.zero_grad()
        rosenbrock(theta).backward()
        instance.step()
        points.append(theta.detach().numpy().copy())
    return np.stack(points)


def gradient(theta):
    theta = torch.tensor(theta, requires_grad=True)
    rosenbrock(theta).backward()
    return theta.grad.numpy()


def book(name, eps, alpha=0.0, rho=0.0, rho2=0.0, delta=0.0):
    """The algorithms as the book lists them, line by line."""
    theta = START.numpy().copy()
    v, r, s, points = np.zeros(4), np.zeros(4), np.zeros(4), [theta]
    for t in range(1, STEPS + 1):
        look_ahead = name in ("nesterov", "rmsprop_nesterov")
        g = gradient(theta + alpha * v if look_ahead else theta)
        if name in ("sgd", "momentum", "nesterov"):
            v = alpha * v - eps * g
            theta = theta + v
        elif name == "adagrad":
            r = r + g * g
            theta = theta - eps / (delta + np.sqrt(r)) * g
        elif name == "rmsprop":
            r = rho * r + (1 - rho) * g * g
            theta = theta - eps / np.sqrt(delta + r) * g
        elif name == "rmsprop_nesterov":
            r = rho * r + (1 - rho) * g * g
            v = alpha * v - eps / np.sqrt(r) * g
            theta = theta + v
        elif name == "adam":
            s = rho * s + (1 - rho) * g
            r = rho2 * r + (1 - rho2) * g * g
            theta = theta - eps * (s / (1 - rho**t)) / (np.sqrt(r / (1 - rho2**t)) + delta)
        points.append(theta)
    return np.stack(points)


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        ("sgd(lr=0.001)", {"eps": 0.001}),
        ("momentum(lr=0.0005, alpha=0.9)", {"eps": 0.0005, "alpha": 0.9}),
        ("nesterov(lr=0.0005, alpha=0.9)", {"eps": 0.0005, "alpha": 0.9}),
        ("adagrad(lr=0.1, delta=0.01)", {"eps": 0.1, "delta": 0.01}),
        ("rmsprop(lr=0.01, rho=0.8, delta=0.01)", {"eps": 0.01, "rho": 0.8, "delta": 0.01}),
        ("rmsprop_nesterov(lr=0.01, rho=0.8, alpha=0.7)", {"eps": 0.01, "rho": 0.8, "alpha": 0.7}),
        ("adam(lr=0.05, rho1=0.8, rho2=0.9, delta=0.01)", {"eps": 0.05, "rho": 0.8, "rho2": 0.9, "delta": 0.01}),
    ],
)
def test_each_step_is_the_books(spec, settings):
    np.testing.assert_allclose(ours(spec), book(spec.partition("(")[0], **settings), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("sgd(lr=0.001)", lambda p: torch.optim.SGD(p, lr=0.001)),
        ("momentum(lr=0.0005, alpha=0.9)", lambda p: torch.optim.SGD(p, lr=0.0005, momentum=0.9)),
        ("adagrad(lr=0.1, delta=0.001)", lambda p: torch.optim.Adagrad(p, lr=0.1, eps=0.001)),
        ("adam(lr=0.05, delta=0.001)", lambda p: torch.optim.Adam(p, lr=0.05, eps=0.001)),
    ],
)
def test_equals_torch_where_the_formulas_coincide(spec, make):
    np.testing.assert_allclose(ours(spec), theirs(make), rtol=1e-9, atol=1e-12)


def test_nesterov_in_torch_follows_the_look_ahead():
    optimizer_ = optimizer.build(optimizer.bind("nesterov(lr=0.0005, alpha=0.9)"))
    oracle, theta = PlainOracle(rosenbrock), START
    state = optimizer_.init(oracle, theta)
    ahead = [theta.numpy()]
    for _ in range(STEPS):
        theta, state = optimizer_.step(oracle, state, theta)
        ahead.append((theta + 0.9 * state["v"]).numpy())
    torchs = theirs(lambda p: torch.optim.SGD(p, lr=0.0005, momentum=0.9, nesterov=True))
    np.testing.assert_allclose(np.stack(ahead), torchs, rtol=1e-9, atol=1e-12)
    assert not np.allclose(ours("nesterov(lr=0.0005, alpha=0.9)"), torchs, rtol=1e-4)


def test_rmsprop_in_torch_keeps_eps_outside_the_root():
    torchs = theirs(lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=0.1))
    assert not np.allclose(ours("rmsprop(lr=0.01, rho=0.9, delta=0.1)"), torchs, rtol=1e-3)
    torchs = theirs(lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-15))
    np.testing.assert_allclose(ours("rmsprop(lr=0.01, rho=0.9, delta=1e-15)"), torchs, rtol=1e-9)


def test_momentum_and_torchs_differ_once_the_rate_falls():
    oracle = PlainOracle(lambda theta: theta.sum())  # a constant gradient of 1
    fast, slow = (optimizer.build(optimizer.bind(f"momentum(lr={lr}, alpha=0.5)")) for lr in (1.0, 0.1))
    theta, state = fast.step(oracle, {"v": zeros(START)}, START)
    after, _ = slow.step(oracle, state, theta)
    torch.testing.assert_close(after - theta, torch.full_like(START, 0.5 * -1.0 - 0.1))  # torch: 0.1 · −1.5
    ours_and_theirs = START.clone().requires_grad_()
    instance = torch.optim.SGD([ours_and_theirs], lr=1.0, momentum=0.5)
    for lr in (1.0, 0.1):
        instance.param_groups[0]["lr"] = lr
        instance.zero_grad()
        ours_and_theirs.sum().backward()
        instance.step()
    torch.testing.assert_close(ours_and_theirs.detach() - theta, torch.full_like(START, -0.15))


def test_adam_without_correction_starts_slowly():
    g = torch.func.grad(rosenbrock)(START)
    corrected, plain = (ours(f"adam(lr=0.1, correct={on})", 1)[1] - START.numpy() for on in (True, False))
    np.testing.assert_allclose(corrected, -0.1 * np.sign(g.numpy()), rtol=1e-5)
    np.testing.assert_allclose(plain, corrected * (0.1 / np.sqrt(0.001)), rtol=1e-5)  # (1 − ρ₁)/√(1 − ρ₂)


def test_rmsprop_nesterov_takes_nothing_over_nothing_as_nothing():
    flat_first = PlainOracle(lambda theta: theta[1:].square().sum())  # no gradient in the first coordinate
    points = path(optimizer.build(optimizer.bind("rmsprop_nesterov")), flat_first, START, 5)
    assert all(point[0] == START[0] for point in points)
    assert all(point.isfinite().all() for point in points)


@pytest.mark.parametrize("spec", ["adagrad(lr=0.1, delta=1e-12)", "adam(lr=0.1, delta=1e-12)"])
def test_the_scale_of_the_gradient_does_not_matter_as_delta_vanishes(spec):
    made = optimizer.build(optimizer.bind(spec))
    once, thousandfold = (
        torch.stack(path(made, PlainOracle(lambda theta, c=c: c * rosenbrock(theta)), START, 20)) for c in (1.0, 1e3)
    )
    torch.testing.assert_close(once, thousandfold, rtol=1e-9, atol=1e-9)


def test_sgd_turns_with_the_coordinates():
    turn, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    made = optimizer.build(optimizer.bind("sgd(lr=0.001)"))
    straight = torch.stack(path(made, PlainOracle(rosenbrock), START, 20))
    turned = torch.stack(path(made, PlainOracle(lambda theta: rosenbrock(turn.T @ theta)), turn @ START, 20))
    torch.testing.assert_close(turned, straight @ turn.T, rtol=1e-10, atol=1e-10)
