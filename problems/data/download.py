"""Fetching files: verified, atomic, once."""

from __future__ import annotations

import hashlib
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from problems.names import UsageError

CHUNK = 1 << 18  # bytes
TIMEOUT = 20  # seconds without an answer
Progress = Callable[[str, int, int], None]  # (file, bytes so far, bytes in all or 0 where not known)


class FetchFailed(UsageError):
    """A file could not be fetched; the message says from where and why."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch.

    Args:
        urls: mirrors in the order to try.
        md5: what the publisher says the content hashes to; None where nothing is published.
    """

    name: str
    urls: tuple[str, ...]
    md5: str | None


def on_stderr(file: str, done: int, total: int) -> None:
    """Progress as one line that is rewritten on a terminal; elsewhere only when a file is complete."""
    complete = total > 0 and done >= total
    if sys.stderr.isatty():
        share = f"{100 * done / total:3.0f} %" if total else f"{done / 1e6:.1f} MB"
        print(f"\r{file}: {share}", end="\n" if complete else "", file=sys.stderr, flush=True)
    elif complete:
        print(f"{file}: fetched, {total / 1e6:.1f} MB", file=sys.stderr)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time fetches into a folder; the others wait and then find the files.

    Raises:
        FetchFailed: the folder cannot be made or written to.
    """
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise FetchFailed(f"{folder}: cannot write there ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()


def fetch(remotes: Sequence[Remote], folder: Path, progress: Progress = on_stderr) -> None:
    """Bring files into a folder, those that are there already with the right checksum excepted.

    A file appears under its name only when it is complete and verified.

    Raises:
        FetchFailed: no mirror gave a file with the right checksum, or the folder cannot be written.
    """
    with locked(folder):
        for remote in remotes:
            target = folder / remote.name
            if not (target.is_file() and remote.md5 in (None, md5(target))):
                _fetch_one(remote, target, progress)


def md5(path: Path) -> str:
    """The MD5 digest of a file, which is what the publishers of these sets give."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch_one(remote: Remote, target: Path, progress: Progress) -> None:
    part = target.with_name(target.name + ".part")
    reasons = []
    for url in remote.urls:
        try:
            _receive(url, part, remote.name, progress)
            found = md5(part)
            if remote.md5 in (None, found):
                part.replace(target)
                return
            reasons.append(f"{url}: checksum {found} instead of {remote.md5}")
        except (urllib.error.URLError, OSError, ValueError) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', None) or error}")
        finally:
            part.unlink(missing_ok=True)
    raise FetchFailed("; ".join(reasons))


def _receive(url: str, part: Path, name: str, progress: Progress) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "suite"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, part.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(name, done, total)
        if total and done != total:
            raise ValueError(f"connection ended after {done} of {total} bytes")
