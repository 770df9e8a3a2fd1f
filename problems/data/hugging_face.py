"""Data sets of the Hugging Face hub, and local parquet, arrow, CSV and JSON files through the same library."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.data.folders import DataMissing, cache, roots
from problems.data.splits import Splits, each, shuffled
from problems.names import UsageError
from problems.problem import Batch, Data

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}
SPLITS = {"train": ("train",), "valid": ("validation", "valid", "dev"), "test": ("test",)}


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(f"the library datasets cannot be imported ({error}); pip install datasets") from error
    return datasets


def _local(name: str) -> Path | None:
    given = Path(name).expanduser()
    if given.suffix not in KINDS:
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
        if path is not None:
            return dict(library.load_dataset(KINDS[path.suffix], data_files=str(path), **options))
        return dict(library.load_dataset(name, config or None, **options))
    except UsageError:
        raise
    except Exception as error:  # the library raises a dozen kinds, of its own and of its dependencies
        raise DataMissing(f"{name}: datasets cannot load it: {type(error).__name__}: {error}") from error


@lru_cache
def load(name: str, inputs: str, target: str, config: str = "", limit: int = 0, seed: int = 0) -> Splits:
    """Columns of a set as tensors: inputs x [n, ...] and targets y.

    Images become [n, channels, h, w] in [0, 1]. Numbers and lists of numbers, of one or several
    columns side by side, become [n, features], standardized by the training part. Class
    labels, whole numbers and words become labels [n] = 0, 1, … in the order of the set's own
    classes or ascending; fractions become targets [n, 1].

    The set's own training, validation and test parts are used; a set with one part is cut into
    70, 15 and 15 % by the seed.

    Args:
        name: a name on the hub, or a local .parquet, .arrow, .csv, .json or .jsonl file.
        inputs, target: names of columns, several inputs separated by commas.
        limit: read only so many examples of each part, without fetching all of it; 0 for all.

    Raises:
        DataMissing: it cannot be loaded.
        UsageError: no such column, or values that make no tensor.
    """
    parts = _opened(name, config, streaming=limit > 0)
    chosen = {ours: parts[t] for ours, theirs in SPLITS.items() for t in theirs if t in parts}
    if "train" not in chosen:
        raise UsageError(f"{name}: has no part 'train'; there are {', '.join(parts)}")
    columns = [column.strip() for column in inputs.split(",")]
    rows = {part: _columns(name, found, [*columns, target], limit) for part, found in chosen.items()}
    classes = _classes(chosen["train"], target, rows["train"][target])
    tensors = {
        part: (_inputs(name, found, columns), _targets(name, found[target], classes)) for part, found in rows.items()
    }
    if len(tensors) == 1:
        held = max(len(tensors["train"][1]) * 15 // 100, 1)
        data = shuffled(tensors["train"], held, held, seed)
    else:
        data = Splits(**{part: Data(pair) for part, pair in tensors.items()})
    return data if data.train.tensors[0].dim() > 2 else _standardized(data)


def _columns(name: str, part: Any, wanted: list[str], limit: int) -> dict[str, list[Any]]:
    there = part.column_names or list(next(iter(part)))
    for column in wanted:
        if column not in there:
            raise UsageError(f"{name}: no column {column!r}; there are {', '.join(there)}")
    taken = list(part.take(limit)) if limit else None
    found = {c: [row[c] for row in taken] if taken is not None else list(part[c]) for c in wanted}
    if not found[wanted[0]]:
        raise UsageError(f"{name}: has no rows")
    return found


def _classes(part: Any, target: str, values: list[Any]) -> dict[Any, int] | None:
    """Target value -> label; None where targets are fractions."""
    names = getattr((part.features or {}).get(target), "names", None)
    if names:
        return {i: i for i in range(len(names))}
    if any(isinstance(value, float) for value in values):
        return None
    return {value: i for i, value in enumerate(sorted(set(values)))}


def _targets(name: str, values: list[Any], classes: dict[Any, int] | None) -> Tensor:
    import torch

    if classes is None:
        return _numbers(name, values).view(-1, 1)
    unknown = [value for value in values if value not in classes]
    if unknown:
        raise UsageError(
            f"{name}: the target {unknown[0]!r} is none of the {len(classes)} classes of the training part"
        )
    return torch.tensor([classes[value] for value in values])


def _inputs(name: str, rows: dict[str, list[Any]], columns: list[str]) -> Tensor:
    import torch

    if len(columns) == 1 and hasattr(rows[columns[0]][0], "getbands"):
        return _images(name, rows[columns[0]])
    return torch.cat([_numbers(name, rows[column]).flatten(1) for column in columns], dim=1)


def _images(name: str, pictures: list[Any]) -> Tensor:
    import numpy as np
    import torch

    shapes = {(p.size, p.mode) for p in pictures}
    if len(shapes) > 1:
        raise UsageError(f"{name}: images must have one size and mode, found {sorted(map(str, shapes))[:3]}")
    pixels = torch.from_numpy(np.stack([np.asarray(p, dtype=np.uint8) for p in pictures]))
    channels_first = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    return channels_first.float().div_(255)


def _numbers(name: str, values: list[Any]) -> Tensor:
    import numpy as np
    import torch

    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: a column does not hold numbers of one shape: {error}") from error
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: a column has missing or infinite values")
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
