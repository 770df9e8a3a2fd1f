"""Plain text as sequences of characters."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.data import download, folders
from problems.data.splits import Splits
from problems.data.tables import resolve
from problems.names import UsageError
from problems.problem import SPLITS, Data

if TYPE_CHECKING:
    from torch import Tensor

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
        UsageError: fewer than one sequence, or than ten.
    """
    path = resolve(file)
    try:
        text = folders.contents(path).decode()
    except UnicodeDecodeError as error:
        raise folders.damaged(path, f"is not UTF-8 text: {error}") from error
    return cut(str(path), {"train": text}, length)


def cut(who: str, texts: dict[str, str], length: int) -> tuple[Splits, int]:
    """The same for the texts of a training, a validation and a test part; a training part alone is cut in three."""
    import numpy as np

    alphabet = np.unique(np.array(list("".join(texts.values()))))
    parts = {part: _sequences(f"{who}, {part}", text, alphabet, length) for part, text in texts.items()}
    x, y = parts["train"]
    if len(parts) == 1:
        if len(x) < 10:
            raise UsageError(
                f"{who}: {len(x)} sequences of {length} characters are too few to be split, need 10 or more"
            )
        sizes = [len(x) - 2 * (len(x) // 10), len(x) // 10, len(x) // 10]
        parts = dict(zip(SPLITS, zip(x.split(sizes), y.split(sizes), strict=True), strict=True))
    return Splits(**{part: Data(pair) for part, pair in parts.items()}), len(alphabet)


def _sequences(who: str, text: str, alphabet: Any, length: int) -> tuple[Tensor, Tensor]:
    """x and y [n, length] of one text."""
    import numpy as np
    import torch

    count = (len(text) - 1) // length
    if count < 1:
        raise UsageError(f"{who}: {len(text)} characters are too few for a sequence of {length} and what follows it")
    codes = torch.from_numpy(np.searchsorted(alphabet, np.array(list(text))).astype(np.int64))
    x, y = (codes[shift : shift + count * length].view(count, length) for shift in (0, 1))
    return x, y
