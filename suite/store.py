"""Results on disk: one Parquet file per finished run.

The trace is the file's columns; the run's record is JSON in the schema's metadata, so that
a file says by itself what it is. A file appears under its name complete or not at all, and
files never share anything, so a kill, a full disk or another process at work in the same
folder costs no more than the run in hand. Nothing here needs a lock, which network file
systems do not keep.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from problems.names import UsageError
from suite.spec import Result, Run

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

T = TypeVar("T")
_RECORD = b"suite.result"  # the metadata key of the record
_ABANDONED = 24 * 3600.0  # seconds after which an unfinished file has no writer any more


class StoreError(RuntimeError):
    """Results cannot be written; those stored before are untouched."""


class Store:
    """The results in a folder: ``<folder>/runs/<run id>.parquet``.

    Columns ``step`` (int64), ``measure`` (text) and ``value`` (float64); a run that was
    skipped has none of them filled.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.runs = self.folder / "runs"

    def path(self, run: Run) -> Path:
        """Where the result of a run is, or would be."""
        return self.runs / f"{run.id}.parquet"

    def save(self, result: Result) -> None:
        """Keep a result; one of the same run is replaced.

        Raises:
            StoreError: the disk is full or the folder cannot be written to.
        """
        target = self.path(result.run)
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            _write(_table(result), target)
        except OSError as error:
            full = "free some space or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise StoreError(
                f"{target} cannot be written: {error.strerror or error}. What was stored before is kept; {full}"
                "name another folder with --results, and the same command goes on from there"
            ) from error

    def ready(self) -> None:
        """Make the folder, and see that files can be written to it, before anything is trained.

        Raises:
            StoreError: they cannot.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.runs):
                pass
        except OSError as error:
            why = error.strerror or error
            raise StoreError(
                f"results: {self.folder} cannot be written to: {why}; name another with --results"
            ) from error

    def find(self, run: Run) -> Result | None:
        """The stored result of a run; None if there is none, or one that failed and should be tried again."""
        path = self.path(run)
        result = _attempt(_read, path) if path.exists() else None
        return None if result is None or result.run != run or result.status == "failed" else result

    def __iter__(self) -> Iterator[Result]:
        """Every readable result, in the order of the files' names."""
        return _attempt_all(_read, self.paths())

    def paths(self) -> list[Path]:
        """The files of finished runs, sorted by name."""
        return sorted(self.runs.glob("*.parquet"))

    def sweep(self) -> None:
        """Remove what killed processes left unfinished."""
        for part in self.runs.glob("*.part"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED:
                    part.unlink()


def _table(result: Result) -> pa.Table:
    import pyarrow as pa

    record = result.to_dict()
    del record["traces"]
    steps, measures, values = zip(*result.trace, strict=True) if result.trace else ((), (), ())
    columns = {
        "step": pa.array(steps, pa.int64()),
        "measure": pa.array(measures, pa.string()).dictionary_encode(),
        "value": pa.array(values, pa.float64()),
    }
    return pa.table(columns).replace_schema_metadata({_RECORD: json.dumps(record)})


def _write(table: pa.Table, target: Path) -> None:
    """Write a table under a temporary name beside its target, then rename."""
    import pyarrow.parquet as pq

    part = target.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _open(path: Path) -> tuple[dict[str, Any], pa.Table]:
    """A file's record and trace."""
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        table = pq.ParquetFile(file).read(use_threads=False).select(["step", "measure", "value"])
    return json.loads(table.schema.metadata[_RECORD]), table


def _read(path: Path) -> Result:
    record, table = _open(path)
    settings = {key: value for key, value in record.pop("run").items() if key != "id"}
    trace = tuple(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return Result(Run(**settings), trace=trace, **record)


def _attempt(read: Callable[[Path], T], path: Path) -> T | None:
    """What ``read`` makes of a file; one that it cannot read is named in a warning and passed over."""
    try:
        return read(path)
    except Exception as error:  # damaged bytes raise whatever they hit first
        first = (str(error).splitlines() or [""])[0]
        warnings.warn(f"{path} is not a readable result, passed over ({type(error).__name__}: {first})", stacklevel=2)
        return None


def _attempt_all(read: Callable[[Path], T], paths: Iterable[Path]) -> Iterator[T]:
    """The same for many files, in their order, some at a time."""
    with ThreadPoolExecutor() as pool:
        yield from (found for found in pool.map(lambda path: _attempt(read, path), paths) if found is not None)


def load(results: str | Path = "results") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The results of a folder as two tidy tables, ``runs`` and ``traces``: see :mod:`suite.frames`.

    Runs of the same settings by definitions as they were before are there too; a warning says so.

    Raises:
        UsageError: there is no such folder.
    """
    import pandas as pd

    from suite.frames import row, traces_frame

    store = Store(results)
    if not store.folder.is_dir():
        raise UsageError(f"{results}: no such folder of results; python -m suite compare makes one")

    def read(path: Path) -> tuple[dict[str, Any], dict[str, Any], pa.Table]:
        record, table = _open(path)
        return row(record), record["run"], table

    found = list(_attempt_all(read, store.paths()))
    old = _superseded([asked for _, asked, _ in found])
    if old:
        words = f"{len(old)} of {len(found)} runs are by older definitions than others of the same settings"
        warnings.warn(f"{words}: runs[~runs.superseded] leaves them out", stacklevel=2)
    runs = pd.DataFrame([{**settings, "superseded": settings["run"] in old} for settings, *_ in found])
    return runs, traces_frame({settings["run"]: table for settings, _, table in found})


def _superseded(asked: Sequence[Mapping[str, Any]]) -> set[str]:
    """The names of runs whose settings another has too, under the name that these have now."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for settings in asked:
        key = json.dumps({name: value for name, value in settings.items() if name != "id"}, sort_keys=True)
        named.setdefault(key, []).append(settings)
    old: set[str] = set()
    for alike in named.values():
        names = {settings["id"] for settings in alike}
        if len(names) > 1:
            with suppress(UsageError):  # a definition that is not on this machine
                now = Run(**{name: value for name, value in alike[0].items() if name != "id"}).id
                old |= names - {now} if now in names else set()
    return old
