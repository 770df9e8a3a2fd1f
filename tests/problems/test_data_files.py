"""Finding, reading and fetching data files, on files made here and a server of this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import itertools
import lzma
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from problems import UsageError, problem
from problems.data import download, folders, idx, mnist_family, vision
from problems.data.catalog import catalog, source

IMAGES, LABELS = 12, 12
REAL = folders.find(mnist_family.FILES, mnist_family.places("mnist"))  # before the fixtures hide it


def images(count: int = IMAGES, magic: int = 2051, side: int = 28) -> bytes:
    return struct.pack(">4i", magic, count, side, side) + bytes(i % 256 for i in range(count * side * side))


def labels(count: int = LABELS, magic: int = 2049, largest: int = 9) -> bytes:
    return struct.pack(">2i", magic, count) + bytes(i % (largest + 1) for i in range(count))


def packed(content: bytes) -> bytes:
    """The same bytes at whatever time, so that tests have the same names in every process."""
    return gzip.compress(content, mtime=0)


def write_set(folder: Path, pack=gzip.compress, suffix: str = ".gz") -> None:
    folder.mkdir(parents=True)
    for name in mnist_family.FILES:
        (folder / (name + suffix)).write_bytes(pack(images() if "images" in name else labels()))


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache, no SUITE_DATA, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SUITE_DATA", raising=False)
    monkeypatch.setattr(download, "_receive", partial(_refuse))
    mnist_family.load.cache_clear()
    yield
    mnist_family.load.cache_clear()


def _refuse(url: str, *_: object) -> None:
    raise OSError(f"no network in this test for {url}")


@pytest.mark.parametrize("place", ["mnist/MNIST/raw", "MNIST/raw", "mnist/raw", "mnist"])
@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (lzma.compress, ".xz"), (bytes, "")])
def test_every_layout_is_read_without_writing(place, pack, suffix, tmp_path, monkeypatch) -> None:
    write_set(tmp_path / "data" / place, pack, suffix)
    before = sorted((tmp_path / "data").rglob("*"))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    data = mnist_family.load("mnist")
    x, y = data.train.tensors
    assert x.shape == (IMAGES, 1, 28, 28) and y.tolist() == [i % 10 for i in range(LABELS)]
    assert torch.equal(x.flatten()[:256] * 255, torch.arange(256.0))
    assert source("mnist").where() == tmp_path / "data" / place
    assert sorted((tmp_path / "data").rglob("*")) == before and not (tmp_path / "cache").exists()


def test_cache_is_used_when_the_named_folder_lacks_the_set(tmp_path, monkeypatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    write_set(folders.cache() / "MNIST" / "raw")
    assert len(mnist_family.load("mnist").train) == IMAGES


def test_missing_data_say_where_and_how(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(vision, "datasets", lambda: SimpleNamespace(MNIST=published("http://nowhere.invalid/")))
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    with pytest.raises(folders.DataMissing) as raised:
        problem.build(problem.bind("mnist_mlp"))
    message = str(raised.value)
    wanted = ("train-images-idx3-ubyte", "data fetch mnist", "no network")
    for part in (str(tmp_path / "data"), str(folders.cache()), *wanted):
        assert part in message


def test_named_folder_that_is_none(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="SUITE_DATA must name a folder"):
        source("mnist").where()


DAMAGES = [
    ("train-images-idx3-ubyte", packed(images())[:-200], "ended before"),
    ("train-images-idx3-ubyte", b"not a gzip file at all", "gzip"),
    ("train-images-idx3-ubyte", packed(images())[:40] + b"\xff" * 60, ""),
    ("train-images-idx3-ubyte", packed(images()[:-1]), "must have 9424 bytes"),
    ("train-images-idx3-ubyte", packed(images() + b"x"), "must have 9424 bytes"),
    ("train-images-idx3-ubyte", packed(images(magic=2049)), "magic number must be 2051"),
    ("train-images-idx3-ubyte", packed(images(side=14)), "28 × 28"),
    ("train-images-idx3-ubyte", packed(b""), "too few"),
    ("train-images-idx3-ubyte", b"", ""),
    ("train-labels-idx1-ubyte", packed(labels(magic=2051)), "magic number must be 2049"),
    ("train-labels-idx1-ubyte", packed(labels(count=5)), "5 labels for 12 images"),
    ("t10k-labels-idx1-ubyte", packed(labels(largest=10)), "labels must be in 0 … 9, found 10"),
    ("t10k-labels-idx1-ubyte", packed(struct.pack(">2i", 2049, 0)), "shape"),
]


@pytest.mark.parametrize(("name", "content", "wrong"), DAMAGES)
def test_damaged_files_are_named_with_what_is_wrong(name, content, wrong, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "data" / "mnist"
    write_set(folder)
    (folder / f"{name}.gz").write_bytes(content)
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    with pytest.raises(folders.DataDamaged) as raised:
        mnist_family.load("mnist")
    assert str(folder / f"{name}.gz") in str(raised.value) and wrong in str(raised.value)


def test_torchvision_that_does_not_match_is_explained(monkeypatch) -> None:
    class Broken:
        def find_spec(self, name, *_):
            if name.startswith("torchvision"):
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(UsageError, match=r"torchvision does not match torch .*nms.* install two that belong together"):
        vision.datasets()


# fetching -----------------------------------------------------------------------------------


def published(url: str, spoil: str = "") -> SimpleNamespace:
    """What torchvision says of a set, with the checksums of the files served here."""
    content = {name: gzip.compress(images() if "images" in name else labels(), mtime=0) for name in mnist_family.FILES}
    resources = [(f"{n}.gz", hashlib.md5(c).hexdigest() if n != spoil else "0" * 32) for n, c in content.items()]
    return SimpleNamespace(mirrors=[url], resources=resources, content=content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A server with the four files; ``requests`` counts, ``cut`` ends answers early."""
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SUITE_DATA", raising=False)
    state = SimpleNamespace(requests=[], cut=False, url="")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            body = published("").content[Path(self.path).name.removesuffix(".gz")]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if state.cut else body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield state
    httpd.shutdown()
    httpd.server_close()


