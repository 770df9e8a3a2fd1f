"""Data sets of the Hugging Face hub, and local parquet, arrow, CSV, JSON and text files through the same library."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.data.folders import DataMissing, cache, roots
from problems.data.silence import without_bars
from problems.data.splits import Splits, each, shuffled
from problems.names import UsageError
from problems.problem import Batch, Data

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json", ".txt": "text"}
WORDS = 1000  # of the training part that make the inputs of a text
SPLITS = {"train": ("train",), "valid": ("validation", "valid", "dev"), "test": ("test",)}


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(f"the library datasets cannot be imported ({error}); pip install datasets") from error
    return datasets


def _kind(path: Path) -> str | None:
    return KINDS.get(Path(path.stem).suffix if path.suffix == ".gz" else path.suffix)


def _local(name: str) -> Path | None:
    given = Path(name).expanduser()
    if _kind(given) is None:
        return None
    candidates = [given, *(root / given for root in roots())]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise DataMissing(f"{name}: no such file; looked for {', '.join(map(str, candidates))}")
    return found


def _opened(name: str, config: str, streaming: bool) -> dict[str, Any]:
    """The parts of a set by their names, as the library gives them."""
    library = _library()
    options: dict[str, Any] = {"streaming": streaming, "cache_dir": str(cache() / "huggingface")}
    path = _local(name)
    try:
        with without_bars(library):
            if path is not None:
                return dict(library.load_dataset(_kind(path), data_files=str(path), **options))
            return dict(library.load_dataset(name, config or None, **options))
    except UsageError:
        raise
    except Exception as error:  # the library raises a dozen kinds, of its own and of its dependencies
        raise DataMissing(f"{name}: datasets cannot load it: {type(error).__name__}: {error}") from error


@lru_cache
def load(name: str, inputs: str, target: str, config: str = "", limit: int = 0, seed: int = 0) -> Splits:
    """Columns of a set as tensors: inputs x [n, ...] and targets y.

    Images become [n, channels, h, w] in [0, 1]. Numbers and lists of numbers, of one or several
    columns side by side, become [n, features], standardized by the training part; a text becomes
    the shares that the 1000 most frequent words of the training part's texts have in its own. Class
    labels, whole numbers and words become labels [n] = 0, 1, … in the order of the set's own
    classes or ascending; fractions become targets [n, 1].

    The set's own training, validation and test parts are used; a set with one part is cut into
    70, 15 and 15 % by the seed.

    Args:
        name: a name on the hub, or a local .parquet, .arrow, .csv, .json, .jsonl or .txt file, or a folder of such.
        inputs, target: names of columns, several inputs separated by commas.
        limit: read only so many examples of each part, without fetching all of it; 0 for all.

    Raises:
        DataMissing: it cannot be loaded.
        UsageError: no such column, or values that make no tensor.
    """
    chosen = _parts(name, config, limit)
    columns = [column.strip() for column in inputs.split(",")]
    rows = {part: _columns(name, found, [*columns, target], limit) for part, found in chosen.items()}
    classes = _classes(name, chosen["train"], target, rows["train"][target])
    written = [c for c in columns if isinstance(rows["train"][c][0], str)]
    words = {c: _frequent(_trained(rows["train"][c], seed) if len(rows) == 1 else rows["train"][c]) for c in written}
    tensors = {
        part: (_inputs(name, found, columns, words), _targets(name, target, found[target], classes))
        for part, found in rows.items()
    }
    if len(tensors) == 1:
        data = shuffled(tensors["train"], *_held(len(tensors["train"][1])), seed)
    else:
        data = Splits(**{part: Data(pair) for part, pair in tensors.items()})
    return data if data.train.tensors[0].dim() > 2 else _standardized(data)


@lru_cache
def texts(name: str, column: str, config: str = "", limit: int = 0) -> dict[str, str]:
    """Each part of a set as one text, the rows of a column joined by line breaks; parts by our names.

    Raises:
        DataMissing, UsageError: see :func:`load`; the column does not hold text.
    """
    parts = {
        part: _columns(name, found, [column], limit)[column] for part, found in _parts(name, config, limit).items()
    }
    for row in (row for rows in parts.values() for row in rows if not isinstance(row, str)):
        raise UsageError(f"{name}: column {column!r} does not hold text, found {str(row)[:40]!r}")
    return {part: "\n".join(rows) for part, rows in parts.items()}


def _parts(name: str, config: str, limit: int) -> dict[str, Any]:
    """The training part of a set, and the validation and test parts that there are, by our names."""
    parts = _opened(name, config, streaming=limit > 0)
    chosen = {ours: parts[t] for ours, theirs in SPLITS.items() for t in theirs if t in parts}
    if "train" not in chosen:
        raise UsageError(f"{name}: has no part 'train'; there are {', '.join(parts)}")
    return chosen


def _columns(name: str, part: Any, wanted: list[str], limit: int) -> dict[str, list[Any]]:
    there = part.column_names or list(next(iter(part)))
    for column in wanted:
        if column not in there:
            raise UsageError(f"{name}: no column {column!r}; there are {', '.join(there)}")
    found: dict[str, list[Any]] = {column: [] for column in wanted}
    for row in part.select_columns(wanted).take(limit) if limit else part.select_columns(wanted):
        for column, values in found.items():
            values.append(_plain(row[column]))  # images as bytes at once: opened ones take twice their memory
    if not found[wanted[0]]:
        raise UsageError(f"{name}: has no rows")
    return found


def _held(count: int) -> tuple[int, int]:
    """How many examples of a set with one part are held out for validation and for test."""
    return (max(count * 15 // 100, 1),) * 2


def _trained(values: list[Any], seed: int) -> list[Any]:
    """Those of the rows of a set with one part that will be trained on."""
    import torch

    chosen = shuffled((torch.arange(len(values)),), *_held(len(values)), seed).train
    return [values[i] for i in chosen.tensors[0].tolist()]


def _plain(value: Any) -> Any:
    """A value as it is, an image as its pixels [h, w] or [h, w, channels]."""
    import numpy as np

    return np.array(value, dtype=np.uint8) if hasattr(value, "getbands") else value


def _classes(name: str, part: Any, target: str, values: list[Any]) -> dict[Any, int] | None:
    """Target value -> label; None where targets are fractions."""
    kinds = {type(value) for value in values}
    if None in values or not (kinds <= {bool, int, float} or kinds == {str}):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UsageError(
            f"{name}: column {target!r} must hold numbers or words, none missing, to be a target; found {found}"
        )
    names = getattr((part.features or {}).get(target), "names", None)
    if names:
        return {i: i for i in range(len(names))}
    if any(isinstance(value, float) for value in values):
        return None
    return {value: i for i, value in enumerate(sorted(set(values)))}


def _targets(name: str, column: str, values: list[Any], classes: dict[Any, int] | None) -> Tensor:
    import torch

    if classes is None:
        return _numbers(name, column, values).view(-1, 1)
    unknown = [value for value in values if value not in classes]
    if unknown:
        raise UsageError(
            f"{name}: {unknown[0]!r} in the target column {column!r} is none of the {len(classes)} classes "
            "of the training part"
        )
    return torch.tensor([classes[value] for value in values])


def _inputs(name: str, rows: dict[str, list[Any]], columns: list[str], words: dict[str, list[str]]) -> Tensor:
    import numpy as np
    import torch

    first = rows[columns[0]][0]
    if len(columns) == 1 and isinstance(first, np.ndarray) and first.dtype == np.uint8:
        return _images(name, rows[columns[0]])
    features = [
        _shares(name, column, rows[column], words[column])
        if column in words
        else _numbers(name, column, rows[column]).flatten(1)
        for column in columns
    ]
    return torch.cat(features, dim=1)


def _images(name: str, pictures: list[Any]) -> Tensor:
    import torch

    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        raise UsageError(f"{name}: images must have one size and mode, found {sorted(map(str, shapes))[:3]}")
    shape = pictures[0].shape
    whole = torch.empty(len(pictures), *((1, *shape) if len(shape) == 2 else (shape[2], *shape[:2])))
    for place, picture in zip(whole, pictures, strict=True):
        place.copy_(torch.from_numpy(picture if picture.ndim == 2 else picture.transpose(2, 0, 1)))
    return whole.div_(255)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _frequent(texts: list[str]) -> list[str]:
    """The most frequent words, those of equal frequency in alphabetical order."""
    counts = Counter(word for text in texts for word in _words(text))
    return sorted(counts, key=lambda word: (-counts[word], word))[:WORDS]


def _shares(name: str, column: str, texts: list[Any], words: list[str]) -> Tensor:
    """How much of each text each word makes, [n, words]."""
    import torch

    place = {word: i for i, word in enumerate(words)}
    found = torch.zeros(len(texts), len(words))
    for row, text in zip(found, texts, strict=True):
        if not isinstance(text, str):
            raise UsageError(f"{name}: column {column!r} holds text, but also {text!r}")
        counts = Counter(_words(text))
        for word in counts.keys() & place.keys():
            row[place[word]] = counts[word] / counts.total()
    return found


def _numbers(name: str, column: str, values: list[Any]) -> Tensor:
    import numpy as np
    import torch

    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: column {column!r} does not hold numbers of one shape: {error}") from error
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise UsageError(
            f"{name}: column {column!r} has missing or infinite values in {int(bad.sum())} rows, "
            f"the first is row {int(bad.argmax()) + 1}"
        )
    return torch.from_numpy(array).view(len(array), -1)


def _standardized(data: Splits) -> Splits:
    """Inputs, and targets that are fractions, less their mean over their standard deviation in the training part."""

    def scaled(tensor: Tensor, train: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        std = train.std(0, correction=0)
        return (tensor - train.mean(0)) / (std + (std == 0))

    def every(tensors: Batch) -> Batch:
        return tuple(scaled(t, train) for t, train in zip(tensors, data.train.tensors, strict=True))

    return each(data, every)
