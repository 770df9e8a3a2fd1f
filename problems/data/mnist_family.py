"""MNIST and the sets published in its format, through torchvision's addresses and checksums."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from problems.data import download, folders, idx, vision
from problems.data.splits import Splits
from problems.problem import Data

FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}  # our name -> torchvision's class


def places(name: str) -> tuple[str, ...]:
    """The folders below a data folder in which the files may lie; the first is where downloads go."""
    theirs = NAMES[name]
    return (f"{theirs}/raw", f"{name}/{theirs}/raw", f"{name}/raw", name)


def where(name: str) -> Path | None:
    """The folder that has all four files, compressed or not; None where none has."""
    found = folders.find(FILES, places(name))
    return None if found is None else found[FILES[0]].parent


def fetch(name: str, progress: download.Progress = download.on_stderr) -> Path:
    """Download the four files into the cache, unless they are there; the folder they are in.

    Raises:
        FetchFailed: no network, a wrong checksum, or no right to write.
    """
    published = getattr(vision.datasets(), NAMES[name])
    remotes = [
        download.Remote(file, tuple(mirror + file for mirror in published.mirrors), md5)
        for file, md5 in published.resources
    ]
    folder = folders.cache() / places(name)[0]
    download.fetch(remotes, folder, progress)
    return folder


@lru_cache
def load(name: str) -> Splits:
    """A set of 60000 training and 10000 test images, x [n, 1, 28, 28] in [0, 1], labels [n].

    Fetched when it is nowhere; no network is used when the files are there.

    Raises:
        DataMissing: not here, and it could not be fetched.
        DataDamaged: a file is not what it should be.
    """
    found = folders.present_or_fetched(name, FILES, places(name), fetch)
    images, labels, test_images, test_labels = (found[file] for file in FILES)
    return Splits(
        Data(idx.read_pair(images, labels, classes=10)), test=Data(idx.read_pair(test_images, test_labels, classes=10))
    )
