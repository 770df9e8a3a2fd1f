"""Batch normalization against torch.nn's, and what makes its problems as pure as the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from problems import Problem, UsageError, problem
from problems.data.splits import Splits
from problems.models import Model, classifier, cnn_2c2d, mlp, resnet
from problems.problem import Data
from problems.starts import he_normal, start
from problems.transforms.normalization import _chunks, batch_norm
from suite.evaluate import evaluate
from suite.objective import Objective, rows
from suite.runner import train_group
from suite.spec import Run


def images(count: int, side: int, channels: int = 1) -> Data:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, channels, side, side, generator=generator) + 0.5
    return Data((x, torch.randint(10, (count,), generator=generator)))


def plain(model: Model, train: Data, valid: Data | None = None) -> Problem:
    return classifier("net", model, Splits(train, valid), start=start(model.layout, he_normal))


def perceptron() -> Problem:
    data = images(300, 4)
    return plain(mlp((16, 12, 7, 10)), Data((data.tensors[0].flatten(1), data.tensors[1])))


def convolutional() -> Problem:
    return plain(cnn_2c2d(1, 8, 10), images(40, 8))


def residual() -> Problem:
    return plain(resnet(10, 1, (4, 8)), images(24, 8, 3))


PLAIN = [perceptron, convolutional, residual]


def started(p: Problem, seed: int = 0) -> Tensor:
    """A start with γ and β away from where they begin."""
    assert p.start is not None
    theta = p.start(torch.Generator().manual_seed(seed))
    return theta + 0.05 * torch.randn(p.size, generator=torch.Generator().manual_seed(seed + 100))


def gradient(p: Problem, theta: Tensor, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    theta = theta.clone().requires_grad_()
    loss = p.loss(theta, batch)
    return loss.detach(), torch.autograd.grad(loss, theta)[0]


def torchs(make: object) -> nn.Module:
    if make is perceptron:
        hidden = [[nn.Linear(m, n, bias=False), nn.BatchNorm1d(n), nn.ReLU()] for m, n in [(16, 12), (12, 7)]]
        return nn.Sequential(*hidden[0], *hidden[1], nn.Linear(7, 10))
    convs = [
        [nn.Conv2d(m, n, 5, padding=2, bias=False), nn.BatchNorm2d(n), nn.ReLU(), nn.MaxPool2d(2)]
        for m, n in [(1, 32), (32, 64)]
    ]
    dense = [nn.Flatten(), nn.Linear(256, 1024, bias=False), nn.BatchNorm1d(1024), nn.ReLU(), nn.Linear(1024, 10)]
    return nn.Sequential(*convs[0], *convs[1], *dense)


@pytest.mark.parametrize("make", [perceptron, convolutional])
def test_training_loss_and_gradient_are_torchs(make) -> None:
    p = batch_norm(make()).to("cpu", torch.float64)
    net = torchs(make).double()
    theta = started(p).double()
    for parameter, piece in zip(net.parameters(), p.layout.split(theta).values(), strict=True):
        parameter.data.copy_(piece)
    assert p.size == sum(parameter.numel() for parameter in net.parameters())
    x, y = (t[:20] for t in p.train.tensors)
    loss = nn.functional.cross_entropy(net(x), y)
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
    value, ours = gradient(p, theta, (x, y))
    assert float(value) == pytest.approx(loss.item(), rel=1e-12)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [perceptron, convolutional])
def test_evaluation_is_torchs_with_averages_over_the_same_batches(make) -> None:
    """``momentum=None`` makes torch average μ and the unbiased σ² over all batches that it has seen."""
    p = batch_norm(make()).to("cpu", torch.float64)
    net = torchs(make).double()
    theta = started(p).double()
    for parameter, piece in zip(net.parameters(), p.layout.split(theta).values(), strict=True):
        parameter.data.copy_(piece)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
    for batch in _chunks(p.train):
        net(batch[0])
    x, y = (t[:20] for t in p.train.tensors)
    loss = nn.functional.cross_entropy(net.eval()(x), y)
    assert float(p.measure(theta, (x, y))["loss"]) == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("make", PLAIN)
def test_lanes_have_the_bits_of_the_run_alone(make) -> None:
    p, lanes = batch_norm(make()), 5
    thetas = torch.stack([started(p, seed) for seed in range(lanes)])
    batches = [tuple(t[i : i + 16] for t in p.train.tensors) for i in range(lanes)]
    together = Objective(p, lanes, tuple(torch.stack(t) for t in zip(*batches, strict=True)), taped=False)
    matrix = rows(lanes, p.size, thetas)
    matrix.copy_(thetas)
    values, gradients = together.gradient(matrix)
    measures = evaluate(p, matrix, 16)
    for lane in range(lanes):
        row = rows(1, p.size, thetas)
        row.copy_(thetas[lane : lane + 1])
        alone = Objective(p, 1, tuple(t[None].clone() for t in batches[lane]), taped=False)
        value, g = alone.gradient(row)
        assert torch.equal(value[0], values[lane])
        assert torch.equal(g[0], gradients[lane])
        assert all(torch.equal(m[0], measures[name][lane]) for name, m in evaluate(p, row, 16).items())


@pytest.mark.parametrize("make", PLAIN)
def test_evaluation_does_not_depend_on_the_batch_an_example_is_in(make) -> None:
    p = batch_norm(make()).to("cpu", torch.float64)
    theta = started(p).double()
    x, y = (t[:12] for t in p.train.tensors)
    whole = p.measure(theta, (x, y))["loss"]
    prepared = p.prepared(theta)
    ones = [p.measure(theta, (x[i : i + 1], y[i : i + 1]), prepared)["loss"] for i in range(12)]
    assert float(torch.stack(ones).mean()) == pytest.approx(float(whole), rel=1e-12)
    assert float(p.loss(theta, (x, y))) != pytest.approx(float(whole), rel=1e-6)  # unlike in training


@pytest.mark.parametrize("make", PLAIN)
def test_the_bias_of_a_normalized_layer_is_dropped_and_gamma_and_beta_come(make) -> None:
    before, after = make(), batch_norm(make())
    units = sum(p.shape[0] for p in before.layout if p.name in {f"{layer}.weight" for layer in before.hidden})
    assert after.size == before.size + units  # − bias + γ + β for each unit
    assert before.start is not None and after.start is not None
    old, new = (p.layout.split(p.start(torch.Generator().manual_seed(3))) for p in (before, after))
    for layer in before.hidden:
        assert f"{layer}.bias" not in new
        assert (new[f"{layer}.gamma"] == 1).all() and (new[f"{layer}.beta"] == 0).all()
    assert all(torch.equal(new[name], old[name]) for name in new if name in old)


@pytest.mark.parametrize("count", [1, 7, 999, 1000, 1001, 9999, 10000, 10001, 15000, 60000])
def test_the_population_is_looked_at_in_small_batches_from_all_over(count: int) -> None:
    chunks = [batch[0] for batch in _chunks(Data((torch.arange(count),)))]
    seen = torch.cat(chunks)
    assert len(chunks) <= 10 and all(1 <= len(chunk) <= 1000 for chunk in chunks)
    assert len(seen.unique()) == len(seen)
    assert len(seen) >= min(count, 5000)
    assert int(seen.max()) >= count - max(count // 1000, 20)


def test_scaling_a_normalized_layer_changes_nothing() -> None:
    """What batch normalization is for: the size of a layer's weights no longer matters to those above it."""
    p = batch_norm(perceptron(), delta=1e-12).to("cpu", torch.float64)
    theta = started(p).double()
    pieces = p.layout.split(theta.clone())
    pieces["layer1.weight"] *= 7
    assert float(p.loss(p.layout.join(pieces), p.train.tensors)) == pytest.approx(
        float(p.loss(theta, p.train.tensors)), rel=1e-9
    )


def test_is_named_in_text_everywhere() -> None:
    bound = problem.bind("batch_norm(digits_mlp(hidden=(16, 16)))")
    assert str(problem.short(bound)) == "batch_norm(digits_mlp(hidden=(16, 16)))"
    assert problem.bind(problem.short(bound)) == bound
    p = problem.build(bound)
    assert p.name == "batch_norm(digits_mlp)" and p.size == 64 * 16 + 32 + 16 * 16 + 32 + 16 * 10 + 10
    assert p.target is not None and p.target.origin.startswith("that of digits_mlp: ")
    results = []
    asked = [Run.make(bound, "sgd(lr=0.1)", seed=seed, steps=150, eval_every=150, batch_size=32) for seed in (0, 1)]
    train_group(asked, results.append)
    for result in results:
        assert result.status == "done", result.detail
        assert result.summary["final_train_accuracy"] > 0.95
        assert result.summary["final_test_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rosenbrock", "^batch_norm: rosenbrock has no hidden layers to normalize; take a net that has"),
        ("batch_norm(digits_mlp)", "is normalized already"),
    ],
)
def test_problems_without_layers_to_normalize_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        problem.build(problem.bind(f"batch_norm({text})"))
