"""Test surfaces against SciPy, PyTorch's distributions, and what the book says of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import Problem, UsageError, problem


def make(text: str) -> Problem:
    return problem.build(problem.bind(text)).to("cpu", torch.float64)


def at(p: Problem, *theta: float) -> float:
    return float(p.loss(torch.tensor(theta, dtype=torch.float64), p.train.tensors))


def hessian(p: Problem, *theta: float) -> torch.Tensor:
    return torch.func.jacrev(torch.func.jacrev(p.loss))(torch.tensor(theta, dtype=torch.float64), p.train.tensors)


@settings(deadline=None)  # the first call imports
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_rosenbrock_is_scipys(theta: list[float]) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    found = at(make("rosenbrock(size=3, scale=1)"), *theta)
    assert found == pytest.approx(float(optimize.rosen(theta)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("ravine", [-20.0, 10.0]),
        ("rosenbrock(size=5)", [-1.2, 1.0, -1.2, 1.0, -1.2]),
        ("saddle", [1.0, 0.001]),
        ("monkey_saddle", [1.0, 0.01]),
        ("cliff", [6.0, -2.95]),
        ("mountain", [-1.0]),
        ("coupled_pair", [1.0, 1.0]),
        ("scalar_chain(depth=3)", [1.0] * 3),
    ],
)
def test_surfaces_start_where_their_sources_do(text: str, begin: list[float]) -> None:
    p = make(text)
    assert p.start is not None
    assert p.start(torch.Generator()).tolist() == pytest.approx(begin)


def test_ravine_has_its_condition_number() -> None:
    eigenvalues, vectors = torch.linalg.eigh(hessian(make("ravine(condition=50)"), 1.0, 2.0))
    assert eigenvalues.tolist() == pytest.approx([1.0, 50.0])
    assert vectors[:, 1].abs().tolist() == pytest.approx([math.sqrt(0.5)] * 2)


def test_saddles_have_theirs() -> None:
    assert hessian(make("saddle"), 0.0, 0.0).diagonal().tolist() == [2.0, -2.0]
    monkey = make("monkey_saddle")
    assert not hessian(monkey, 0.0, 0.0).any()
    angles = [k * math.pi / 3 for k in range(6)]
    assert [round(at(monkey, math.cos(a), math.sin(a)), 9) for a in angles] == [1, -1, 1, -1, 1, -1]


def test_mountain_has_one_hilltop_and_no_other_critical_point() -> None:
    p = make("mountain")
    x = np.linspace(-50, 50, 20001)
    values = np.array([at(p, v) for v in x[::50]])
    slopes = np.sign(np.diff(values))
    assert list(slopes[:-1] * slopes[1:]).count(-1.0) == 1
    assert x[::50][values.argmax()] == pytest.approx(-1 / math.sqrt(15), abs=0.26)
    assert values[0] > 1 > 0 > values[-1] > -1


def test_cliff_is_steep_near_the_start_and_flat_behind() -> None:
    p = make("cliff")

    def slope(b: float) -> float:
        theta = torch.tensor([6.0, b], dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(p.loss(theta, p.train.tensors), theta)[0].norm())

    assert at(p, 6.0, -3.3) - at(p, 6.0, -3.2) > 0.3
    assert slope(-2.95) < 0.1
    assert slope(-3.4) < 0.1


def test_coupled_pair_is_the_formula_of_the_book() -> None:
    assert at(make("coupled_pair(alpha=0.5)"), 3.0, 1.0) == pytest.approx(4 + 0.5 * 10)


@settings(deadline=None)  # the first call imports
@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_scalar_chain_is_a_product(w: list[float]) -> None:
    assert at(make("scalar_chain(depth=4, goal=3)"), *w) == pytest.approx(0.5 * (math.prod(w) - 3) ** 2, abs=1e-9)


@pytest.mark.parametrize("spectrum", ["log", "linear", "outliers"])
def test_quadratic_has_its_spectrum(spectrum: str) -> None:
    p = make(f"quadratic(size=20, condition=100, spectrum={spectrum})")
    found = torch.linalg.eigvalsh(hessian(p, *[0.0] * 20))
    assert float(found[-1] / found[0]) == pytest.approx(100, rel=1e-3)
    middle = {"log": 10 ** (-2 + 2 * 10 / 19), "linear": 0.01 + 0.99 * 10 / 19, "outliers": 0.01}[spectrum]
    assert float(found[10]) == pytest.approx(middle, rel=1e-3)
    assert p.start is not None
    loss = p.loss(p.start(torch.Generator()).double(), p.train.tensors)
    assert float(loss) == pytest.approx(0.5 * float(found.sum()), rel=1e-5)


def test_quadratic_refuses_other_spectra() -> None:
    with pytest.raises(UsageError, match="spectrum must be one of log, linear, outliers"):
        problem.bind("quadratic(spectrum=flat)")


def test_gaussian_is_the_log_density_of_torch() -> None:
    p = make("gaussian")
    y = p.train.tensors[0]
    density = torch.distributions.Normal(torch.tensor(1.5).double(), 1 / math.sqrt(0.3)).log_prob(y).mean()
    assert at(p, 1.5, 0.3) == pytest.approx(-density.item(), rel=1e-9)
