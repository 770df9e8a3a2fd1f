"""Fetching files: verified, atomic, once; what was cut off goes on from where it was."""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from problems.data.silence import is_silent
from problems.names import UsageError

CHUNK = 1 << 18  # bytes
CUTS = 20  # how often a connection may be cut off before a mirror is given up, each having brought something
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
    """Progress as one line that is rewritten on a terminal; elsewhere only when a file is complete; none in silence."""
    if is_silent():
        return
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

    A file appears under its name only when it is complete and verified. A connection that is cut off is
    taken up again where it ended, now or at the next call, from servers that give ranges; what came
    together in pieces is the same version by its checksum or by the server's word (ETag, Last-Modified).

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
    part = _Part(target, remote.md5 is not None)
    reasons = []
    for url in remote.urls:
        try:
            reason = _whole(url, part, remote, progress)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error)
        if not reason:
            part.file.replace(target)
            part.forget()
            return
        reasons.append(f"{url}: {reason}")
    left = f"; {part.size} bytes are kept, from which the next attempt goes on" if part.size else ""
    raise FetchFailed("; ".join(reasons) + left)


def _whole(url: str, part: _Part, remote: Remote, progress: Progress) -> str:
    """Receive the whole file, in several goes if connections are cut off; why what came is not it, or nothing."""
    resumed = part.size > 0
    for _ in range(CUTS):
        before = part.size
        missing = _receive(url, part, remote.name, progress)
        if not missing:
            break
        if part.size == before:  # it may be less, where what was there turned out to be of another version
            return missing
        resumed = True
    else:
        return missing
    found = md5(part.file)
    if remote.md5 in (None, found):
        return ""
    part.forget()
    if resumed:  # what was there may have been of another version, or damaged on the disk
        return _whole(url, part, remote, progress)
    return f"checksum {found} instead of {remote.md5}"


class _Part:
    """What has come of a file so far, and which version of it that is."""

    def __init__(self, target: Path, verifiable: bool) -> None:
        self.file = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")
        self._verifiable = verifiable

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def of(self, url: str, headers: Mapping[str, str]) -> None:
        """Note what tells this version from others (RFC 9110: a strong ETag, or the date of its last change)."""
        tag = headers.get("ETag") or ""
        mark = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""
        self._note.write_text(json.dumps({"url": url, "mark": mark}))

    def wish(self, url: str) -> dict[str, str]:
        """The headers that ask for what is missing: only where it can be told that it belongs to what is there."""
        try:
            known = json.loads(self._note.read_text())
            mark = known["mark"] if known["url"] == url else ""
        except (OSError, ValueError, KeyError, TypeError):
            mark = ""
        if not self.size or not (mark or self._verifiable):
            return {}
        return {"Range": f"bytes={self.size}-", **({"If-Range": mark} if mark else {})}


def _receive(url: str, part: _Part, name: str, progress: Progress) -> str:
    """One connection's share of a file, behind what is there if the server can; what is missing then, or nothing."""
    wish = part.wish(url)
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(url, headers={"User-Agent": "suite", **wish}), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not wish:
            raise
        part.forget()  # there is more than the server has: of another version
        return _receive(url, part, name, progress)
    with answer:
        goes_on = answer.status == HTTPStatus.PARTIAL_CONTENT
        done = part.size if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else 0
        if goes_on and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {done}-"):
            part.forget()
            return f"the server gave {answer.headers.get('Content-Range')} where bytes from {done} on were asked for"
        if not goes_on:
            part.of(url, answer.headers)
        with part.file.open("ab" if goes_on else "wb") as file:
            try:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress(name, done, total)
            except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
                return f"connection ended after {done} of {total or 'an unknown number of'} bytes ({error})"
    return f"connection ended after {done} of {total} bytes" if total and done != total else ""
