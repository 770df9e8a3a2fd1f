"""What an algorithm does not see: coordinates, scales, turns. Properties of random problems in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from oracles import PlainOracle, path, quadratic

from suite.optimizers import optimizer

seeds = some.integers(0, 2**31 - 1)
few = settings(max_examples=15, deadline=None)


def points(spec, loss, start, steps):
    made = optimizer.build(optimizer.bind(spec))
    return torch.stack(path(made, PlainOracle(loss), start, steps))


def drawn(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(seed, n):
    return torch.linalg.qr(drawn(seed, n, n))[0]


def curved(seed, n):
    """A smooth loss in n dimensions that is no quadratic, convex, with its own curvature at each point."""
    rows, shift = drawn(seed, n + 2, n), drawn(seed + 1, n + 2)
    return lambda theta: (torch.nn.functional.softplus(rows @ theta + shift)).sum() + 0.1 * theta @ theta


def bowl(seed, n, condition):
    turn = rotation(seed, n)
    eigenvalues = torch.from_numpy(np.geomspace(1, condition, n))
    return turn @ eigenvalues.diag() @ turn.T, drawn(seed + 1, n), drawn(seed + 2, n)


@few
@given(seed=seeds, n=some.integers(1, 6), spec=some.sampled_from(["newton", "newton(lr=0.5)"]))
def test_newton_does_not_see_affine_coordinates(seed, n, spec):
    """θ = Mz + c: the path in z is that in θ, for any invertible M."""
    loss, start, shift = curved(seed, n), drawn(seed + 2, n), drawn(seed + 3, n)
    mix = rotation(seed + 4, n) @ torch.linspace(0.2, 5.0, n, dtype=torch.float64).diag() @ rotation(seed + 5, n)
    plain = points(spec, loss, start, 5)
    mixed = points(spec, lambda z: loss(mix @ z + shift), torch.linalg.solve(mix, start - shift), 5)
    torch.testing.assert_close(mixed @ mix.T + shift, plain, rtol=1e-6, atol=1e-7)


def test_gradient_descent_does_see_them():
    loss, start, mix = curved(0, 3), drawn(2, 3), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    plain = points("sgd(lr=0.1)", loss, start, 5)
    assert (points("sgd(lr=0.1)", lambda z: loss(mix * z), start / mix, 5) * mix - plain).norm() > 0.1


SCALED = ["adam(lr=0.05, delta=1e-300)", "adam(lr=0.05, correct=False, delta=1e-300)", "adagrad(lr=0.1, delta=1e-300)"]
UNSCALED = [
    "rmsprop_nesterov(lr=0.05)",
    "adamax(lr=0.05, delta=1e-300)",
    "lion(lr=0.05)",
    "soap(lr=0.05, delta=1e-300)",
]


@few
@given(seed=seeds, scale=some.floats(1e-6, 1e6), spec=some.sampled_from(SCALED + UNSCALED))
def test_rates_by_moments_do_not_see_the_scale_of_the_loss(seed, scale, spec):
    """As δ → 0: c·L(θ) is minimized along the path of L(θ), for any c > 0."""
    loss, start = curved(seed, 4), drawn(seed + 2, 4)
    plain = points(spec, loss, start, 12)
    torch.testing.assert_close(points(spec, lambda t: scale * loss(t), start, 12), plain, rtol=1e-6, atol=1e-7)


@few
@given(seed=seeds, spec=some.sampled_from(SCALED))
def test_nor_that_of_each_coordinates_gradient(seed, spec):
    """A loss that does not couple coordinates, each part times its own c."""
    scale, start = drawn(seed, 4).exp(), drawn(seed + 1, 4)
    plain = points(spec, lambda t: (t - 1).cosh().sum(), start, 12)
    scaled = points(spec, lambda t: (scale * (t - 1).cosh()).sum(), start, 12)
    torch.testing.assert_close(scaled, plain, rtol=1e-6, atol=1e-7)


def test_with_a_large_delta_they_do():
    loss, start = curved(0, 4), drawn(2, 4)
    plain = points("adam(lr=0.05, delta=1.0)", loss, start, 12)
    assert (points("adam(lr=0.05, delta=1.0)", lambda t: 100 * loss(t), start, 12) - plain).norm() > 0.01


TURNED = [
    "sgd(lr=0.05)",
    "momentum(lr=0.02)",
    "nesterov(lr=0.02)",
    "schedule_free_sgd(lr=0.05)",
    "clip(sgd(lr=0.5), norm=0.3)",
    "sam(sgd(lr=0.05))",
    "gradient_descent",
    "cg",
    "bfgs",
    "lbfgs",
    "newton",
    "saddle_free_newton",
    "hessian_free(matrix='hessian')",
]


@few
@given(seed=seeds, n=some.integers(2, 6), spec=some.sampled_from(TURNED))
def test_turning_the_coordinates_turns_the_path(seed, n, spec):
    """Of z = Qθ with an orthogonal Q: z's path is Q times θ's."""
    loss, start, turn = curved(seed, n), drawn(seed + 2, n), rotation(seed + 3, n)
    plain = points(spec, loss, start, 6)
    turned = points(spec, lambda z: loss(turn.T @ z), turn @ start, 6)
    torch.testing.assert_close(turned, plain @ turn.T, rtol=1e-6, atol=1e-7)


def test_adam_and_adagrad_do_not_turn():
    loss, start, turn = curved(0, 4), drawn(2, 4), rotation(3, 4)
    for spec in ("adam(lr=0.05)", "adagrad(lr=0.05)"):
        turned = points(spec, lambda z: loss(turn.T @ z), turn @ start, 6)
        assert (turned - points(spec, loss, start, 6) @ turn.T).norm() > 0.01


# convex quadratics --------------------------------------------------------------------------


@few
@given(seed=seeds, n=some.integers(1, 12))
def test_newton_takes_one_step_on_a_quadratic(seed, n):
    matrix, minimum, start = bowl(seed, n, 1e3)
    torch.testing.assert_close(points("newton", quadratic(matrix, minimum), start, 1)[1], minimum, rtol=1e-9, atol=1e-9)


@few
@given(
    seed=seeds,
    n=some.integers(1, 6),  # more, or a worse condition, would show rounding
    spec=some.sampled_from(["cg(search='exact')", "bfgs(search='exact')", "lbfgs(search='exact', memory=6)"]),
)
def test_n_steps_along_conjugate_directions_solve_a_quadratic(seed, n, spec):
    """dᵢᵀAdⱼ = 0 to 1e-8 of what each has with itself, while steps are long enough to have a direction."""
    matrix, minimum, start = bowl(seed, n, 10.0)
    visited = points(spec, quadratic(matrix, minimum), start, n)
    assert (visited[-1] - minimum).norm() <= 1e-7 * (start - minimum).norm()
    moves = [b - a for a, b in itertools.pairwise(visited)]
    steps = torch.stack([move / (move @ matrix @ move).sqrt() for move in moves if move.norm() > 1e-4])
    products = steps @ matrix @ steps.T
    assert (products - torch.eye(len(steps), dtype=torch.float64)).abs().max() <= 1e-8


@few
@given(seed=seeds, n=some.integers(1, 6), search=some.sampled_from(["exact", "wolfe", "armijo"]))
def test_lbfgs_that_remembers_all_is_bfgs(seed, n, search):
    loss, start = curved(seed, n), drawn(seed + 2, n)
    full = points(f"bfgs(search='{search}')", loss, start, 8)
    limited = points(f"lbfgs(search='{search}', scale=False, memory=8)", loss, start, 8)
    torch.testing.assert_close(limited, full, rtol=1e-7, atol=1e-8)


# saddles ------------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(seed=seeds, n=some.integers(2, 5), down=some.integers(1, 4))
def test_newton_goes_to_a_saddle_that_saddle_free_newton_leaves(seed, n, down):
    """½ Σ λᵢxᵢ² + Σ xᵢ⁴/4 in turned coordinates, with some λ < 0, from beside the saddle at 0."""
    signs = torch.where(torch.arange(n) < min(down, n - 1), -1.0, 1.0).double()
    curvature, turn = signs * (1 + drawn(seed, n).abs()), rotation(seed + 1, n)

    def loss(theta):
        x = turn @ theta
        return 0.5 * (curvature * x * x).sum() + 0.25 * (x**4).sum()

    start = 0.1 * torch.nn.functional.normalize(drawn(seed + 2, n), dim=0)
    assert points("newton", loss, start, 12)[-1].norm() < 1e-8
    for spec in ("saddle_free_newton", f"saddle_free_newton(krylov={n})"):
        end = points(spec, loss, start, 60)[-1]
        assert loss(end) < loss(start)
        torch.testing.assert_close((turn @ end).square(), (-curvature).clamp(min=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec", ["bfgs", "cg", "lbfgs"])
def test_searches_descend_from_beside_a_saddle(spec):
    """Where the loss falls for ever in no direction, they end at a minimum, not at the saddle."""

    def loss(x):
        return 0.5 * (x[0] ** 2 - x[1] ** 2) + 0.25 * x[1] ** 4

    end = points(spec, loss, torch.tensor([0.3, 0.1], dtype=torch.float64), 40)[-1]
    torch.testing.assert_close(end.abs(), torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=1e-4, atol=1e-4)
