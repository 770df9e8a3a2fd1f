"""CIFAR-10 and CIFAR-100: pickled batches, read without letting them run code."""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.data import download, folders, vision
from problems.data.splits import Splits
from problems.problem import Data

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Set:
    folder: str  # in the archive and below a data folder
    train: tuple[str, ...]
    test: str
    labels: str
    classes: int
    theirs: str  # torchvision's class

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test)


SETS = {
    "cifar10": _Set(
        "cifar-10-batches-py", tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "labels", 10, "CIFAR10"
    ),
    "cifar100": _Set("cifar-100-python", ("train",), "test", "fine_labels", 100, "CIFAR100"),
}
_ALLOWED = {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _Unpickler(pickle.Unpickler):
    """Makes arrays and plain values only: a pickle can otherwise run anything."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.rpartition(".")[2], name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which image data do not need")
        return super().find_class(module, name)


def places(name: str) -> tuple[str, ...]:
    """The folders below a data folder in which the files may lie; the first is where downloads go."""
    folder = SETS[name].folder
    return (folder, f"{name}/{folder}", f"{name.replace('cifar', 'cifar-')}/{folder}")


def where(name: str) -> Path | None:
    """The folder that has all batches, compressed or not; None where none has."""
    found = folders.find(SETS[name].files, places(name))
    return None if found is None else found[SETS[name].test].parent


def fetch(name: str, progress: download.Progress = download.on_stderr) -> Path:
    """Download and unpack the batches into the cache; the folder they are in.

    Raises:
        FetchFailed: no network, a wrong checksum, or no right to write.
    """
    published = getattr(vision.datasets(), SETS[name].theirs)
    archive = download.Remote(published.filename, (published.url,), published.tgz_md5)
    target = folders.cache() / SETS[name].folder
    download.fetch([archive], folders.cache(), progress)
    with download.locked(folders.cache()):
        if not target.is_dir():
            part = folders.cache() / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            with tarfile.open(folders.cache() / archive.name) as packed:
                packed.extractall(part, filter="data")
            (part / SETS[name].folder).replace(target)
            shutil.rmtree(part)
            (folders.cache() / archive.name).unlink()
    return target


@lru_cache
def standardized(name: str, valid: int = 0) -> Splits:
    """:func:`load` with each colour less its mean, over its standard deviation, both of the training images.

    Args:
        valid: of the last so many training images nothing is taken: they will be a validation split.
    """
    import torch

    train, test = _read(name)
    levels = torch.arange(256, dtype=torch.float64)
    counts, left = torch.zeros(3, 256, dtype=torch.float64), sum(len(labels) for _, labels in train) - valid
    for pixels, _ in train:
        if left > 0:
            counts += _histogram(pixels[:left])
        left -= len(pixels)
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ levels
    std = (share @ levels.square() - mean.square()).sqrt()
    offset, scale = (t.float()[:, None, None] for t in (mean, std))

    def standardize(x: Tensor) -> Tensor:
        return x.sub_(offset).div_(scale)

    return Splits(_joined(train, standardize), test=_joined(test, standardize))


def load(name: str) -> Splits:
    """50000 training and 10000 test images x [n, 3, 32, 32] in [0, 1], labels [n].

    Fetched when it is nowhere; no network is used when the files are there.

    Raises:
        DataMissing: not here, and it could not be fetched.
        DataDamaged: a file is not what it should be.
    """
    train, test = (_joined(part, lambda x: x.div_(255)) for part in _read(name))
    return Splits(train, test=test)


def _read(name: str) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """The batches of the training and of the test part."""
    known = SETS[name]
    found = folders.present_or_fetched(name, known.files, places(name), fetch)
    return [_batch(found[file], known) for file in known.train], [_batch(found[known.test], known)]


def _histogram(pixels: Tensor) -> Tensor:
    """How often each colour has each of its 256 levels, [3, 256]."""
    import torch

    return torch.stack(
        [torch.bincount(colour.flatten(), minlength=256) for colour in pixels.view(-1, 3, 1024).unbind(1)]
    )


def _joined(parts: list[tuple[Tensor, Tensor]], change: Callable[[Tensor], Tensor]) -> Data:
    """The images of several batches as floats, changed in place, in one tensor that is allocated once."""
    import torch

    images = torch.empty(sum(len(labels) for _, labels in parts), 3, 32, 32)
    for part, (pixels, _) in zip(images.split([len(labels) for _, labels in parts]), parts, strict=True):
        change(part.copy_(pixels.view(-1, 3, 32, 32)))
    return Data((images, torch.cat([labels for _, labels in parts])))


def _batch(path: Path, known: _Set) -> tuple[Tensor, Tensor]:
    """Pixels [n, 3072] as bytes, and labels [n]."""
    import numpy as np
    import torch

    raw = folders.contents(path)
    try:
        entries = _Unpickler(io.BytesIO(raw), encoding="latin1").load()
        pixels, labels = entries["data"], torch.tensor(entries[known.labels])
    except Exception as error:  # unpickling arbitrary bytes can fail in any way
        raise folders.damaged(path, f"is not a batch of {known.theirs} ({type(error).__name__}: {error})") from error
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or labels.dtype != torch.int64:
        raise folders.damaged(path, "needs images in bytes and labels that are whole numbers")
    if pixels.ndim != 2 or pixels.shape[1] != 3072 or len(pixels) != len(labels) or not len(labels):
        raise folders.damaged(path, f"needs images [n, 3072] and n labels, has {pixels.shape} and {len(labels)}")
    if not 0 <= int(labels.min()) <= int(labels.max()) < known.classes:
        raise folders.damaged(path, f"labels must be in 0 … {known.classes - 1}, found {int(labels.max())}")
    return torch.from_numpy(pixels), labels
