"""Downloads that are cut off, answered wrongly or asked for twice, from a server of this machine."""

from __future__ import annotations

import hashlib
import http.server
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from problems.data import download, folders
from problems.data.download import FetchFailed, Remote, fetch

CONTENT = random.Random(0).randbytes(200_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """What it serves and how; ``asked`` has the Range of every request, None for the whole."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.ranges = True  # whether it answers them
        self.chunked = False  # sends without saying how much there is
        self.cut: int | None = None  # ends every answer after so many bytes
        self.shift = 0  # answers with bytes from a place that was not asked for
        self.tag = '"1"'
        self.status = 200
        self.asked: list[str | None] = []

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        if self.status != 200:
            request.send_error(self.status)
            return
        same = request.headers.get("If-Range") in (None, self.tag)
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges and same else 0
        if begin >= len(self.content):
            request.send_error(416)
            return
        begin += self.shift if begin else 0
        request.send_response(206 if begin else 200)
        if self.tag:
            request.send_header("ETag", self.tag)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        if not self.chunked:
            request.send_header("Content-Length", str(len(self.content) - begin))
        request.end_headers()
        end = len(self.content) if self.cut is None else begin + self.cut
        request.wfile.write(self.content[begin:end])


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Server, str]]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def server(running, monkeypatch) -> Server:
    state, url = running
    state.__init__()
    state.url = url
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return state


def remote(server: Server, md5: str | None = MD5) -> Remote:
    return Remote("set.bin", (server.url + "set.bin",), md5)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_a_connection_that_is_cut_is_taken_up_where_it_ended(server, tmp_path) -> None:
    server.cut = 70_000
    seen = []
    fetch([remote(server)], tmp_path, lambda *row: seen.append(row))
    assert (tmp_path / "set.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=70000-", "bytes=140000-"]
    done = [so_far for _, so_far, _ in seen]
    assert done == sorted(done) and {total for *_, total in seen} == {200_000} and done[-1] == 200_000
    assert left(tmp_path) == {"set.bin"}


def test_what_was_fetched_before_the_process_ended_is_not_fetched_again(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(download, "CHUNK", 60_000)

    def stop(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([remote(server)], tmp_path, stop)
    assert left(tmp_path) == {"set.bin.part", "set.bin.part.json"}
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert server.asked == [None, "bytes=60000-"]
    assert (tmp_path / "set.bin").read_bytes() == CONTENT and left(tmp_path) == {"set.bin"}


def test_a_server_without_ranges_is_asked_from_the_beginning(server, tmp_path) -> None:
    server.ranges, server.cut = False, 70_000
    with pytest.raises(FetchFailed, match=r"connection ended after 70000 of 200000 bytes; 70000 bytes are kept"):
        fetch([remote(server)], tmp_path, lambda *_: None)
    server.cut = None
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_leave_nothing(server, tmp_path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(FetchFailed, match=f"checksum {hashlib.md5(server.content).hexdigest()} instead of {MD5}"):
        fetch([remote(server)], tmp_path, lambda *_: None)
    assert left(tmp_path) == set()


def test_a_beginning_that_was_wrong_is_fetched_anew(server, tmp_path) -> None:
    """Such as of a file that the disk damaged: the checksum tells, and the whole is asked for once more."""
    (tmp_path / "set.bin.part").write_bytes(b"?" * 1000)
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert server.asked == ["bytes=1000-", None]
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


def test_a_beginning_longer_than_the_whole_is_fetched_anew(server, tmp_path) -> None:
    (tmp_path / "set.bin.part").write_bytes(b"?" * 300_000)
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert server.asked == ["bytes=300000-", None]
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


def test_a_complete_part_needs_no_more_than_a_look(server, tmp_path) -> None:
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT and left(tmp_path) == {"set.bin"}


def test_without_a_checksum_versions_are_told_apart_by_their_tag(server, tmp_path) -> None:
    def interrupted() -> None:
        server.cut, server.ranges = 70_000, False
        with pytest.raises(FetchFailed):
            fetch([remote(server, None)], tmp_path, lambda *_: None)
        server.cut, server.ranges, server.asked = None, True, []

    interrupted()
    fetch([remote(server, None)], tmp_path, lambda *_: None)
    assert server.asked == ["bytes=70000-"] and (tmp_path / "set.bin").read_bytes() == CONTENT

    (tmp_path / "set.bin").unlink()
    interrupted()
    server.content, server.tag = CONTENT[::-1], '"2"'
    fetch([remote(server, None)], tmp_path, lambda *_: None)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT[::-1]

    (tmp_path / "set.bin").unlink()
    server.tag = ""
    interrupted()
    fetch([remote(server, None)], tmp_path, lambda *_: None)
    assert server.asked == [None], "without checksum and tag nothing says that the pieces belong together"


def test_an_answer_from_elsewhere_is_not_joined(server, tmp_path) -> None:
    server.cut, server.shift = 70_000, 5
    with pytest.raises(FetchFailed, match="where bytes from 70000 on were asked for"):
        fetch([remote(server)], tmp_path, lambda *_: None)
    assert not (tmp_path / "set.bin").exists()


def test_an_answer_of_unknown_length_is_checked_by_its_checksum(server, tmp_path) -> None:
    server.chunked = True
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


def test_the_next_mirror_goes_on_where_the_first_gave_up(server, tmp_path, monkeypatch) -> None:
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:50_000])
    mirrors = ("http://127.0.0.1:9/", server.url + "set.bin")
    fetch([Remote("set.bin", mirrors, MD5)], tmp_path, lambda *_: None)
    assert server.asked == ["bytes=50000-"] and (tmp_path / "set.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_errors_of_the_server_are_told(server, tmp_path, status) -> None:
    server.status = status
    with pytest.raises(FetchFailed, match=rf"set\.bin: HTTP Error {status}|set\.bin: [A-Z]"):
        fetch([remote(server)], tmp_path, lambda *_: None)
    assert len(server.asked) == 1


def test_two_processes_fetch_once(server, tmp_path) -> None:
    script = (
        "import sys; from pathlib import Path; from problems.data.download import Remote, fetch; "
        "fetch([Remote('set.bin', (sys.argv[1],), sys.argv[2])], Path(sys.argv[3]), lambda *_: None)"
    )
    command = [sys.executable, "-c", script, server.url + "set.bin", MD5, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert server.asked == [None] and (tmp_path / "set.bin").read_bytes() == CONTENT


def test_a_process_that_is_killed_leaves_no_lock_behind(server, tmp_path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from problems.data.download import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


def test_a_file_that_is_there_with_the_wrong_content_is_replaced(server, tmp_path) -> None:
    (tmp_path / "set.bin").write_bytes(b"old")
    fetch([remote(server)], tmp_path, lambda *_: None)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(cut=10_001, ranges=True, begun=200_000, sound=False)  # as long as the whole, and of another version
@given(cut=st.integers(10_001, 250_000), ranges=st.booleans(), begun=st.integers(0, 200_000), sound=st.booleans())
def test_whatever_happens_the_file_is_whole_or_not_there(running, cut, ranges, begun, sound, tmp_path_factory) -> None:
    server, url = running
    server.__init__()
    server.url, server.cut, server.ranges = url, cut, ranges
    folder = tmp_path_factory.mktemp("cache")
    if begun:
        (folder / "set.bin.part").write_bytes(CONTENT[:begun] if sound else b"x" * begun)
    try:
        fetch([remote(server)], folder, lambda *_: None)
    except FetchFailed:
        assert not (folder / "set.bin").exists() and not ranges and cut < len(CONTENT)
    else:
        assert (folder / "set.bin").read_bytes() == CONTENT and left(folder) == {"set.bin"}


# unpacking ----------------------------------------------------------------------------------


def test_large_xz_files_are_unpacked_once(tmp_path, monkeypatch) -> None:
    import lzma

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "LARGE", 100)
    file = tmp_path / "set.xz"
    file.write_bytes(lzma.compress(CONTENT))
    assert folders.contents(file) == CONTENT
    unpacked = []
    monkeypatch.setattr(lzma, "decompress", lambda raw: unpacked.append(len(raw)) or b"again")
    assert folders.contents(file) == CONTENT and not unpacked
    file.write_bytes(b"another file" * 100)
    assert folders.contents(file) == b"again" and unpacked, "a file that has changed is another one"


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path, monkeypatch) -> None:
    import lzma

    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "LARGE", 100)
    (tmp_path / "set.xz").write_bytes(lzma.compress(CONTENT))
    assert folders.contents(tmp_path / "set.xz") == CONTENT


def test_the_number_of_cuts_is_bounded(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(download, "CUTS", 3)
    server.cut = 1000
    with pytest.raises(FetchFailed, match="3000 bytes are kept, from which the next attempt goes on"):
        fetch([remote(server)], tmp_path, lambda *_: None)
    assert len(server.asked) == 3
