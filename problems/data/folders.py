"""Where data files are looked for, and how a file is opened."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from problems.data.download import FetchFailed
from problems.names import UsageError

LARGE = 4 << 20  # bytes of an .xz file from which what it unpacks to is kept, for that takes seconds
_UNPACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}


class DataMissing(UsageError):
    """A data set is not on this machine and could not be fetched."""


class DataDamaged(UsageError):
    """A data file is there but is not what it should be; the message names it and what is wrong."""


def cache() -> Path:
    """The folder that downloads go to: ``$XDG_CACHE_HOME/suite/data``, by default in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "suite" / "data"


def roots() -> list[Path]:
    """Where data are looked for, in order: the folder that ``SUITE_DATA`` names, if any, then the cache.

    Raises:
        UsageError: ``SUITE_DATA`` names something that is not a folder.
    """
    named = os.environ.get("SUITE_DATA")
    if not named:
        return [cache()]
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UsageError(f"SUITE_DATA must name a folder with data sets, got {named!r}, which is none")
    return [folder, cache()]


def find(files: Sequence[str], places: Sequence[str]) -> dict[str, Path] | None:
    """Where a set of files lies, all in one folder, as they are or compressed (.gz, .xz).

    Args:
        places: folders below a root in which they may be.

    Returns:
        file -> path; None where no folder has all of them.
    """
    for root in roots():
        for place in places:
            found = {name: path for name in files if (path := _present(root / place / name)) is not None}
            if len(found) == len(files):
                return found
    return None


def present_or_fetched(
    name: str, files: Sequence[str], places: Sequence[str], fetch: Callable[[str], Path]
) -> dict[str, Path]:
    """Where a set of files lies, after fetching them if they were nowhere.

    Raises:
        DataMissing: they are nowhere and could not be fetched.
    """
    found = find(files, places)
    if found is not None:
        return found
    try:
        fetch(name)
    except FetchFailed as error:
        raise missing(name, files, places, str(error)) from error
    found = find(files, places)
    if found is None:
        raise missing(name, files, places, "what was fetched lacks them")
    return found


def _present(path: Path) -> Path | None:
    candidates = (path.with_name(path.name + suffix) for suffix in _UNPACK)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked in memory if it is compressed; large .xz files are unpacked once and kept.

    Raises:
        DataDamaged: the file ends early, is not in the format its name says, or cannot be read.
    """
    try:
        if path.suffix == ".xz" and path.stat().st_size >= LARGE:
            return _unpacked_once(path)
        return _UNPACK.get(path.suffix, bytes)(path.read_bytes())
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise damaged(path, str(error)) from error


def _unpacked_once(path: Path) -> bytes:
    """The bytes of an .xz file, from the cache if this very file has been unpacked before."""
    known = path.stat()
    identity = f"{path.resolve()} {known.st_size} {known.st_mtime_ns}"
    kept = cache() / "unpacked" / hashlib.sha256(identity.encode()).hexdigest()[:20]
    if kept.is_file():
        return kept.read_bytes()
    raw = lzma.decompress(path.read_bytes())
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".part", delete=False) as part:
            part.write(raw)
        Path(part.name).replace(kept)
    except OSError:  # a cache that is full or cannot be written only costs the next process its time
        pass
    return raw


def damaged(path: Path, what: str) -> DataDamaged:
    """The error that a file is not what it should be."""
    return DataDamaged(f"{path}: {what}; correct the file, or delete it where it was fetched, to fetch it anew")


def missing(name: str, files: Sequence[str], places: Sequence[str], why: str) -> DataMissing:
    """The error that a data set is nowhere, with the folders looked at and the command to get it."""
    looked = ", ".join(str(root / place) for root in roots() for place in places)
    return DataMissing(
        f"{name}: data not found and not fetched ({why}); looked in {looked} "
        f"for {', '.join(files)} (.gz or .xz will do). Fetch them with python -m suite data fetch {name}, "
        "or set SUITE_DATA to a folder that has them"
    )
