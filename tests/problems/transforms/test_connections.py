"""Skip connections, auxiliary heads and annealed nonlinearities against nets written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, pad

from problems import Data, Problem, UsageError, problem
from problems.data.splits import Splits
from problems.models import classifier, cnn_2c2d, mlp
from problems.starts import he_normal, start
from problems.transforms.connections import _shortcut, auxiliary_heads, skip_connections
from problems.transforms.continuation import SHARE, annealed
from problems.transforms.normalization import batch_norm
from problems.transforms.regularization import label_smoothing


def net(*sizes: int) -> Problem:
    generator = torch.Generator().manual_seed(5)
    model = mlp(sizes)
    data = Data((torch.randn(30, sizes[0], generator=generator), torch.randint(sizes[-1], (30,), generator=generator)))
    return classifier("net", model, Splits(data), start=start(model.layout, he_normal))


def images() -> Problem:
    generator = torch.Generator().manual_seed(6)
    model = cnn_2c2d(1, 8, 10)
    data = Data((torch.randn(12, 1, 8, 8, generator=generator), torch.randint(10, (12,), generator=generator)))
    return classifier("images", model, Splits(data), start=start(model.layout, he_normal))


def theta_of(p: Problem) -> Tensor:
    assert p.start is not None
    theta = p.start(torch.Generator().manual_seed(1))
    return (theta + 0.1 * torch.randn(p.size, generator=torch.Generator().manual_seed(2))).double()


def doubled(p: Problem) -> tuple[Problem, dict[str, Tensor]]:
    made = p.to("cpu", torch.float64)
    return made, made.layout.split(theta_of(made))


def test_skips_are_those_of_a_net_written_out() -> None:
    p, w = doubled(skip_connections(net(6, 5, 5, 7, 3)))
    x, y = p.train.tensors

    def layer(i: int, x: Tensor) -> Tensor:
        return linear(x, w[f"layer{i}.weight"], w[f"layer{i}.bias"])

    h1 = torch.relu(layer(1, x))
    h2 = h1 + w["layer2.skip"] * torch.relu(layer(2, h1))
    h3 = pad(h2, (0, 2)) + w["layer3.skip"] * torch.relu(layer(3, h2))
    assert float(p.loss_of(w, (x, y))) == pytest.approx(float(cross_entropy(layer(4, h3), y)), rel=1e-12)
    assert p.size == net(6, 5, 5, 7, 3).size + 2
    assert float(p.layout.named("layer2.skip").fill[0]) == pytest.approx(2**-0.5)


def test_skips_of_two_layers() -> None:
    p, w = doubled(skip_connections(net(6, 5, 4, 3, 3), every=2))
    x, y = p.train.tensors
    h1 = torch.relu(linear(x, w["layer1.weight"], w["layer1.bias"]))
    h2 = torch.relu(linear(h1, w["layer2.weight"], w["layer2.bias"]))
    h3 = h1[:, :3] + w["layer3.skip"] * torch.relu(linear(h2, w["layer3.weight"], w["layer3.bias"]))
    outputs = linear(h3, w["layer4.weight"], w["layer4.bias"])
    assert float(p.loss_of(w, (x, y))) == pytest.approx(float(cross_entropy(outputs, y)), rel=1e-12)


@pytest.mark.parametrize(("size", "to"), [(14, 7), (14, 6), (12, 6), (6, 3), (5, 5)])
def test_shortcuts_of_images_take_every_so_many_th_pixel(size: int, to: int) -> None:
    x = torch.randn(2, 3, size, size)
    y = _shortcut(x, torch.zeros(2, 5, to, to))
    every = size // to
    assert y.shape == (2, 5, to, to) and bool((y[:, 3:] == 0).all())
    assert torch.equal(y[:, :3], x[:, :, ::every, ::every][:, :, :to, :to])


def test_the_signal_of_a_deep_net_reaches_its_end_by_the_skips() -> None:
    """With weights that shrink it by half at each layer, 40 layers leave nothing of the input without them."""
    deep = net(6, *[8] * 40, 3)
    inputs = torch.stack([torch.ones(6), -torch.ones(6)]).double()

    def spread(p: Problem) -> float:
        p, w = doubled(p)
        small = {
            name: 0.25 * t if name.endswith("weight") else 0 * t if name.endswith("bias") else t
            for name, t in w.items()
        }
        outputs = p.predict(small, (inputs, torch.zeros(2)))
        return float((outputs[0] - outputs[1]).norm())

    assert spread(deep) < 1e-12 < 1e-3 < spread(skip_connections(deep))


def test_heads_teach_all_layers_but_the_last_in_training_and_are_not_evaluated() -> None:
    p, w = doubled(auxiliary_heads(net(6, 5, 4, 4, 3), weight=0.3))
    x, y = p.train.tensors
    h1 = torch.relu(linear(x, w["layer1.weight"], w["layer1.bias"]))
    h2 = torch.relu(linear(h1, w["layer2.weight"], w["layer2.bias"]))
    h3 = torch.relu(linear(h2, w["layer3.weight"], w["layer3.bias"]))
    final = cross_entropy(linear(h3, w["layer4.weight"], w["layer4.bias"]), y)
    heads = [
        cross_entropy(linear(h, w[f"{name}.head.weight"], w[f"{name}.head.bias"]), y)
        for name, h in (("layer1", h1), ("layer2", h2))
    ]
    assert float(p.loss_of(w, (x, y))) == pytest.approx(float(final + 0.3 * (heads[0] + heads[1])), rel=1e-12)
    assert float(p.measure(p.layout.join(w), (x, y))["loss"]) == pytest.approx(float(final), rel=1e-12)
    margin = float(max(heads)) + 1e-6
    left, _ = doubled(auxiliary_heads(net(6, 5, 4, 4, 3), margin=margin))
    assert float(left.loss_of(w, (x, y))) == pytest.approx(float(final), rel=1e-12)


def test_heads_of_images_see_the_mean_of_each_channel() -> None:
    p, w = doubled(auxiliary_heads(images()))
    assert w["conv1.head.weight"].shape == (10, 32) and w["conv2.head.weight"].shape == (10, 64)
    assert p.outputs_of(w, p.train.tensors).shape == (3, 12, 10)


def test_annealing_goes_from_a_linear_net_to_the_net_itself() -> None:
    p, w = doubled(annealed(net(6, 5, 4, 3), steps=100, stages=4))
    x, y = p.train.tensors
    plain = net(6, 5, 4, 3).to("cpu", torch.float64)

    def at(share: float) -> Tensor:
        return p.loss_of(w, (x, y, torch.tensor(share, dtype=torch.float64)))

    h = x
    for i in (1, 2, 3):
        h = linear(h, w[f"layer{i}.weight"], w[f"layer{i}.bias"])
    assert float(at(1.0)) == pytest.approx(float(cross_entropy(h, y)), rel=1e-12)
    assert float(at(0.0)) == float(plain.loss_of(w, (x, y))) == float(p.loss_of(w, (x, y)))
    h = x
    for i in (1, 2):
        h = torch.nn.functional.leaky_relu(linear(h, w[f"layer{i}.weight"], w[f"layer{i}.bias"]), 0.25)
    h = linear(h, w["layer3.weight"], w["layer3.bias"])
    assert float(at(0.25)) == pytest.approx(float(cross_entropy(h, y)), rel=1e-12)
    assert p.course is not None
    shares = [float(p.course.pieces[SHARE](k, torch.Generator)) for k in (0, 25, 50, 75, 100)]
    assert shares == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_transforms_on_transforms_evaluate_what_was_there_first() -> None:
    """batch_norm(label_smoothing(...)) is label_smoothing(batch_norm(...)), in training and in evaluation."""
    a, w = doubled(batch_norm(label_smoothing(net(6, 5, 4, 3), 0.2)))
    b, _ = doubled(label_smoothing(batch_norm(net(6, 5, 4, 3)), 0.2))
    plain, _ = doubled(batch_norm(net(6, 5, 4, 3)))
    theta, batch = a.layout.join(w), a.train.tensors
    assert float(a.loss(theta, batch)) == pytest.approx(float(b.loss(theta, batch)), rel=1e-12)
    for p in (a, b):
        assert float(p.measure(theta, batch)["loss"]) == pytest.approx(
            float(plain.measure(theta, batch)["loss"]), rel=1e-12
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "skip_connections(rosenbrock)",
            "^skip_connections: rosenbrock has no hidden layers to connect; take a net that has",
        ),
        ("skip_connections(digits_mlp)", "has 1 hidden layer; connections 1 apart take 2 or more"),
        ("skip_connections(skip_connections(digits_deep_mlp))", "has skip connections already"),
        (
            "auxiliary_heads(digits_mlp)",
            "^auxiliary_heads: digits_mlp has no hidden layers that everything",
        ),
        ("auxiliary_heads(auxiliary_heads(digits_deep_mlp))", "has heads already"),
        ("annealed(linear_net)", "^annealed: linear_net has no hidden units with a nonlinearity"),
        ("annealed(annealed(digits_mlp))", "is annealed already"),
        ("batch_norm(continuation(digits_mlp))", r"write continuation\(batch_norm\(...\)\)"),
        ("auxiliary_heads(continuation(digits_mlp))", r"write continuation\(auxiliary_heads\(...\)\)"),
    ],
)
def test_refusals_say_why(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        problem.build(problem.bind(text))
