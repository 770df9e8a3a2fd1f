"""Losses and metrics of whole splits against the definition on all their examples at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from problems import problem
from suite.evaluate import EXAMPLES, evaluate, gradient_norms


def made(text):
    return problem.build(problem.bind(text)).to("cpu", torch.float64)


def test_means_over_chunks_are_those_over_the_split():
    """Of 2,300 examples the last chunk is shorter and counts for less."""
    p = made(f"gaussian(examples={2 * EXAMPLES + 300})")
    theta = torch.tensor([[0.0, 1.0], [3.0, 0.2], [-1.0, 2.0]], dtype=torch.float64)
    found = evaluate(p, theta, 50)
    whole = torch.stack([p.loss(lane, p.train.tensors) for lane in theta])
    torch.testing.assert_close(found["train_loss"], whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(found["train_excess"], whole - p.minimum.loss, rtol=1e-9, atol=0)
    steep = torch.stack([torch.func.grad(p.loss)(lane, p.train.tensors).norm() for lane in theta])
    torch.testing.assert_close(gradient_norms(p, theta), steep, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("size", "count"), [(32, 224), (250, 250), (125, 250), (251, 250), (0, 250)])
def test_a_split_that_drops_a_partial_batch_counts_whole_ones_alone(size, count):
    p = made("linear_regression")
    theta = torch.linspace(-1, 1, p.size, dtype=torch.float64)[None]
    whole = evaluate(p, theta, size)["test_loss"].item()
    assert whole == pytest.approx(float(p.loss(theta[0], p.test.tensors)), rel=1e-12)
    found = evaluate(replace(p, test=replace(p.test, drop_partial=True)), theta, size)["test_loss"].item()
    assert found == pytest.approx(float(p.loss(theta[0], tuple(t[:count] for t in p.test.tensors))), rel=1e-12)


def test_minima_of_zero_have_no_excess():
    p = made("quadratic(size=2)")
    assert "train_excess" not in evaluate(p, torch.ones(1, 2, dtype=torch.float64), 0)
