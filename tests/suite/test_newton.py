"""Newton's method, its saddle-free form and Hessian-free optimization against what theory says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from oracles import PlainOracle, path, quadratic, rosenbrock

from suite.optimizers import optimizer
from suite.optimizers.newton import krylov_space


def made(spec):
    return optimizer.build(optimizer.bind(spec))


def bowl(n, eigenvalues=None):
    random = np.random.default_rng(0)
    turn, _ = np.linalg.qr(random.normal(size=(n, n)))
    eigenvalues = np.geomspace(1, 100, n) if eigenvalues is None else eigenvalues
    matrix = turn @ np.diag(eigenvalues) @ turn.T
    return tuple(torch.tensor(x) for x in (matrix, random.normal(size=n), random.normal(size=n)))


def saddle(theta):
    """½(x² − y²) + y⁴/4: a saddle at 0, minima at (0, ±1)."""
    return 0.5 * (theta[0] ** 2 - theta[1] ** 2) + 0.25 * theta[1] ** 4


BESIDE = torch.tensor([0.3, 0.1], dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 5, 20])
@pytest.mark.parametrize("spec", ["newton", "newton(grow=True)", "saddle_free_newton(alpha=0.0)"])
def test_one_step_solves_a_convex_quadratic(spec, n):
    matrix, minimum, start = bowl(n)
    oracle = PlainOracle(quadratic(matrix, minimum))
    points = path(made(spec), oracle, start, 1)
    torch.testing.assert_close(points[1], minimum, rtol=1e-10, atol=1e-10)
    assert oracle.calls == {"gradient": 1, "hvp": n}


def test_regularization_is_the_books():
    matrix, minimum, start = bowl(4)
    points = path(made("newton(alpha=2.5, lr=0.5)"), PlainOracle(quadratic(matrix, minimum)), start, 1)
    step = torch.linalg.solve(matrix + 2.5 * torch.eye(4, dtype=torch.float64), matrix @ (start - minimum))
    torch.testing.assert_close(points[1], start - 0.5 * step)


def test_newton_does_not_see_affine_coordinates():
    random = np.random.default_rng(3)
    mix = torch.tensor(random.normal(size=(4, 4)))
    start = torch.tensor([-1.2, 1.0, 0.3, -0.4], dtype=torch.float64)
    plain = torch.stack(path(made("newton"), PlainOracle(rosenbrock), start, 6))
    mixed = path(made("newton"), PlainOracle(lambda z: rosenbrock(mix @ z)), torch.linalg.solve(mix, start), 6)
    torch.testing.assert_close(torch.stack(mixed) @ mix.T, plain, rtol=1e-6, atol=1e-6)


def test_newton_converges_quadratically():
    points = path(made("newton"), PlainOracle(rosenbrock), torch.tensor([1.1, 1.3], dtype=torch.float64), 8)
    off = [(point - 1).norm().item() for point in points]
    assert off[-1] < 1e-12
    assert all(after <= 20 * before**2 + 1e-12 for before, after in itertools.pairwise(off))


def test_newton_goes_to_the_saddle_and_saddle_free_newton_leaves_it():
    oracle = PlainOracle(saddle)
    assert path(made("newton"), oracle, BESIDE, 20)[-1].norm() < 1e-8
    for spec in (
        "saddle_free_newton",
        "saddle_free_newton(krylov=2)",
        "newton(grow=True)",
        "hessian_free(matrix='hessian')",
    ):
        away = path(made(spec), oracle, BESIDE, 200)[-1]
        torch.testing.assert_close(away, torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=1e-4, atol=1e-4)


def test_a_singular_hessian_leaves_its_kernel_alone():
    matrix, minimum, start = bowl(4, [0.0, 1.0, 2.0, 3.0])
    kernel = torch.linalg.eigh(matrix)[1][:, 0]
    point = path(made("newton"), PlainOracle(quadratic(matrix, minimum)), start, 1)[1]
    torch.testing.assert_close(matrix @ point, matrix @ minimum)
    assert abs((point - start) @ kernel) < 1e-10


@pytest.mark.parametrize(
    "spec", ["newton", "saddle_free_newton", "saddle_free_newton(krylov=2)", "hessian_free(matrix='hessian')"]
)
def test_what_is_not_finite_does_not_raise(spec):
    oracle = PlainOracle(lambda theta: (theta**2).sum() / theta[0])
    path(made(spec), oracle, torch.zeros(3, dtype=torch.float64), 2)


def test_the_krylov_space():
    matrix, minimum, start = bowl(8)
    oracle = PlainOracle(quadratic(matrix, minimum))
    g = matrix @ (start - minimum)
    basis, small = krylov_space(oracle, start, g, 5)
    torch.testing.assert_close(basis @ basis.T, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(small, basis @ matrix @ basis.T)
    tridiagonal = small.triu(2).abs().max()
    assert tridiagonal < 1e-10 * matrix.norm()
    powers = torch.stack([torch.linalg.matrix_power(matrix, k) @ g for k in range(5)])
    torch.testing.assert_close(powers @ basis.T @ basis, powers)


def test_an_exhausted_krylov_space_ends_in_zeros():
    oracle = PlainOracle(quadratic(torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)))
    theta = torch.ones(4, dtype=torch.float64)
    basis, small = krylov_space(oracle, theta, theta, 3)
    assert basis[1:].abs().max() == 0
    assert small.isfinite().all()
    step = path(made("saddle_free_newton(krylov=3, alpha=0.0)"), oracle, theta, 1)[1]
    assert step.norm() < 1e-12


def test_the_whole_krylov_space_is_the_whole_method():
    start = torch.tensor([-1.2, 1.0, 0.3, -0.4], dtype=torch.float64)
    whole, krylov = (
        torch.stack(path(made(f"saddle_free_newton({k})"), PlainOracle(rosenbrock), start, 5))
        for k in ("krylov=0", "krylov=4")
    )
    torch.testing.assert_close(whole, krylov, rtol=1e-6, atol=1e-6)


def test_hessian_free_solves_a_quadratic_and_trusts_it_more():
    matrix, minimum, start = bowl(10)
    optimizer_, oracle, theta = (
        made("hessian_free(damping=1.0, matrix='hessian')"),
        PlainOracle(quadratic(matrix, minimum)),
        start,
    )
    state = optimizer_.init(oracle, theta)
    for _ in range(8):
        theta, state = optimizer_.step(oracle, state, theta)
    assert state["damping"] == pytest.approx(1.5**-8)
    assert (theta - minimum).norm() < 1e-3


def test_hessian_free_with_exact_solves_is_regularized_newton():
    matrix, minimum, start = bowl(6)
    oracle = PlainOracle(quadratic(matrix, minimum))
    free = path(made("hessian_free(damping=3.0, tolerance=1e-14, matrix='hessian')"), oracle, start, 1)[1]
    torch.testing.assert_close(free, path(made("newton(alpha=3.0)"), oracle, start, 1)[1], rtol=1e-6, atol=1e-6)


def test_hessian_free_on_rosenbrock():
    theta = torch.full((6,), 0.3, dtype=torch.float64)
    points = path(made("hessian_free(matrix='hessian')"), PlainOracle(rosenbrock), theta, 80)
    losses = [rosenbrock(point) for point in points]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-8
