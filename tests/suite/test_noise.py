"""Gradient noise has the law it says, and lanes draw their own."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from oracles import PlainOracle, path
from scipy import stats

from suite.optimizers import optimizer
from suite.strategies import noise
from suite.strategies.noise import key_of, normal

N = 20_000


def made(spec):
    return optimizer.build(optimizer.bind(spec))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_standard_normal_and_independent(dtype):
    keys = [key_of(torch.full((3,), value, dtype=dtype)) for value in (0.1, 0.1000001)]
    draws = [normal(key, t, N) for key in keys for t in (0, 1.0, 2)]
    for draw in draws:
        assert stats.kstest(draw.numpy(), "norm").pvalue > 1e-3
    between = torch.corrcoef(torch.stack([*draws, draws[0].roll(1)]))
    assert (between - torch.eye(7, dtype=torch.float64)).abs().max() < 5 / N**0.5


def test_numbers_are_of_float64_and_finite_at_both_ends_of_the_uniform_ones(monkeypatch):
    """Where all of the uniform number's 53 bits are set, and where none is: as a float32 the one was 1, its log −∞."""
    for bits, size in [(-1, (106 * math.log(2)) ** 0.5), (0, 0.0)]:
        monkeypatch.setattr(noise, "_mixed", lambda x, bits=bits: torch.full_like(x, bits))
        drawn = normal(torch.tensor(3), 0.0, 5)
        assert drawn.dtype == torch.float64
        torch.testing.assert_close(drawn, torch.full((5,), size, dtype=torch.float64))


def test_the_same_point_and_step_give_the_same_numbers():
    key = key_of(torch.arange(5.0))
    assert torch.equal(normal(key, 3, 10), normal(key, 3.0, 10))
    assert torch.equal(normal(key, 3, 10), normal(key, 3, 20)[:10])
    assert not torch.equal(key, key_of(torch.arange(5.0).flip(0)))


def test_the_variance_falls_as_the_paper_says():
    flat = PlainOracle(lambda theta: 0.0 * theta.sum())
    points = path(made("gradient_noise(sgd(lr=1.0), eta=0.3, gamma=0.55)"), flat, torch.ones(N), 4)
    for t, (a, b) in enumerate(itertools.pairwise(points)):
        assert (b - a).var().item() == pytest.approx(0.3 / (1 + t) ** 0.55, rel=0.05)


def test_under_vmap_lanes_draw_what_they_would_alone():
    starts = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    together = torch.vmap(lambda theta: normal(key_of(theta), 5, 6))(starts)
    assert torch.equal(together, torch.stack([normal(key_of(start), 5, 6) for start in starts]))
    assert len({row[0].item() for row in together}) == 4
