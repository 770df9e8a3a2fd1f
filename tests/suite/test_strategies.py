"""Clipping and averaging: alone, composed, and around torch's own optimizers."""

from __future__ import annotations

import itertools

import pytest
import torch
from oracles import PlainOracle, path, rosenbrock

from suite.optimizers import optimizer

START = torch.tensor([-1.2, 1.0, 0.3, -0.4], dtype=torch.float64)


def made(spec):
    return optimizer.build(optimizer.bind(spec))


def evaluated(optimizer_, oracle, theta, steps):
    """What would be evaluated at the start and after each step."""
    theta = theta.clone()
    state = optimizer_.init(oracle, theta)
    points = [optimizer_.readout(state, theta).clone()]
    for _ in range(steps):
        theta, state = optimizer_.step(oracle, state, theta)
        points.append(optimizer_.readout(state, theta).clone())
    return torch.stack(points)


def test_clip_as_torch():
    theta = START.clone().requires_grad_()
    instance = torch.optim.SGD([theta], lr=0.1)
    hand = [theta.detach().clone()]
    for _ in range(20):
        instance.zero_grad()
        rosenbrock(theta).backward()
        torch.nn.utils.clip_grad_norm_([theta], 2.0)
        instance.step()
        hand.append(theta.detach().clone())
    points = path(made("clip(sgd(lr=0.1), norm=2.0)"), PlainOracle(rosenbrock), START, 20)
    torch.testing.assert_close(torch.stack(points), torch.stack(hand), rtol=1e-5, atol=1e-5)


def test_clip_leaves_small_and_zero_gradients_alone():
    small = PlainOracle(lambda theta: 1e-3 * theta.sum())
    assert torch.equal(*(path(made(s), small, START, 1)[1] for s in ("sgd(lr=0.1)", "clip(sgd(lr=0.1), norm=1.0)")))
    flat = PlainOracle(lambda theta: 0.0 * theta.sum())
    assert torch.equal(path(made("clip(sgd(lr=0.1))"), flat, START, 1)[1], START)


def test_clip_bounds_the_step():
    points = path(made("clip(sgd(lr=1.0), norm=0.25)"), PlainOracle(rosenbrock), START, 10)
    lengths = [(b - a).norm().item() for a, b in itertools.pairwise(points)]
    assert max(lengths) == pytest.approx(0.25)


def test_clip_reaches_the_look_ahead_of_nesterov():
    oracle = PlainOracle(rosenbrock)
    points = path(made("clip(nesterov(lr=1.0, alpha=0.5), norm=0.1)"), oracle, START, 3)
    v1 = points[1] - points[0]
    g = torch.func.grad(rosenbrock)(points[1] + 0.5 * v1)
    torch.testing.assert_close(points[2] - points[1], 0.5 * v1 - 0.1 * g / g.norm())


def test_uniform_polyak_is_the_mean():
    oracle = PlainOracle(rosenbrock)
    points = torch.stack(path(made("sgd(lr=0.001)"), oracle, START, 20))
    averages = evaluated(made("polyak(sgd(lr=0.001))"), oracle, START, 20)
    torch.testing.assert_close(averages[0], START)
    for t in (1, 2, 20):
        torch.testing.assert_close(averages[t], points[1 : t + 1].mean(0), rtol=1e-12, atol=1e-12)


def test_decayed_polyak_is_the_books_recursion():
    oracle = PlainOracle(rosenbrock)
    points = path(made("sgd(lr=0.001)"), oracle, START, 20)
    average = points[0]
    for point in points[1:]:
        average = 0.9 * average + 0.1 * point
    found = evaluated(made("polyak(sgd(lr=0.001), decay=0.9)"), oracle, START, 20)[-1]
    torch.testing.assert_close(found, average, rtol=1e-12, atol=1e-12)


def test_training_goes_on_as_without_averaging():
    oracle = PlainOracle(rosenbrock)
    assert torch.equal(
        *(torch.stack(path(made(s), oracle, START, 10)) for s in ("adam(lr=0.1)", "polyak(adam(lr=0.1))"))
    )


def test_averaging_of_an_average():
    oracle = PlainOracle(rosenbrock)
    inner = evaluated(made("polyak(sgd(lr=0.001))"), oracle, START, 10)
    outer = evaluated(made("polyak(polyak(sgd(lr=0.001)))"), oracle, START, 10)
    torch.testing.assert_close(outer[-1], inner[1:].mean(0), rtol=1e-12, atol=1e-12)


def test_they_compose_around_torch_optim():
    oracle = PlainOracle(rosenbrock)
    ours = evaluated(made("polyak(clip(momentum(lr=0.01), norm=1.0), decay=0.9)"), oracle, START, 10)
    wrapped = made("polyak(clip(torch.SGD(lr=0.01, momentum=0.9), norm=1.0), decay=0.9)")
    assert not wrapped.needs.vmap
    torch.testing.assert_close(evaluated(wrapped, oracle, START, 10), ours, rtol=1e-10, atol=1e-10)