def test_fetches_once_and_reports_progress(server, monkeypatch) -> None:
    monkeypatch.setattr(vision, "datasets", lambda: SimpleNamespace(MNIST=published(server.url)))
    seen: list[tuple[str, int, int]] = []
    folder = source("mnist").fetch(lambda *row: seen.append(row))
    assert len(server.requests) == 4 and {name for name, done, total in seen if done == total} == {
        f"{name}.gz" for name in mnist_family.FILES
    }
    assert source("mnist").fetch() == folder and len(server.requests) == 4
    assert len(mnist_family.load("mnist").train) == IMAGES and len(server.requests) == 4
    assert not list(folder.glob("*.part"))


def test_two_at_once_fetch_each_file_once(server, monkeypatch) -> None:
    monkeypatch.setattr(vision, "datasets", lambda: SimpleNamespace(MNIST=published(server.url)))
    threads = [threading.Thread(target=mnist_family.fetch, args=("mnist", lambda *_: None)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(server.requests) == sorted(f"/{name}.gz" for name in mnist_family.FILES)


def test_wrong_checksum_leaves_nothing_behind(server, monkeypatch) -> None:
    spoiled = published(server.url, spoil="train-labels-idx1-ubyte")
    monkeypatch.setattr(vision, "datasets", lambda: SimpleNamespace(MNIST=spoiled))
    with pytest.raises(download.FetchFailed, match=r"train-labels-idx1-ubyte.gz: checksum .* instead of 000"):
        source("mnist").fetch(lambda *_: None)
    assert source("mnist").where() is None
    assert not list(folders.cache().rglob("*.part"))


def test_connection_that_ends_early_is_told_and_can_be_repeated(server, monkeypatch) -> None:
    monkeypatch.setattr(vision, "datasets", lambda: SimpleNamespace(MNIST=published(server.url)))
    server.cut = True
    with pytest.raises(download.FetchFailed, match="ended after"):
        source("mnist").fetch(lambda *_: None)
    server.cut = False
    source("mnist").fetch(lambda *_: None)
    assert source("mnist").where() is not None


def test_cache_that_cannot_be_written(monkeypatch, tmp_path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(download.FetchFailed, match="cannot write"):
        download.fetch([], folders.cache())


# the catalog --------------------------------------------------------------------------------


def test_catalog_is_complete_and_does_not_import_torch() -> None:
    known = {s.name for s in catalog()}
    assert {entry.meta["data"] for entry in problem if entry.meta.get("data")} <= known
    assert "mnist_mlp" in source("mnist").needed_by and source("digits").where() is not None
    code = (
        "import sys; from problems.data.catalog import catalog; "
        "[(s.where(), s.needed_by) for s in catalog()]; "
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_ships_with_a_package_is_not_fetched() -> None:
    assert source("digits").fetch() == source("digits").where()
    with pytest.raises(UsageError, match="unknown data set 'mnits'; did you mean mnist"):
        source("mnits")


def test_idx_dimensions_may_not_be_negative(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(struct.pack(">2i", 2049, -3) + b"abc")
    with pytest.raises(folders.DataDamaged, match="shape"):
        idx.read(path, 1)


# the problems on these files ----------------------------------------------------------------


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "data" / "mnist")
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))


def nn_2c2d() -> torch.nn.Module:
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Linear(1024, 10)),
    )


