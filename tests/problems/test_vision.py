"""Any torchvision set by name, on classes made here and on the real ones where they are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from problems import UsageError, problem
from problems.data import cifar, folders, mnist_family, vision

PLACES = {"MNIST": mnist_family.where("mnist"), "CIFAR10": cifar.where("cifar10")}
REAL = {name: found for name, found in PLACES.items() if found is not None}


class Trained:
    """A set with a ``train`` flag and colour images, found below one folder only."""

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        if not (root.endswith("right") or download):
            raise RuntimeError("Dataset not found.\nYou can use download=True to download it")
        self.where, self.count = root, 12 if train else 8

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return np.full((8, 8, 3), i, np.uint8), i % 2


class Split(Trained):
    """The same with a ``split``, not to be downloaded."""

    def __init__(self, root: str, split: str = "train") -> None:
        super().__init__(root, split == "train")


class Ragged(Trained):
    """Images of several sizes."""

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return np.zeros((8 + i, 8), np.uint8), 0


@pytest.fixture(autouse=True)
def made_here(tmp_path, monkeypatch):
    kinds = {"Trained": Trained, "Split": Split, "Ragged": Ragged, "Other": lambda root: None}
    module = SimpleNamespace(__all__=list(kinds), **kinds)
    monkeypatch.setattr(vision, "datasets", lambda: module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "right").mkdir()
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "right"))
    vision.load.cache_clear()
    yield
    vision.load.cache_clear()


@pytest.mark.parametrize("name", ["Trained", "Split"])
def test_both_kinds_of_classes_become_tensors(name: str) -> None:
    data = vision.load(name)
    assert data.test is not None
    x, y = data.train.tensors
    assert x.shape == (12, 3, 8, 8)
    assert len(data.test) == 8
    assert torch.equal((x[:, 0, 0, 0] * 255).round(), torch.arange(12.0))
    assert y.tolist() == [0, 1] * 6


def test_downloads_into_the_cache_when_it_is_nowhere(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    assert len(vision.load("Trained").train) == 12
    with pytest.raises(folders.DataMissing, match=r"Split: data not found; .*Dataset not found.*Set SUITE_DATA"):
        vision.load("Split")


def test_problems_take_the_sizes_of_the_images() -> None:
    assert problem.build(problem.bind("vision_mlp(dataset=Trained, hidden=(4,))")).size == 192 * 4 + 4 + 4 * 2 + 2
    p = problem.build(problem.bind("vision_2c2d(dataset=Trained, valid=2)"))
    assert p.layout.named("conv1.weight").shape == (32, 3, 5, 5)
    assert p.layout.named("layer1.weight").shape == (1024, 64 * 4)
    assert p.valid is not None
    assert len(p.valid) == 2


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="no set 'Trainde'; did you mean Trained"):
        vision.load("Trainde")
    with pytest.raises(UsageError, match="Other has no training and test part"):
        vision.load("Other")
    with pytest.raises(UsageError, match="Ragged: needs images of one size"):
        vision.load("Ragged")


@pytest.mark.parametrize(("name", "ours"), [("MNIST", mnist_family.load), ("CIFAR10", cifar.load)])
def test_torchvision_reads_the_same_test_images(name: str, ours, monkeypatch) -> None:
    """The suite's own readers against torchvision's."""
    if name not in REAL:
        pytest.skip(f"{name} is not on this machine")
    monkeypatch.undo()
    real = getattr(vision.datasets(), name)
    root = REAL[name].parents[1] if name == "MNIST" else REAL[name].parent
    try:
        theirs = real(str(root), train=False)
    except RuntimeError:
        pytest.skip(f"{name} is here in a form that torchvision does not read")
    x, y = ours(name.lower()).test.tensors
    pixels = torch.as_tensor(theirs.data)
    pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    assert torch.equal(x, pixels / 255)
    assert torch.equal(y, torch.as_tensor(theirs.targets))
