"""Spectra against known eigenvalues, dense float64 Hessians and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, wasserstein_distance
from sklearn.datasets import load_digits
from torch import nn

from analysis.density import Density, Measure
from analysis.objective import CurvatureError, of_function, of_module
from analysis.operators import Operator, gauss_newton, hessian
from analysis.spectrum import spectrum

torch.set_num_threads(1)


def with_eigenvalues(values, dtype=torch.float64, seed=0):
    """A symmetric matrix with these eigenvalues in a random basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    return torch.from_numpy((basis * np.asarray(values, dtype=float)) @ basis.T).to(dtype)


@pytest.fixture(scope="module")
def trained():
    """A perceptron of 506 parameters on digits, after some training: (module in float64, x, y)."""
    x, y = load_digits(return_X_y=True)
    torch.manual_seed(0)
    x = torch.tensor(x / 16)[:600] @ torch.randn(64, 20).double() / 8
    y = torch.tensor(y)[:600]
    module = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 10))
    module.double()
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    for i in range(200):
        sgd.zero_grad()
        nn.functional.cross_entropy(module(x[i % 6 :: 6]), y[i % 6 :: 6]).backward()
        sgd.step()
    for p in module.parameters():  # points that float32 holds exactly
        p.data = p.data.float().double()
    return module, x.float().double(), y


@pytest.fixture(scope="module")
def truth(trained):
    module, x, y = trained
    return np.linalg.eigvalsh(hessian(of_module(module, nn.CrossEntropyLoss(), (x, y))).dense().numpy())


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("basis", [None, 45])
def test_both_ends_of_a_net_are_those_of_the_dense_hessian(trained, truth, dtype, close, basis):
    module, x, y = trained
    cast = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 10)).to(dtype)
    cast.load_state_dict(module.state_dict())
    h = hessian(of_module(cast, nn.CrossEntropyLoss(), (x.to(dtype), y)))
    tol = 1e-6 if dtype == torch.float32 else 1e-9
    found = spectrum(h, top=10, bottom=5, method="lanczos", basis=basis, tol=tol)
    assert found.top.converged.all()
    assert found.bottom.converged.all()
    np.testing.assert_allclose(found.top.values, truth[::-1][:10], rtol=close)
    np.testing.assert_allclose(found.bottom.values, truth[:5], rtol=0, atol=close * truth[-1])
    image = h.apply(found.top.vectors)
    true = (image - torch.as_tensor(found.top.values, dtype=dtype)[:, None] * found.top.vectors).norm(dim=1).numpy()
    np.testing.assert_allclose(true, found.top.residuals, atol=1e-6 * truth[-1])


def test_density_of_a_net_is_near_its_eigenvalues(trained, truth):
    module, x, y = trained
    h = hessian(of_module(module, nn.CrossEntropyLoss(), (x, y)))
    spread = truth[-1] - truth[0]
    distances = {1: [], 10: []}
    for probes, found in distances.items():
        for seed in range(3):
            pooled = spectrum(h, top=0, density=True, probes=probes, method="lanczos", seed=seed).density.pooled()
            assert pooled.weights.sum() == pytest.approx(1)
            found.append(wasserstein_distance(truth, pooled.nodes, None, pooled.weights) / spread)
    assert np.median(distances[10]) <= 9e-4
    assert np.median(distances[1]) <= 2.1e-3


def test_intervals_of_a_density_are_student_s_t_over_its_probes():
    random = np.random.default_rng(0)
    nodes = [np.sort(random.normal(size=4)) for _ in range(6)]
    found = Density([Measure(each, np.array([0.1, 0.2, 0.3, 0.4])) for each in nodes], 10)
    traces = [10 * (each @ [0.1, 0.2, 0.3, 0.4]) for each in nodes]
    theirs = ttest_1samp(traces, 0.0).confidence_interval(0.95)
    assert (found.trace.low, found.trace.high) == pytest.approx((theirs.low, theirs.high))
    below = [np.array([0.1, 0.2, 0.3, 0.4])[each <= 0.3].sum() for each in nodes]
    mean, low, high = found.cumulative([0.3])
    theirs = ttest_1samp(below, 0.0).confidence_interval(0.95)
    assert (mean[0], low[0], high[0]) == pytest.approx((np.mean(below), max(theirs.low, 0), min(theirs.high, 1)))


