"""Plain text as sequences of characters."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from problems.data import download, folders
from problems.data.splits import Splits
from problems.data.tables import resolve
from problems.names import UsageError
from problems.problem import Data

NAME, FILE = "shakespeare", "input.txt"
PLACES = ("tinyshakespeare", "shakespeare")
REMOTE = download.Remote(
    FILE,
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
    "6fb458f1232090904fb40fe944165e91",
)


def where() -> Path | None:
    """The folder that tiny Shakespeare is in; None where it is not on this machine."""
    found = folders.find([FILE], PLACES)
    return None if found is None else found[FILE].parent


def fetch(progress: download.Progress = download.on_stderr) -> Path:
    """Download tiny Shakespeare into the cache; the folder it is in.

    Raises:
        FetchFailed: no network, a wrong checksum, or no right to write.
    """
    folder = folders.cache() / PLACES[0]
    download.fetch([REMOTE], folder, progress)
    return folder


def shakespeare() -> Path:
    """The file of tiny Shakespeare (Karpathy 2015), fetched when it is nowhere.

    Raises:
        DataMissing: not here, and it could not be fetched.
    """
    return folders.present_or_fetched(NAME, [FILE], PLACES, lambda name: fetch())[FILE]


@lru_cache
def sequences(file: str, length: int) -> tuple[Splits, int]:
    """A text cut into sequences of characters x [n, length] and what follows each of them, y [n, length].

    A character is its rank in the sorted alphabet of the whole text. The first 80 % of the
    sequences are for training, then 10 % each for validation and test: a text is not
    shuffled, since neighbours tell of each other.

    Returns:
        The parts and the number of distinct characters.

    Raises:
        DataMissing: there is no such file.
        DataDamaged: it is not UTF-8 text.
        UsageError: fewer than ten sequences.
    """
    import numpy as np
    import torch

    path = resolve(file)
    try:
        text = folders.contents(path).decode()
    except UnicodeDecodeError as error:
        raise folders.damaged(path, f"is not UTF-8 text: {error}") from error
    alphabet, ranks = np.unique(np.array(list(text)), return_inverse=True)
    count = (len(ranks) - 1) // length
    if count < 10:
        raise UsageError(f"{path}: {len(ranks)} characters give {max(count, 0)} sequences of {length}, need 10 or more")
    codes = torch.from_numpy(ranks.astype(np.int64))
    x, y = (codes[shift : shift + count * length].view(count, length) for shift in (0, 1))
    held = count // 10
    parts = zip(x.split([count - 2 * held, held, held]), y.split([count - 2 * held, held, held]), strict=True)
    return Splits(*(Data(part) for part in parts)), len(alphabet)
