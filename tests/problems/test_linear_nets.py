"""Deep linear nets against the curves of Saxe et al."""

from __future__ import annotations

import pytest
import torch

from problems import problem
from problems.families.linear_nets import mode_strength


@pytest.mark.parametrize(("depth", "seed"), [(1, 0), (2, 0), (2, 1), (3, 0), (5, 0)])
def test_gradient_descent_follows_the_closed_form(depth: int, seed: int) -> None:
    p = problem.build(problem.bind(f"linear_net(depth={depth}, begin=0.05)")).to("cpu", torch.float64)
    assert p.start is not None
    assert p.flow is not None
    theta = p.start(torch.Generator().manual_seed(seed)).double().requires_grad_()
    rate, curve = 0.002, []
    for step in range(801):
        value = p.loss(theta, p.train.tensors)
        if step % 100 == 0:
            curve.append((step, value.item()))
        (g,) = torch.autograd.grad(value, theta)
        theta = (theta - rate * g).detach().requires_grad_()
    start = p.flow(0.0)
    assert curve[0][1] == pytest.approx(start, rel=1e-5)
    for step, value in curve:
        assert value == pytest.approx(p.flow(step * rate), rel=0.02)
    assert curve[-1][1] < 0.6 * start


def test_two_layers_solve_the_mode_equation() -> None:
    """The closed form against the numerical solution of the general equation, by way of l → 2."""
    from scipy.integrate import solve_ivp

    solved = solve_ivp(lambda t, u: 2 * u * (3 - u), (0, 1.3), [0.01], rtol=1e-11, atol=1e-13).y[0, -1]
    assert mode_strength(3.0, 0.01, 2, 1.3) == pytest.approx(float(solved), rel=1e-8)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_strength_starts_where_it_should_and_ends_at_the_singular_value(layers: int) -> None:
    assert mode_strength(2.0, 0.1, layers, 0.0) == pytest.approx(0.1)
    assert mode_strength(2.0, 0.1, layers, 50.0) == pytest.approx(2.0, rel=1e-6)


def test_deeper_nets_wait_longer() -> None:
    waits = [mode_strength(1.0, 0.001, layers, 1.5) for layers in (1, 2, 3)]
    assert waits == sorted(waits, reverse=True)