def test_functions_of_the_density():
    values = np.concatenate([np.linspace(1, 2, 290), [5, 8, 9, 9, 11, 20, 30, 40, 50, 60]])
    found = spectrum(with_eigenvalues(values), top=3, density=True, probes=5, steps=40, method="lanczos").density
    assert found.trace.low <= values.sum() <= found.trace.high
    assert found.trace.value == pytest.approx(values.sum(), rel=1e-2)
    assert found.logdet.value == pytest.approx(np.log(values).sum(), rel=1e-2)
    assert found.frobenius.value == pytest.approx((values**2).sum(), rel=1e-2)
    assert found.effective_rank == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-2)
    assert found.condition == pytest.approx(60, rel=1e-2)
    assert found.negative.value == 0
    share, low, high = found.cumulative([0, 4, 100])
    np.testing.assert_allclose(share, [0, 290 / 300, 1], atol=1e-9)
    assert (low <= share).all()
    assert (share <= high).all()
    grid, curve = found.on_grid()
    assert np.trapezoid(curve, grid) == pytest.approx(1, abs=1e-3)


@settings(max_examples=15, deadline=None)
@example(seed=283, size=3, top=0, bottom=0)  # signs that were drawn twice, beside a repeated eigenvalue
@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.integers(0, 6), st.integers(0, 6))
def test_lanczos_equals_dense_on_any_matrix(seed, size, top, bottom):
    random = np.random.default_rng(seed)
    values = np.round(random.normal(size=size), 1) * 10.0 ** random.integers(-3, 4)  # with repetitions
    matrix = with_eigenvalues(values, seed=seed)
    one = spectrum(matrix, top=top, bottom=bottom, method="lanczos", seed=seed, density=True, probes=2)
    two = spectrum(matrix, top=top, bottom=bottom, method="dense", density=True)
    scale = max(np.abs(values).max(), 1e-300)
    np.testing.assert_allclose(one.top.values / scale, two.top.values / scale, atol=1e-6)
    np.testing.assert_allclose(one.bottom.values / scale, two.bottom.values / scale, atol=1e-6)
    assert one.density.trace.value / scale == pytest.approx(values.sum() / scale, abs=1e-5 * size)


@pytest.mark.parametrize("basis", [None, 25])
def test_repeated_eigenvalues_are_found_as_often_as_they_are(basis):
    values = [10.0] * 3 + [9.0] * 2 + list(np.linspace(0, 1, 995))
    found = spectrum(torch.diag(torch.tensor(values)).double(), top=5, method="lanczos", basis=basis)
    np.testing.assert_allclose(found.top.values, values[:5], atol=1e-5)
    assert found.top.converged.all()


def test_no_ghosts_after_many_steps():
    values = np.concatenate([[1e4, 1e3, 100.0], np.linspace(0, 1, 500)])
    found = spectrum(with_eigenvalues(values), top=4, density=True, probes=1, steps=150, method="lanczos")
    np.testing.assert_allclose(found.top.values, [1e4, 1e3, 100.0, 1.0], rtol=1e-4)
    assert (found.density.pooled().nodes > 50).sum() == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("basis", [None, 30])