def nn_mlp() -> torch.nn.Module:
    nn = torch.nn
    pairs = itertools.pairwise([784, 1000, 500, 100, 10])
    return nn.Sequential(nn.Flatten(), *[m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())][:-1])


@pytest.mark.parametrize(
    ("name", "size", "std", "bias", "reference"),
    [
        ("mnist_mlp", 1336610, 0.03, 0.0, nn_mlp),
        ("mnist_2c2d", 3274634, 0.05, 0.05, nn_2c2d),
    ],
)
def test_mnist_definitions(small_mnist, name, size, std, bias, reference) -> None:
    p = problem.build(problem.bind(name))
    assert p.size == size and p.batch_size == 128 and p.start is not None
    assert p.valid is None and p.test is not None and p.test.drop_partial and not p.train.drop_partial
    theta = p.start(torch.Generator().manual_seed(0))
    pieces = p.layout.split(theta)
    drawn = torch.cat([v.flatten() for k, v in pieces.items() if k.endswith("weight")])
    assert drawn.abs().max() <= 2 * std
    # the standard deviation of a normal cut off at 2σ is 0.87963 σ
    assert float(drawn.std()) == pytest.approx(0.87963 * std, rel=5e-3)
    assert all(bool((v == bias).all()) for k, v in pieces.items() if k.endswith("bias"))
    module = reference()
    module.load_state_dict(dict(zip(module.state_dict(), pieces.values(), strict=True)))
    x, y = p.train.tensors
    expected = torch.nn.functional.cross_entropy(module(x.view(-1, 1, 28, 28)), y)
    assert float(p.loss(theta, (x, y))) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["mnist_mlp(hidden=(8,), valid=5)", "mnist_2c2d(valid=5)"])
def test_validation_is_cut_off_the_end(small_mnist, name) -> None:
    p = problem.build(problem.bind(name))
    assert p.valid is not None and len(p.train) == IMAGES - 5 and len(p.valid) == 5
    assert p.valid.tensors[1].tolist() == [i % 10 for i in range(IMAGES - 5, IMAGES)]
    assert p.target is not None and p.target.measure == "valid_accuracy"


def test_validation_must_leave_something_to_train_on(small_mnist) -> None:
    with pytest.raises(UsageError, match="mnist_mlp: valid must be below the 12 training examples, got 12"):
        problem.build(problem.bind("mnist_mlp(valid=12)"))


def test_published_mnist() -> None:
    """Counts and means that everyone's MNIST has."""
    if REAL is None:
        pytest.skip("mnist is not on this machine")
    x, y = idx.read_pair(*(REAL[name] for name in mnist_family.FILES[:2]), classes=10)
    assert x.shape == (60000, 1, 28, 28) and torch.bincount(y).tolist()[:3] == [5923, 6742, 5958]
    assert float(x.mean()) == pytest.approx(0.1307, abs=5e-5) and float(x.std()) == pytest.approx(0.3081, abs=5e-5)
