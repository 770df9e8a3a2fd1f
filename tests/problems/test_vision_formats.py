"""Small files in the formats of torchvision's sets: its classes, the suite's readers and ``datasets`` agree on them."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from problems import UsageError, problem
from problems.data import cifar, folders, hugging_face, mnist_family, vision

COUNTS = {"train": 24, "test": 10}
IDX = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist", "KMNIST": "kmnist"}


def drawn(part: str, *shape: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(len(part))
    pixels = random.randint(0, 256, (COUNTS[part], *shape)).astype(np.uint8)
    return pixels, np.arange(COUNTS[part]) % classes


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for cached in (vision.load, mnist_family.load, cifar.standardized, hugging_face.load):
        cached.cache_clear()
    try:
        vision.datasets()
    except ValueError as error:
        pytest.skip(str(error))


def write_idx(folder: Path, images: str, labels: str, pixels: np.ndarray, classes: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / images).write_bytes(struct.pack(">4i", 2051, *pixels.shape) + pixels.tobytes())
    (folder / labels).write_bytes(struct.pack(">2i", 2049, len(classes)) + classes.astype(np.uint8).tobytes())


def as_tensors(pixels: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Channels first, in [0, 1]."""
    x = torch.from_numpy(pixels)
    return (x.unsqueeze(1) if x.dim() == 3 else x).float() / 255, torch.from_numpy(labels).long()