def test_clusters_have_as_many_members_as_they_have(dtype, basis):
    close = 10 * (1 + 1e-3 * np.arange(4))  # four within 0.3 %, which a chain tells apart late
    values = np.concatenate([[100.0], close, [5.0] * 3, np.linspace(-1, 1, 700), [-8.0, -8.004, -20.0]])
    found = spectrum(with_eigenvalues(values, dtype), top=8, bottom=3, method="lanczos", basis=basis)
    assert found.top.converged.all() and found.bottom.converged.all()
    np.testing.assert_allclose(found.top.values, np.sort(values)[::-1][:8], rtol=1e-5)
    np.testing.assert_allclose(found.bottom.values, np.sort(values)[:3], rtol=1e-5)


@pytest.mark.parametrize("lead", ["an eigenvector", "zero", "not a number"])
def test_what_the_search_starts_from_hides_nothing(lead):
    values = np.concatenate([np.linspace(0, 1, 400), [3, 4, 5.0, 6]])
    matrix = torch.diag(torch.from_numpy(values))
    first = torch.zeros(404, dtype=torch.float64)
    first[400] = {"an eigenvector": 1.0, "zero": 0.0, "not a number": math.nan}[lead]
    found = spectrum(Operator(lambda v: v @ matrix, 404, lead=first), top=4, method="lanczos")
    np.testing.assert_allclose(found.top.values, [6, 5, 4, 3], rtol=1e-9)


def test_the_gradient_leads_to_the_largest_eigenvalues(trained):
    module, x, y = trained
    made = of_module(module, nn.CrossEntropyLoss(), (x, y), chunk=250)
    matrix = hessian(made)
    torch.testing.assert_close(matrix.lead, made.gradient())
    random = Operator(matrix.apply, matrix.size)
    with_lead, without = (spectrum(m, top=5, method="lanczos") for m in (matrix, random))
    np.testing.assert_allclose(with_lead.top.values, without.top.values, rtol=1e-9)
    assert with_lead.products <= without.products


@pytest.mark.parametrize("steps", [20, 60])
def test_a_density_alone(steps):
    values = np.linspace(1, 2, 500)
    found = spectrum(with_eigenvalues(values), top=0, density=True, probes=4, steps=steps, method="lanczos")
    assert found.products == 4 * steps
    assert found.density.trace.value == pytest.approx(values.sum(), rel=1e-2)


def test_a_null_space_that_is_most_of_the_space_keeps_its_mass():
    values = np.concatenate([np.zeros(900), np.arange(1.0, 101)])
    found = spectrum(torch.diag(torch.from_numpy(values)), top=2, density=True, probes=8, method="lanczos")
    assert found.density.cumulative([0.5])[0][0] == pytest.approx(0.9, abs=0.02)
    assert found.density.trace.value == pytest.approx(values.sum(), rel=0.05)


@pytest.mark.parametrize("method", ["lanczos", "dense"])
def test_a_zero_operator(method):
    found = spectrum(torch.zeros(50, 50), top=3, bottom=2, density=True, method=method)
    assert found.top.values.tolist() == [0, 0, 0]
    assert found.top.relative.tolist() == [0, 0, 0]
    assert found.top.converged.all()
    assert found.density.trace.value == 0
    assert found.density.effective_rank == 0
    assert found.density.logdet is None
    assert found.density.condition is None


@pytest.mark.parametrize("method", ["lanczos", "dense"])
def test_one_parameter_and_more_pairs_than_there_are(method):
    h = hessian(of_function(lambda t: 1.5 * t.square().sum(), torch.ones(1)))
    found = spectrum(h, top=5, bottom=2, density=True, method=method)
    np.testing.assert_allclose(found.top.values, [3.0])
    np.testing.assert_allclose(found.bottom.values, [3.0])
    assert "there are 1 eigenvalues" in found.notes[0]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    matrix = with_eigenvalues(np.random.default_rng(0).normal(size=300))
    one, two, other = (
        spectrum(matrix, top=3, density=True, probes=2, steps=20, method="lanczos", seed=s) for s in (1, 1, 2)
    )
    assert np.array_equal(one.top.values, two.top.values)
    assert one.density.trace == two.density.trace
    assert one.density.trace != other.density.trace


