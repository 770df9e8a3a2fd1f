"""Tables in files of the user's: CSV, LIBSVM and NPZ, as inputs [n, features] and targets [n]."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.data.folders import DataMissing, contents, damaged, roots
from problems.data.splits import Splits, shuffled
from problems.names import UsageError

if TYPE_CHECKING:
    from numpy import ndarray

Table = tuple["ndarray[Any, Any]", "ndarray[Any, Any]"]  # inputs [n, features], targets [n]


def resolve(file: str) -> Path:
    """The path of a file that the user names: as given, or below ``SUITE_DATA``; compressed ones with their suffix.

    Raises:
        DataMissing: there is no such file; the message lists where it was looked for.
    """
    candidates = _candidates(file)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
        if candidate.is_dir():
            raise DataMissing(f"{file}: is a folder, and a file is needed; hub_mlp reads folders of images")
    raise DataMissing(f"{file}: no such file; looked for {', '.join(map(str, candidates))}")


def is_file(file: str) -> bool:
    """Whether :func:`resolve` finds one."""
    return any(candidate.is_file() for candidate in _candidates(file))


def _candidates(file: str) -> list[Path]:
    given = Path(file).expanduser()
    return [given, *(root / given for root in roots())]


def read(file: str, target: str = "", *, words: bool = False) -> Table:
    """Inputs and targets of a table.

    * ``.csv``: a header line, numbers; the target is the named column, by default the last. With
      ``words`` it may also hold words, which become 0, 1, … in alphabetical order.
    * ``.npz``: arrays ``x`` [n, ...] and ``y`` [n] or [n, 1].
    * ``.libsvm``, ``.svm``, or any other name: lines ``target index:value …``, indices from 1.

    Each may end in ``.gz`` or ``.xz``.

    Raises:
        DataMissing: there is no such file.
        DataDamaged: something in it is not a number, is missing, or is not finite.
    """
    path = resolve(file)
    kind = Path(path.stem if path.suffix in (".gz", ".xz") else path.name).suffix
    readers: dict[str, Callable[[Path, str], Table]] = {".csv": partial(_csv, words=words), ".npz": _npz}
    x, y = readers.get(kind, _libsvm)(path, target)
    need_finite(path, x, y)
    return x, y


def need_finite(path: Path, x: Any, y: Any) -> None:
    """Refuse a table without rows, or with values that are missing or infinite.

    Raises:
        DataDamaged: says how many rows have one and which is the first.
    """
    import numpy as np

    if not len(x):
        raise damaged(path, "has no rows")
    bad = ~(np.isfinite(x).all(axis=1) & np.isfinite(y))
    if bad.any():
        first = int(bad.argmax()) + 1
        count = int(bad.sum())
        rows = "1 row has" if count == 1 else f"{count} rows have"
        raise damaged(path, f"{rows} a missing or infinite value, the first is row {first}")


def _text(path: Path) -> str:
    try:
        return contents(path).decode()
    except UnicodeDecodeError as error:
        raise damaged(path, f"is not text: {error}") from error


def _csv(path: Path, target: str, words: bool) -> Table:
    import numpy as np

    try:
        lines = list(csv.reader(io.StringIO(_text(path), newline="")))
    except csv.Error as error:
        raise damaged(path, f"is not a table: {error}") from error
    if len(lines) < 2:
        raise damaged(path, "needs a header line and at least one row")
    if all(_is_number(name) for name in lines[0]):
        raise damaged(path, f"needs a header line with the columns' names, begins with {','.join(lines[0])[:60]}")
    header, rows = lines[0], [line for line in lines[1:] if line]
    if target and target not in header:
        raise UsageError(f"{path}: no column {target!r}; there are {', '.join(header)}")
    at = header.index(target) if target else len(header) - 1
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise damaged(path, f"row {i + 1} has {len(row)} fields, the header {len(header)}")
    if words and any(row[at].strip() and not _is_number(row[at]) for row in rows):
        rank = {word: str(i) for i, word in enumerate(sorted({row[at] for row in rows if row[at].strip()}))}
        rows = [[*row[:at], rank.get(row[at], ""), *row[at + 1 :]] for row in rows]
    values = np.empty((len(rows), len(header)))
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            values[i, j] = number(path, entry, f"row {i + 1}, column {header[j]!r}")
    return np.delete(values, at, axis=1), values[:, at]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number(path: Path, text: str, where: str) -> float:
    """An empty field reads as NaN, which is refused later together with the others."""
    try:
        return float(text) if text.strip() else float("nan")
    except ValueError:
        raise damaged(path, f"{where} is {text!r}, not a number") from None


def _npz(path: Path, target: str) -> Table:
    import numpy as np

    try:
        with np.load(io.BytesIO(contents(path)), allow_pickle=False) as arrays:
            if not {"x", "y"} <= set(arrays.files):
                raise damaged(path, f"must have arrays x and y, has {', '.join(arrays.files) or 'none'}")
            x, y = arrays["x"], arrays["y"]
            x, y = x.astype(float), y.astype(float)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise error if isinstance(error, UsageError) else damaged(path, str(error)) from error
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y):
        raise damaged(path, f"needs x [n, ...] and y [n], has {x.shape} and {y.shape}")
    return x.reshape(len(x), -1), y


def _libsvm(path: Path, target: str) -> Table:
    import numpy as np

    targets: list[float] = []
    entries: list[tuple[int, int, float]] = []
    for at, line in enumerate(_text(path).splitlines(), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        for field in fields[1:]:
            index, colon, value = field.partition(":")
            if not colon or not index.isdigit() or int(index) < 1:
                raise damaged(path, f"line {at}: expected index:value with an index from 1, got {field!r}")
            entries.append((len(targets), int(index) - 1, number(path, value, f"line {at}, index {index}")))
        targets.append(number(path, fields[0], f"line {at}, target"))
    x = np.zeros((len(targets), 1 + max((column for _, column, _ in entries), default=0)))
    for row, column, entry in entries:
        x[row, column] = entry
    return x, np.array(targets)


def _standardized(x: Any, train: Any) -> Any:
    """Columns less their mean, over their standard deviation, both of the rows ``train``; constant ones become 0."""
    std = x[train].std(axis=0)
    return (x - x[train].mean(axis=0)) / (std + (std == 0))


@lru_cache
def split(file: str, target: str = "", *, classes: bool, seed: int = 0) -> Splits:
    """A table as float32 inputs, standardized by the training part, and labels or standardized targets.

    70 % of the rows for training, 15 % for validation and for test, by the seed. With
    ``classes`` the distinct targets in ascending order become labels [n] = 0, 1, …; else the
    targets [n, 1] are standardized like the inputs.

    Raises:
        DataMissing, DataDamaged: see :func:`read`.
        UsageError: fewer than 8 rows, or with ``classes`` fewer than 2 or more than 1000 distinct targets.
    """
    x, y = read(file, target, words=classes)
    return divided(file, x, y, classes=classes, seed=seed)


def divided(who: str, x: Any, y: Any, *, classes: bool, seed: int = 0) -> Splits:
    """The same for a table that is read already: inputs x [n, features] and targets y [n]."""
    import numpy as np
    import torch

    if len(x) < 8:
        raise UsageError(f"{who}: needs at least 8 rows to be split, has {len(x)}")
    held = max(len(x) * 15 // 100, 1)
    train = np.random.RandomState(seed).permutation(len(x))[: len(x) - 2 * held]  # as ``shuffled`` cuts
    inputs = torch.from_numpy(_standardized(x, train).astype(np.float32))
    if classes:
        found, labels = np.unique(y, return_inverse=True)
        if not 2 <= len(found) <= 1000:
            raise UsageError(f"{who}: labels must have 2 to 1000 distinct values, found {len(found)}")
        targets = torch.from_numpy(labels.astype(np.int64))
    else:
        targets = torch.from_numpy(_standardized(y[:, None], train).astype(np.float32))
    return shuffled((inputs, targets), valid=held, test=held, seed=seed)