def need_equal(found, part: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    for mine, theirs in zip(getattr(found, part).tensors, as_tensors(pixels, labels), strict=True):
        assert mine.dtype == theirs.dtype and torch.equal(mine, theirs)


def write_parquet(folder: Path, column: str, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """PNG images and class labels in parquet, as the hub keeps its copies; channels last."""
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    datasets.disable_progress_bars()
    features = datasets.Features({column: datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    for part, (pixels, labels) in parts.items():
        rows = {column: [Image.fromarray(p) for p in pixels], "label": labels.tolist()}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            folder / "hub" / f"{part}-00000-of-00001.parquet"
        )
    return str(folder / "hub")


@pytest.mark.parametrize("name", IDX)
def test_sets_in_idx_files(name, tmp_path) -> None:
    parts = {part: drawn(part, 28, 28) for part in COUNTS}
    for part, (pixels, labels) in parts.items():
        prefix = {"train": "train", "test": "t10k"}[part]
        where = tmp_path / name / "raw"
        write_idx(where, f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte", pixels, labels)
    hub = write_parquet(tmp_path, "image", parts)
    for found in (vision.load(name), mnist_family.load(IDX[name]), hugging_face.load(hub, "image", "label")):
        for part, (pixels, labels) in parts.items():
            need_equal(found, part, pixels, labels)
    assert problem.build(problem.bind(f"vision_mlp(dataset={name}, hidden=(4,))")).size == 784 * 4 + 4 + 40 + 10


@pytest.mark.parametrize("name", IDX)
def test_compressed_idx_files_are_enough(name, tmp_path) -> None:
    for part in COUNTS:
        prefix = {"train": "train", "test": "t10k"}[part]
        files = (f"{prefix}-{what}-ubyte" for what in ("images-idx3", "labels-idx1"))
        write_idx(tmp_path / name / "raw", *files, *drawn(part, 28, 28))
    for file in (tmp_path / name / "raw").iterdir():
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    made = problem.build(problem.bind(f"vision_2c2d(dataset={name})"))
    assert torch.equal(made.train.tensors[0], as_tensors(*drawn("train", 28, 28))[0])


@pytest.mark.parametrize(("variant", "classes"), [("balanced", 47), ("letters", 26), ("digits", 10)])
def test_emnist_in_its_variants(variant, classes, tmp_path) -> None:
    for part in COUNTS:
        pixels, labels = drawn(part, 28, 28, classes=classes)
        files = (f"emnist-{variant}-{part}-{what}-ubyte" for what in ("images-idx3", "labels-idx1"))
        write_idx(tmp_path / "EMNIST" / "raw", *files, pixels, labels + (variant == "letters"))
    data = vision.load("EMNIST", variant)
    for part in COUNTS:
        pixels, labels = drawn(part, 28, 28, classes=classes)
        need_equal(data, part, pixels, labels + (variant == "letters"))
    made = problem.build(problem.bind(f"vision_mlp(dataset=EMNIST, variant={variant}, hidden=())"))
    assert made.layout.named("layer1.bias").shape[0] == int(data.train.tensors[1].max()) + 1


def test_emnist_is_asked_for_by_variant(tmp_path) -> None:
    (tmp_path / "EMNIST" / "raw").mkdir(parents=True)
    with pytest.raises(
        UsageError, match="EMNIST: has several kinds; say which as variant, one of byclass, bymerge, ba"
    ):
        vision.load("EMNIST")
    with pytest.raises(UsageError, match="EMNIST: Unknown value 'lettres'"):
        vision.load("EMNIST", "lettres")


def test_svhn_in_matlab_files(tmp_path, monkeypatch) -> None:
    from scipy.io import savemat

    parts = {part: drawn(part, 3, 32, 32) for part in COUNTS}
    listed = {}
    for part, (pixels, labels) in parts.items():
        file = tmp_path / f"{part}_32x32.mat"
        stored = np.where(labels == 0, 10, labels)[:, None]  # the files say 10 for the digit 0
        savemat(file, {"X": pixels.transpose(2, 3, 1, 0), "y": stored})
        listed[part] = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(vision.datasets().SVHN, "split_list", listed)
    data = vision.load("SVHN")
    for part, (pixels, labels) in parts.items():
        need_equal(data, part, pixels, labels)
    made = problem.build(problem.bind("vision_2c2d(dataset=SVHN, valid=4)"))
    assert made.layout.named("conv1.weight").shape == (32, 3, 5, 5) and len(made.train) == 20


@pytest.mark.parametrize(("name", "theirs"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_sets_in_pickles(name, theirs, tmp_path, monkeypatch) -> None:
    known = cifar.SETS[name]
    folder = tmp_path / known.folder
    folder.mkdir()
    parts = {part: drawn(part, 3, 32, 32, classes=10) for part in COUNTS}
    sums = {}
    for file in known.files:
        pixels, labels = parts["test" if file == known.test else "train"]
        batch = {"data": pixels.reshape(len(pixels), -1), known.labels: labels.tolist()}
        if name == "cifar100":
            batch["coarse_labels"] = [0] * len(labels)
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
        sums[file] = hashlib.md5((folder / file).read_bytes()).hexdigest()
    published = getattr(vision.datasets(), theirs)
    meta = published.meta["filename"]
    (folder / meta).write_bytes(pickle.dumps({published.meta["key"]: [str(i) for i in range(10)]}))
    monkeypatch.setattr(published, "train_list", [[file, sums[file]] for file in known.train])
    monkeypatch.setattr(published, "test_list", [[known.test, sums[known.test]]])
    monkeypatch.setitem(published.meta, "md5", hashlib.md5((folder / meta).read_bytes()).hexdigest())
    pixels, labels = parts["train"]
    repeated = (np.concatenate([pixels] * len(known.train)), np.concatenate([labels] * len(known.train)))
    written = {"train": repeated, "test": parts["test"]}
    last = {part: (pixels.transpose(0, 2, 3, 1), labels) for part, (pixels, labels) in written.items()}
    hub = write_parquet(tmp_path, "img", last)
    for found in (vision.load(theirs), cifar.load(name), hugging_face.load(hub, "img", "label")):
        need_equal(found, "train", *repeated)
        need_equal(found, "test", *parts["test"])


def test_files_that_torchvision_refuses_are_said_to_be_missing(tmp_path, monkeypatch) -> None:
    (tmp_path / "train_32x32.mat").write_bytes(b"not what was published")
    monkeypatch.setattr(vision, "_roots", lambda name, downloads: iter([(tmp_path, False)]))
    with pytest.raises(folders.DataMissing, match=r"SVHN: data not found; .*not found or corrupted.*Set SUITE_DATA"):
        vision.load("SVHN")
