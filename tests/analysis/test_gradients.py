"""Slope, flow and noise of gradients against closed forms and dense float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from analysis.gradients import Slope, cosine, minibatch_noise, noise, norms, slope
from analysis.objective import CurvatureError, of_function, of_module
from analysis.operators import gradient_covariance


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def least_squares(n=40, d=5):
    x, y, theta = draw(n, d), draw(n, seed=1), draw(d, seed=2)
    made = of_function(
        lambda t, b: (b[0] @ t - b[1]).square().mean() / 2,
        theta,
        (x, y),
        chunk=17,
        predict=lambda t, b: b[0] @ t,
        criterion=lambda out, b: (out - b[1]).square().mean() / 2,
    )
    each = (x @ theta - y)[:, None] * x
    return made, x, each


def net():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    return of_module(module, nn.CrossEntropyLoss(), (draw(30, 6), draw(30, 3).argmax(1)), chunk=11)


class Looks(nn.Module):
    """A layer that looks at values, which vmap does not allow."""

    def forward(self, x):
        return x if bool((x > -2).all()) else -x


def test_the_slope_of_a_quadratic():
    made, x, each = least_squares()
    g, h = each.mean(0), x.T @ x / len(x)
    found = slope(made)
    assert found.gTg == pytest.approx(float(g @ g), rel=1e-12)
    assert found.gTHg == pytest.approx(float(g @ h @ g), rel=1e-12)
    before = made.value()
    for rate in (0.1, found.best_rate, 3.0):
        first, second = found.change(rate)
        assert made.at(made.theta - rate * g).value() == pytest.approx(before - first + second, rel=1e-10)
    assert made.at(made.theta - 2 * found.best_rate * g).value() == pytest.approx(before, rel=1e-10)


def test_the_slope_of_a_net_against_its_dense_hessian():
    made = net()
    whole = lambda t: sum(w * made.loss_of(made.split(t), c) for w, c in zip(made.weights, made.chunks, strict=True))  # noqa: E731  # torch.func wants a function of one vector
    g, h = torch.func.grad(whole)(made.theta), torch.func.hessian(whole)(made.theta)
    found = slope(made)
    assert found.gTg == pytest.approx(float(g @ g), rel=1e-10)
    assert found.gTHg == pytest.approx(float(g @ h @ g), rel=1e-10)


def test_flow_by_pieces_adds_up():
    found = norms(net())
    assert list(found) == ["", "0.weight", "0.bias", "2.weight", "2.bias"]
    assert found[""] ** 2 == pytest.approx(sum(v**2 for name, v in found.items() if name), rel=1e-12)


def test_noise_of_examples_and_of_minibatches():
    made, _, each = least_squares()
    found = noise(made)
    assert found.variance == pytest.approx(float(torch.cov(each.T).trace()), rel=1e-12)
    assert found.squared == pytest.approx(float(each.mean(0).square().sum()), rel=1e-12)
    for size, measured in minibatch_noise(made, (1, 4, 16, 40), repeats=2000):
        assert measured == pytest.approx(found.of_minibatch(size, len(each)), rel=0.05, abs=1e-12)
    assert found.of_minibatch(100) == pytest.approx(found.of_minibatch(1) / 10)


def test_noise_of_a_net_is_that_of_its_examples_gradients():
    made = net()
    x, y = (torch.cat(t) for t in zip(*made.chunks, strict=True))
    each = [of_at(made, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    assert noise(made).variance == pytest.approx(float(torch.cov(torch.stack(each).T).trace()), rel=1e-10)


def of_at(made, x, y):
    def loss(theta):
        return made.loss_of(made.split(theta), (x, y))

    return torch.func.grad(loss)(made.theta)


def test_degenerate_gradients():
    assert math.isnan(Slope(0.0, 0.0).best_rate)
    assert Slope(1.0, -2.0).best_rate == math.inf
    assert math.isnan(cosine(torch.zeros(3), torch.ones(3)))
    assert cosine(torch.ones(3), -2 * torch.ones(3)) == pytest.approx(-1)
    one = of_function(lambda t: (t**2).sum(), torch.tensor([3.0], dtype=torch.float64))
    assert slope(one) == Slope(36.0, 72.0)
    made, _, _ = least_squares(n=1)
    with pytest.raises(CurvatureError, match="a variance needs at least 2 examples, got 1"):
        noise(made)
    whole, _, _ = least_squares()
    with pytest.raises(CurvatureError, match="a minibatch must be of 1 to 40 examples, got 41"):
        minibatch_noise(whole, (41,))
    with pytest.raises(CurvatureError, match="in two parts"):
        noise(of_function(lambda t, b: (b[0] @ t).sum(), torch.ones(2), (torch.ones(3, 2),)))
    with pytest.raises(CurvatureError, match="the loss is nan"):
        slope(of_function(lambda t: t.sum() * np.nan, torch.ones(2)))


@pytest.mark.parametrize(
    ("module", "data", "words"),
    [
        (None, (torch.ones(4, 3), torch.ones(4, 1)), "a module must be a torch.nn.Module, got NoneType"),
        (torch.nn.Linear(3, 1), torch.ones(4, 3), r"data must be \(x, y\), .* got a tensor of shape \(4, 3\)"),
    ],
)
def test_what_is_no_module_or_has_no_targets_is_said(module, data, words):
    with pytest.raises(CurvatureError, match=words):
        of_module(module, torch.nn.MSELoss(), data)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3)),
        nn.Sequential(nn.Linear(6, 7), nn.Tanh(), Looks(), nn.Linear(7, 3)),
    ],
    ids=["mapped", "one by one"],
)
def test_noise_where_classes_have_weights_is_that_of_their_shares_of_the_loss(module):
    """L = Σᵢ w(yᵢ) ℓᵢ / Σⱼ w(yⱼ), so the gradients whose mean ∇L is are those of n w(yᵢ) ℓᵢ / Σⱼ w(yⱼ)."""
    x, y, weight = draw(30, 6), draw(30, 3).argmax(1), torch.tensor([1.0, 5.0, 0.2]).double()
    made = of_module(module.double(), nn.CrossEntropyLoss(weight=weight), (x, y), chunk=11)
    ones = [of_module(module, nn.CrossEntropyLoss(), (x[i : i + 1], y[i : i + 1])).gradient() for i in range(30)]
    each = 30 * (weight[y] / weight[y].sum())[:, None] * torch.stack(ones)
    torch.testing.assert_close(made.gradient(), each.mean(0))
    assert noise(made).variance == pytest.approx(float(torch.cov(each.T).trace()), rel=1e-10)
    covariance = torch.cov(each.T, correction=0)
    torch.testing.assert_close(gradient_covariance(made).dense(), covariance, rtol=1e-9, atol=1e-12)
    for size, measured in minibatch_noise(made, (1, 20, 30), repeats=2000):
        assert measured == pytest.approx(noise(made).of_minibatch(size, 30), rel=0.05, abs=1e-12)


def test_the_covariance_of_a_sum_does_not_depend_on_chunks():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 3)).double()
    data = draw(30, 6), draw(30, 3).argmax(1)
    whole, chunked, mean = (
        of_module(module, nn.CrossEntropyLoss(reduction=how), data, chunk=chunk)
        for how, chunk in (("sum", None), ("sum", 11), ("mean", 11))
    )
    expected = gradient_covariance(mean).dense()
    for made in (whole, chunked):
        torch.testing.assert_close(gradient_covariance(made).dense(), expected)
        assert noise(made).variance == pytest.approx(noise(mean).variance)


def test_gradients_that_take_too_much_memory_are_refused():
    with pytest.raises(CurvatureError, match=r"those of 40 examples take .* more than the 0.0 GiB of memory"):
        minibatch_noise(least_squares()[0], (4,), memory=1000)
