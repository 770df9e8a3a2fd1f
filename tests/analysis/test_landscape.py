"""Slices, planes, directions and critical points against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from analysis.critical import Critical, critical_point
from analysis.density import Interval
from analysis.landscape import Line, filter_normalized, interpolation, plane, principal_directions, slice_along
from analysis.objective import CurvatureError, of_function, of_module


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(values, theta=None, tilt=0.0):
    q, _ = torch.linalg.qr(draw(len(values), len(values)))
    h = q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ q.T
    start = draw(len(values), seed=5) if theta is None else theta
    return of_function(lambda t: t @ h @ t / 2 + tilt * t.sum(), start), h


def net(dtype=torch.float64):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3)).to(dtype)
    return of_module(module, nn.CrossEntropyLoss(), (draw(30, 6).to(dtype), draw(30, 3).argmax(1)), chunk=11)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.integers(0, 100))
def test_a_slice_of_a_quadratic_is_its_parabola(values, seed):
    made, h = quadratic(values)
    d, theta = draw(len(values), seed=seed), made.theta
    places = np.linspace(-2, 2, 9)
    truth = made.value() + places * float(d @ h @ theta) + places**2 * float(d @ h @ d) / 2
    np.testing.assert_allclose(slice_along(made, d, places).losses, truth, atol=1e-9 * (1 + abs(truth).max()))


def test_a_plane_of_a_quadratic():
    made, h = quadratic([3.0, 1.0, -0.5])
    u, v = draw(3, seed=7), draw(3, seed=8)
    found = plane(made, u, v, [-1, 0, 2], [0, 1])
    assert found.losses.shape == (2, 3)
    at = made.theta + 2 * u + v
    assert found.losses[1, 2] == pytest.approx(float(at @ h @ at / 2))
    assert found.losses[0, 1] == pytest.approx(made.value())


def test_interpolation_ends_at_its_ends_and_says_whether_it_falls():
    made, _ = quadratic([1.0, 2.0], theta=torch.tensor([2.0, 1.0], dtype=torch.float64))
    down = interpolation(made, made.theta, torch.zeros(2, dtype=torch.float64))
    assert down.losses[0] == pytest.approx(made.value())
    assert down.losses[-1] == 0
    assert down.monotone() and down.rise == 0 and down.barrier == 0
    across = interpolation(made, made.theta, -made.theta)
    assert not across.monotone()
    assert across.rise == pytest.approx(made.value())
    wells = of_function(lambda t: (t**2 - 1).square().sum(), torch.tensor([-1.0], dtype=torch.float64))
    over = interpolation(wells, wells.theta, -wells.theta)
    assert over.barrier == pytest.approx(1.0)
    uneven = Line(np.array([1.0, 2.0, 5.0]), np.array([2.0, 4.0, 6.0]))  # a quarter of the way from 2 to 6 is 3
    assert (uneven.barrier, uneven.rise) == (1.0, 4.0)


def test_a_loss_that_overflows_is_shown_as_it_is():
    made = of_function(lambda t: t.exp().exp().sum(), torch.zeros(1, dtype=torch.float64))
    line = interpolation(made, made.theta, made.theta + 100)
    assert np.isinf(line.losses[-1]) and math.isnan(line.rise) and math.isnan(line.barrier)
    assert not line.monotone()


def test_filter_normalized_directions_have_the_norms_of_the_filters():
    made = net()
    direction = made.split(filter_normalized(made, seed=3))
    for name, piece in made.pieces.items():
        if piece.dim() > 1:
            torch.testing.assert_close(direction[name].norm(dim=1), piece.detach().norm(dim=1))
        else:
            assert not direction[name].any()
    assert torch.equal(filter_normalized(made, 3), filter_normalized(made, 3))
    plain, _ = quadratic([1.0, 2.0, 5.0], theta=torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64))
    assert float(filter_normalized(plain, 3).norm()) == pytest.approx(3.0)  # all of it is one filter


def test_a_filter_normalized_slice_does_not_see_the_scale_of_rectified_layers():
    """10 × the first layer and 1/10 of the second is the same net, and the same slice (Li et al. 2018)."""
    made = net()
    pieces = {name: t.detach().clone() for name, t in made.pieces.items()}
    scaled = {"0.weight": 10 * pieces["0.weight"], "0.bias": 10 * pieces["0.bias"], "2.weight": pieces["2.weight"] / 10}
    other = made.at(torch.cat([{**pieces, **scaled}[name].reshape(-1) for name in pieces]))
    places = np.linspace(-1, 1, 7)
    one, two = (slice_along(o, filter_normalized(o), places).losses for o in (made, other))
    np.testing.assert_allclose(one, two, rtol=1e-10)


def test_directions_of_a_trajectory_in_a_plane():
    u, v = torch.linalg.qr(draw(20, 2))[0].T
    a = torch.linspace(0, 3, 30, dtype=torch.float64)
    points = 5 + torch.outer(a, u) * 4 + torch.outer(a.sin(), v)
    found = principal_directions(points)
    assert found.shares.sum() == pytest.approx(1)
    back = points[-1] + torch.as_tensor(found.coordinates) @ found.vectors
    torch.testing.assert_close(back, points)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(2, dtype=torch.float64))
    with pytest.raises(CurvatureError, match="30 points span 2 dimensions, fewer than the 3 asked for"):
        principal_directions(points, 3)
    with pytest.raises(CurvatureError, match="span 0 dimensions"):
        principal_directions([torch.ones(4), torch.ones(4)], 1)


@pytest.mark.parametrize(
    ("values", "kind", "share"),
    [
        ([3.0, 1.0, 0.5], "minimum", 0),
        ([3.0, 1.0, -0.5], "saddle", 1 / 3),
        ([-3.0, 1.0, -0.5], "saddle", 2 / 3),
        ([-3.0, -1.0], "maximum", 1),
        ([2.0], "minimum", 0),
        ([-2.0], "maximum", 1),
    ],
)
def test_the_critical_point_of_a_quadratic_and_its_index(values, kind, share):
    made, h = quadratic(values, tilt=1.0)
    found = critical_point(made)
    truth = torch.linalg.solve(h, -torch.ones(len(values), dtype=torch.float64))
    torch.testing.assert_close(found.theta, truth, rtol=1e-6, atol=1e-6)
    assert found.converged and found.kind == kind
    assert found.index.value == pytest.approx(share)
    assert found.smallest == pytest.approx(min(values)) and found.largest == pytest.approx(max(values))


@pytest.mark.parametrize(
    ("smallest", "largest", "kind"),
    [(-2, -1, "maximum"), (-1, 0, "degenerate"), (0, 0, "degenerate"), (0, 1, "degenerate"), (-1, 1, "saddle")],
)
def test_a_zero_eigenvalue_leaves_open_what_a_point_is(smallest, largest, kind):
    none = torch.zeros(1)
    assert Critical(none, 0.0, 0.0, Interval(0, 0, 0), smallest, largest, True, 1).kind == kind


@pytest.mark.parametrize(
    ("near", "at", "kind", "share"),
    [
        ((2.8, 2.1), (3.0, 2.0), "minimum", 0),
        ((-0.3, -0.9), (-0.270845, -0.923039), "maximum", 1),
        ((3.4, 0.1), (3.385154, 0.073852), "saddle", 0.5),
        ((0.1, 2.9), (0.086678, 2.884255), "saddle", 0.5),
    ],
)
def test_the_critical_points_of_himmelblau(near, at, kind, share):
    def loss(t):
        return (t[0] ** 2 + t[1] - 11) ** 2 + (t[0] + t[1] ** 2 - 7) ** 2

    found = critical_point(of_function(loss, torch.tensor(near, dtype=torch.float64)))
    np.testing.assert_allclose(found.theta.numpy(), at, atol=1e-5)
    assert (found.kind, found.index.value) == (kind, share)


def test_a_flat_gradient_that_is_no_critical_point_is_told():
    """x³ + x has no critical point; the search ends where the slope is least."""
    found = critical_point(of_function(lambda t: (t**3 + t).sum(), torch.tensor([0.5], dtype=torch.float64)))
    assert not found.converged and found.kind == "none"
    assert found.gradient == pytest.approx(1.0, abs=1e-3)


def test_a_flat_valley_is_degenerate():
    made = of_function(lambda t: t[0] ** 2 + 0 * t[1], torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert critical_point(made).kind == "degenerate"


def test_the_search_arrives_from_half_the_starts_of_a_smooth_net_or_says_that_it_did_not():
    """Where ‖∇L‖ has minima of its own (Frye et al. 2021), which are called none."""
    x, y = draw(40, 5, seed=1), draw(40, 3, seed=2).argmax(1)
    arrived = 0
    for seed in range(6):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
        made = of_module(module, nn.CrossEntropyLoss(), (x, y))
        found = critical_point(made, tol=1e-7, most=25)
        size = float(made.at(found.theta).gradient().norm())
        assert found.converged == (size < 1e-7) == (found.kind != "none")
        arrived += found.converged
    assert arrived >= 3


def test_a_saddle_of_a_net():
    """All weights 0: no gradient but for the last bias, which the search settles."""
    made = net()
    found = critical_point(made.at(torch.zeros(made.size, dtype=torch.float64)), tol=1e-10)
    assert found.converged
    assert found.gradient < 1e-9
    shares = torch.bincount(torch.cat([c[1] for c in made.chunks])) / 30
    assert found.loss == pytest.approx(float(-(shares * shares.log()).sum()))


def test_mistakes():
    made, _ = quadratic([1.0, 2.0])
    with pytest.raises(CurvatureError, match="end must have 2 numbers"):
        interpolation(made, made.theta, torch.zeros(3))
    with pytest.raises(CurvatureError, match="u is not finite"):
        plane(made, made.theta * math.nan, made.theta, [0, 1], [0, 1])
    with pytest.raises(CurvatureError, match="ascending order"):
        slice_along(made, made.theta, [1, 0])
    with pytest.raises(CurvatureError, match="at least two numbers"):
        slice_along(made, made.theta, [0])
    assert math.isnan(Line(np.array([0.0, 1.0]), np.array([1.0, math.nan])).barrier)
