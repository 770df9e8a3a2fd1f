"""Label smoothing and L2 against PyTorch and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from problems import Data, Problem, UsageError, problem
from problems.data.splits import Splits
from problems.models import classifier, mlp


def logits_only(classes: int, examples: int = 6) -> Problem:
    """A classifier whose outputs are its weights: the inputs are unit vectors."""
    data = Data((torch.eye(examples), torch.arange(examples) % classes))
    return classifier("logits", mlp((examples, classes), bias=None), Splits(data))


def built(text: str) -> Problem:
    return problem.build(problem.bind(text)).to("cpu", torch.float64)


def begun(p: Problem, seed: int = 0) -> torch.Tensor:
    assert p.start is not None
    return p.start(torch.Generator().manual_seed(seed)).double()


def smoothed(p: Problem, alpha: float) -> Problem:
    made: Problem = problem.find("label_smoothing").factory(p, alpha)
    return made.to("cpu", torch.float64)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.7])
def test_training_loss_is_torchs(alpha: float) -> None:
    p = smoothed(logits_only(3), alpha)
    theta = torch.randn(p.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, y = p.train.tensors
    logits = theta.view(3, 6).T
    assert float(p.loss(theta, (x, y))) == pytest.approx(
        float(cross_entropy(logits, y, label_smoothing=alpha)), rel=1e-12
    )
    assert float(p.measure(theta, (x, y))["loss"]) == pytest.approx(float(cross_entropy(logits, y)), rel=1e-12)


@pytest.mark.parametrize(("classes", "alpha"), [(3, 0.1), (4, 0.3), (2, 0.5)])
def test_the_minimum_is_the_entropy_of_the_soft_targets(classes: int, alpha: float) -> None:
    p = smoothed(logits_only(classes), alpha)
    own, other = 1 - alpha + alpha / classes, alpha / classes
    entropy = -own * math.log(own) - (classes - 1) * other * math.log(other)
    labels = p.train.tensors[1]
    best = torch.full((6, classes), math.log(other), dtype=torch.float64)
    best[torch.arange(6), labels] = math.log(own)
    theta = best.T.reshape(-1).requires_grad_()
    loss = p.loss(theta, p.train.tensors)
    (g,) = torch.autograd.grad(loss, theta)
    assert float(loss.detach()) == pytest.approx(entropy, rel=1e-12)
    assert float(g.abs().max()) < 1e-14
    grown = p.loss(2 * theta.detach(), p.train.tensors)  # cross-entropy itself would go on falling
    assert float(grown) > entropy


@pytest.mark.parametrize("text", ["rosenbrock", "linear_regression", "digits_autoencoder", "continuation(digits_mlp)"])
def test_only_classifiers_have_labels_to_smooth(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^label_smoothing: the loss of .* is not the softmax cross-entropy of labels"
    ):
        built(f"label_smoothing({text})")


def test_l2_adds_half_the_squared_weights_to_training_alone() -> None:
    plain, p = built("digits_mlp"), built("l2(digits_mlp, decay=0.3)")
    theta = begun(plain) + 0.1
    batch = tuple(t[:8] for t in plain.train.tensors)
    weights = torch.cat([v.flatten() for name, v in plain.layout.split(theta).items() if name.endswith("weight")])
    assert float(p.loss(theta, batch) - plain.loss(theta, batch)) == pytest.approx(
        0.15 * float(weights.square().sum()), rel=1e-10
    )
    assert p.measure(theta, batch)["loss"] == plain.measure(theta, batch)["loss"]


def test_l2_gives_ridge_regression() -> None:
    """Its minimum solves (XᵀX·2/n + λI) w = Xᵀy·2/n on centred data."""
    p = built("l2(linear_regression, decay=0.5)")
    x, y = p.train.tensors
    means = x.mean(0), y.mean(0)
    xc, yc = x - means[0], y - means[1]
    n = len(x)
    w = torch.linalg.solve(2 / n * xc.T @ xc + 0.5 * torch.eye(x.shape[1], dtype=x.dtype), 2 / n * xc.T @ yc)
    theta = torch.cat([w.flatten(), means[1] - means[0] @ w]).requires_grad_()
    (g,) = torch.autograd.grad(p.loss(theta, p.train.tensors), theta)
    assert float(g.abs().max()) < 1e-12
