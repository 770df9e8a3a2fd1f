"""Sophia against its algorithm written out."""

from __future__ import annotations

import numpy as np
import torch
from oracles import PlainOracle, path

from problems.problem import problem
from suite.lanes import lanes_of
from suite.objective import Objective
from suite.optimizers import optimizer
from suite.strategies.noise import key_of, normal


def _quadratic(size=6):
    stream = torch.Generator().manual_seed(0)
    root = torch.randn(size, size, dtype=torch.float64, generator=stream)
    return root @ root.t() + torch.eye(size, dtype=torch.float64), torch.randn(
        size, dtype=torch.float64, generator=stream
    )


def test_it_follows_the_papers_algorithm():
    matrix, start = _quadratic()
    spec = "sophia(lr=0.05, beta1=0.9, beta2=0.8, gamma=0.3, every=3, decay=0.1)"
    points = path(optimizer.build(optimizer.bind(spec)), PlainOracle(lambda x: 0.5 * x @ matrix @ x), start, 12)
    a, theta, m, h = matrix.numpy(), start.numpy().copy(), np.zeros(6), np.zeros(6)
    key = key_of(start)
    for t in range(12):
        m = 0.9 * m + 0.1 * (a @ theta)
        if t % 3 == 0:
            u = normal(key, float(t), 6).numpy()
            h = 0.8 * h + 0.2 * u * (a @ u)
        theta = theta - 0.05 * 0.1 * theta
        theta = theta - 0.05 * np.clip(m / np.maximum(0.3 * h, 1e-12), -1, 1)
        np.testing.assert_allclose(
            points[t + 1].numpy(), theta, rtol=1e-6, atol=1e-9
        )  # what is clipped amplifies rounding


def test_its_average_estimates_the_diagonal():
    """With β₂ near 1 and no moves, h/(1 − β₂ᵗ) goes to the diagonal of the Hessian."""
    matrix, start = _quadratic()
    made = optimizer.build(optimizer.bind("sophia(lr=1e-12, beta2=0.999, every=1)"))
    oracle, theta = PlainOracle(lambda x: 0.5 * x @ matrix @ x), start
    state = made.init(oracle, theta)
    for _ in range(3000):
        theta, state = made.step(oracle, state, theta)
    estimate = state["h"] / (1 - 0.999**3000)
    torch.testing.assert_close(estimate, matrix.diagonal(), rtol=0.2, atol=0.5)


def test_a_product_is_computed_where_it_is_used():
    """Lanes are due together, so at nine steps of ten there is none, on the tape too."""
    made = problem.build(problem.bind("quadratic"))
    products = []

    class Watched(Objective):
        def bind(self, kind, *operands, **options):
            action, outputs = super().bind(kind, *operands, **options)
            return (lambda: (products.append(kind), action())), outputs

    specs = [optimizer.bind(f"sophia(lr={lr})") for lr in (0.1, 0.01)]
    lanes = lanes_of(made, specs, torch.ones(2, made.size), [0, 1], 0, "reshuffle", Watched)
    for k in range(20):
        lanes.step(k)
    assert products.count("hvp") == 2 and products.count("gradient") == 20
    assert [each["hvp"] for each in lanes.calls()] == [2, 2]
