"""Convolutional nets against the same nets in torch.nn, on images made here."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from problems import Problem, UsageError, layers, problem
from problems.data import cifar, folders, splits
from problems.data.catalog import source
from problems.models import Model, cnn_3c3d, resnet
from problems.problem import Data
from problems.starts import glorot_normal, he_normal, start


def write_cifar(folder: Path, count: int = 6, **changes: object) -> Path:
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    for file in cifar.SETS["cifar10"].files:
        batch = {
            "data": random.randint(0, 256, (count, 3072)).astype(np.uint8),
            "labels": [i % 10 for i in range(count)],
        }
        (folder / file).write_bytes(pickle.dumps(batch | changes))
    return folder


@pytest.fixture(autouse=True)
def made_here(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cifar.standardized.cache_clear()
    yield
    cifar.standardized.cache_clear()


def make(text: str) -> Problem:
    return problem.build(problem.bind(text))


def loaded(module: nn.Module, pieces: dict[str, Tensor]) -> nn.Module:
    module.load_state_dict(dict(zip(module.state_dict(), pieces.values(), strict=True)))
    return module


def drawn(model: Model) -> dict[str, Tensor]:
    return model.layout.split(start(model.layout, he_normal)(torch.Generator().manual_seed(0)))


def test_3c3d_is_deepobs(tmp_path) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py")
    pool = [nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    net = nn.Sequential(
        *(nn.Conv2d(3, 64, 5), *pool, nn.Conv2d(64, 96, 3), *pool, nn.Conv2d(96, 128, 3, padding=1), *pool),
        *(nn.Flatten(), nn.Linear(1152, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)),
    )
    p = make("cifar10_3c3d")
    assert p.start is not None
    assert p.size == sum(t.numel() for t in net.parameters()) == 895210
    theta = p.start(torch.Generator().manual_seed(0))
    pieces = p.layout.split(theta)
    x, y = p.train.tensors
    logits = loaded(net, pieces)(x)
    assert torch.allclose(p.predict(pieces, (x, y)), logits, atol=1e-4)
    squares = sum(float(t.square().sum()) for name, t in pieces.items() if name.endswith("weight"))
    expected = float(nn.functional.cross_entropy(logits.detach(), y)) + 0.002 * 0.5 * squares
    assert float(p.loss(theta, (x, y))) == pytest.approx(expected, rel=1e-5)
    assert float(make("cifar10_3c3d(decay=0)").loss(theta, (x, y))) == pytest.approx(
        expected - 0.001 * squares, rel=1e-4
    )


def test_3c3d_starts_as_glorot_says() -> None:
    model = cnn_3c3d(10)
    weight = torch.empty(128, 96, 3, 3)
    glorot_normal(weight, model.layout.named("conv3.weight"), torch.Generator().manual_seed(1))
    std = (2 / (9 * 96 + 9 * 128)) ** 0.5
    assert float(weight.std()) == pytest.approx(std, rel=0.01)
    assert float(weight.abs().max()) <= 2 * std / 0.8796 + 1e-6


@pytest.mark.parametrize("text", ["cifar10_resnet", "cifar10_3c3d(valid=10)", "cifar10_mlp(valid=10)"])
def test_pixels_are_standardized_by_the_images_that_are_trained_on(tmp_path, text) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py")
    p = make(text)
    x = p.train.tensors[0].view(-1, 3, 32, 32).double()
    assert len(x) == 30 - (len(p.valid) if p.valid else 0)
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3, dtype=x.dtype), atol=1e-6)
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3, dtype=x.dtype), atol=1e-6)


class Block(nn.Module):
    """A residual pair as He et al. draw it, with option A's shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.stride, self.more = (2 if width != inputs else 1), width - inputs
        self.conv1 = nn.Conv2d(inputs, width, 3, self.stride, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(torch.relu(self.conv1(torch.relu(x))))
        short = x[:, :, :: self.stride, :: self.stride]
        empty = short.new_zeros(len(short), self.more, *short.shape[2:])
        return torch.cat([short, empty], 1) + self.scale * h


def test_resnet_is_the_one_of_torch_modules() -> None:
    model = resnet(10, blocks=2, widths=(4, 8))
    blocks = [Block(4, 4), Block(4, 4), Block(4, 8), Block(8, 8)]
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *blocks)
    net = nn.Sequential(body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    pieces = drawn(model)
    by_name = dict(pieces)
    order = ["stem.weight", "stem.bias"]
    for block in ("stage1.block1", "stage1.block2", "stage2.block1", "stage2.block2"):
        order += [f"{block}.{part}" for part in ("scale", "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")]
    order += ["layer1.weight", "layer1.bias"]
    loaded(net, {name: by_name[name] for name in order})
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(model.apply(pieces, x), net(x), atol=1e-5)


def test_resnet_without_skips_has_no_scales() -> None:
    names = [piece.name for piece in resnet(10, 1, skip=False).layout]
    assert not [name for name in names if "scale" in name]
    assert make_lanes_agree(resnet(10, 1, (4, 8), skip=False))


def make_lanes_agree(model: Model) -> bool:
    x = torch.randn(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pieces = {name: torch.stack([t, 2 * t, 0.5 * t]) for name, t in drawn(model).items()}
    together = torch.vmap(model.apply)(pieces, x)
    return all(torch.equal(together[i], model.apply({k: t[i] for k, t in pieces.items()}, x[i])) for i in range(3))


@pytest.mark.parametrize(("stride", "padding", "side"), [(1, 0, 3), (2, 1, 3), (1, 2, 5), (2, 0, 1)])
def test_own_convolution_is_torchs_with_both_derivatives(stride: int, padding: int, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 2, 6, 6), (3, 2, side, side), (3,)]
    args = [torch.randn(*s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]

    def convolve(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return layers.conv2d(x, w, b, stride=stride, padding=padding)

    assert torch.allclose(convolve(*args), nn.functional.conv2d(*args, stride, padding), atol=1e-12)
    assert torch.autograd.gradcheck(convolve, args)
    assert torch.autograd.gradgradcheck(convolve, args)


# the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["cifar-10-batches-py", "cifar10/cifar-10-batches-py", "cifar-10/cifar-10-batches-py"]
)
def test_batches_are_joined_in_order(place, tmp_path) -> None:
    folder = write_cifar(tmp_path / place)
    data = cifar.load("cifar10")
    x, y = data.train.tensors
    assert x.shape == (30, 3, 32, 32)
    assert y.tolist() == [*range(6)] * 5
    third = pickle.loads((folder / "data_batch_3").read_bytes())["data"]
    assert torch.equal((x[12:18] * 255).round().byte().flatten(1), torch.from_numpy(third))
    assert source("cifar10").where() == folder


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"labels": [0, 1, 2, 3, 4, 10]}, "labels must be in 0 … 9, found 10"),
        ({"labels": [0, 1]}, "n labels"),
        ({"data": np.zeros((6, 100), np.uint8)}, r"needs images \[n, 3072\]"),
        ({"data": Path("a path is not data")}, "which image data do not need"),
        ({"data": np.zeros((6, 3072))}, "needs images in bytes"),
        ({"data": [[0] * 3072] * 6}, "needs images in bytes"),
        ({"labels": [0.5] * 6}, "labels that are whole numbers"),
        ({"labels": ["cat"] * 6}, "is not a batch of CIFAR10"),
    ],
)
def test_wrong_batches_are_named(changes, wrong, tmp_path) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py", **changes)
    with pytest.raises(folders.DataDamaged, match=wrong):
        cifar.load("cifar10")


def test_truncated_batch(tmp_path) -> None:
    folder = write_cifar(tmp_path / "cifar-10-batches-py")
    (folder / "data_batch_2").write_bytes((folder / "data_batch_2").read_bytes()[:500])
    with pytest.raises(folders.DataDamaged, match="data_batch_2: is not a batch of CIFAR10"):
        cifar.load("cifar10")


def test_held_out_needs_something_left() -> None:
    data = splits.Splits(Data((torch.zeros(5, 1),)))
    with pytest.raises(UsageError, match="me: valid must be below the 5 training examples, got 5"):
        splits.held_out(data, 5, "me")