def test_largest_in_magnitude():
    values = np.concatenate([[-30.0, 20, -10], np.linspace(-1, 1, 300)])
    found = spectrum(with_eigenvalues(values), top=0, magnitude=3, method="lanczos")
    np.testing.assert_allclose(found.magnitude.values, [-30, 20, -10], rtol=1e-8)


def test_dense_is_chosen_where_it_takes_fewer_products():
    matrix = with_eigenvalues(np.linspace(1, 2, 400))
    assert spectrum(matrix, top=2).method == "lanczos"
    assert spectrum(matrix, top=2, density=True).method == "dense"
    assert spectrum(matrix, top=2, density=True).products == 400
    assert spectrum(matrix[:100, :100], top=2).method == "dense"


def test_gauss_newton_of_a_convex_criterion_is_not_negative(trained):
    module, x, y = trained
    found = spectrum(gauss_newton(of_module(module, nn.CrossEntropyLoss(), (x, y))), top=9, bottom=3, method="lanczos")
    assert found.top.values[-1] > 0
    assert np.abs(found.bottom.values).max() < 1e-6 * found.top.values[0]


def test_operators_that_are_not_what_they_should_be_are_told():
    generator = torch.Generator().manual_seed(0)
    noisy = Operator(lambda v: v * torch.rand(v.shape, generator=generator), 500)
    with pytest.raises(CurvatureError, match="not symmetric, or gives different products"):
        spectrum(noisy, method="lanczos")
    skew = torch.triu(torch.ones(500, 500).double())
    with pytest.raises(CurvatureError, match="not symmetric"):
        spectrum(Operator(lambda v: v @ skew, 500), method="lanczos")


def test_a_density_of_fewer_steps_than_asked_for_says_so():
    matrix = with_eigenvalues(np.linspace(1, 2, 500))
    few = spectrum(matrix, top=2, density=True, probes=2, steps=60, basis=20, method="lanczos")
    assert few.notes == ("the density took 20 steps a probe, not 60: memory holds no more vectors",)
    assert spectrum(matrix, top=2, density=True, probes=2, steps=60, method="lanczos").notes == ()
    everything = spectrum(matrix[:30, :30].diag().diag(), top=2, density=True, probes=2, steps=60, method="lanczos")
    assert everything.notes == ()


def test_more_memory_than_was_given_is_told():
    """For ten pairs thirty vectors of 3,000 numbers and their products are held, 1.44 MB in float64."""
    matrix = torch.diag(torch.linspace(0, 1, 3000, dtype=torch.float64) ** 8)
    told = "30 vectors and their products took 0.0013 GiB; fewer pairs take less"
    assert told in spectrum(matrix, top=10, memory=1_400_000, most=60).notes
    assert told not in spectrum(matrix, top=10, memory=1_450_000, most=60).notes
    assert told not in spectrum(matrix, top=10, memory=1_400_000, basis=30, most=60).notes


def test_a_search_that_may_not_take_enough_products_says_so():
    values = np.linspace(0, 1, 2000)
    found = spectrum(torch.diag(torch.from_numpy(values)), top=5, most=30)
    assert found.products == 30
    assert not found.top.converged.any()
    assert "not every pair reached 1e-06" in found.notes[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": -1}, "top must be >= 0, got -1"),
        ({"tol": 0}, "tol must be > 0"),
        ({"probes": 0}, "probes must be >= 1"),
        ({"method": "magic"}, "method must be auto, dense or lanczos, got 'magic'"),
        ({"basis": 3, "method": "lanczos"}, "basis must be at least 15"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(CurvatureError, match=message):
        spectrum(torch.eye(5), **options)


def test_intervals_need_two_probes():
    matrix = with_eigenvalues(np.linspace(0, 1, 300))
    one = spectrum(matrix, top=1, density=True, probes=1, steps=20, method="lanczos").density.trace
    assert math.isnan(one.low)
