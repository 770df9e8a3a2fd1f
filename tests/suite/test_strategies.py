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


def test_clip_value_as_torch():
    theta = START.clone().requires_grad_()
    instance = torch.optim.SGD([theta], lr=0.1)
    hand = [theta.detach().clone()]
    for _ in range(20):
        instance.zero_grad()
        rosenbrock(theta).backward()
        torch.nn.utils.clip_grad_value_([theta], 0.7)
        instance.step()
        hand.append(theta.detach().clone())
    points = path(made("clip_value(sgd(lr=0.1), value=0.7)"), PlainOracle(rosenbrock), START, 20)
    torch.testing.assert_close(torch.stack(points), torch.stack(hand))


def test_decoupled_decay_of_adam_is_adamw():
    """With λ = lr · weight_decay of PyTorch's."""
    theta = START.clone().requires_grad_()
    instance = torch.optim.AdamW([theta], lr=0.02, weight_decay=0.3)
    hand = [theta.detach().clone()]
    for _ in range(30):
        instance.zero_grad()
        rosenbrock(theta).backward()
        instance.step()
        hand.append(theta.detach().clone())
    spec = "decoupled_decay(adam(lr=0.02), decay=0.006)"
    points = path(made(spec), PlainOracle(rosenbrock), START, 30)
    torch.testing.assert_close(torch.stack(points), torch.stack(hand))


def test_decoupled_decay_around_a_torch_optimizer_that_steps_in_place():
    oracle = PlainOracle(rosenbrock)
    ours, theirs = (
        path(made(f"decoupled_decay({inner}(lr=0.01), decay=0.1)"), oracle, START.clone(), 5)
        for inner in ("sgd", "torch.SGD")
    )
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs))


def test_coupled_decay_of_sgd_is_the_penalty_and_that_of_adam_is_not_decoupled():
    oracle = PlainOracle(rosenbrock)
    coupled, beside = (
        path(made(text), oracle, START, 10)[-1]
        for text in ("weight_decay(sgd(lr=0.001), decay=0.5)", "decoupled_decay(sgd(lr=0.001), decay=0.0005)")
    )
    torch.testing.assert_close(coupled, beside)
    coupled, beside = (
        path(made(text), oracle, START, 10)[-1]
        for text in ("weight_decay(adam(lr=0.01), decay=0.5)", "decoupled_decay(adam(lr=0.01), decay=0.005)")
    )
    assert (coupled - beside).abs().max() > 1e-3


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_corrected_exponential_polyak_is_a_weighted_mean_of_the_points_visited(decay):
    oracle = PlainOracle(rosenbrock)
    points = torch.stack(path(made("sgd(lr=0.001)"), oracle, START, 20))
    averages = evaluated(made(f"polyak(sgd(lr=0.001), decay={decay}, correct=True)"), oracle, START, 20)
    for t in (1, 2, 7, 20):
        weights = torch.tensor([decay ** (t - i) for i in range(1, t + 1)], dtype=torch.float64)
        mean = (weights[:, None] * points[1 : t + 1]).sum(0) / weights.sum()
        torch.testing.assert_close(averages[t], mean)


def test_uniform_polyak_averages_a_noisy_quadratic_to_the_variance_that_theory_gives():
    """θ ← θ − ε(θ − ξ), ξ ~ N(0, 1): the points have variance ε/(2 − ε), their mean over T steps about 1/T."""
    lr, steps, lanes = 0.5, 400, 2000
    noise = torch.randn(steps, lanes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    at = iter(noise)

    class Noisy:
        def gradient(self, theta):
            return (0.5 * theta.square()).sum(), theta - next(at)

    averages = evaluated(made(f"polyak(sgd(lr={lr}))"), Noisy(), torch.zeros(lanes, dtype=torch.float64), steps)
    assert averages[-1].var() * steps == pytest.approx(1.0, rel=0.1)


def test_sam_on_a_quadratic_in_closed_form():
    """On ½hx² the gradient is h(x + ρ sign x): around 0 it holds x at a distance of ερh/(2 − εh)."""
    h, rho, lr = 4.0, 0.1, 0.2
    oracle = PlainOracle(lambda theta: 0.5 * h * theta.square().sum())
    points = path(made(f"sam(sgd(lr={lr}), rho={rho})"), oracle, torch.tensor([1.0], dtype=torch.float64), 200)
    x = 1.0
    for point in points[1:]:
        x = x - lr * h * (x + rho * (1 if x > 0 else -1))
        assert point.item() == pytest.approx(x, abs=1e-12)
    assert abs(points[-1].item()) == pytest.approx(lr * rho * h / (2 - lr * h), rel=1e-6)
