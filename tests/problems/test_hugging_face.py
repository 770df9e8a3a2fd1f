"""Local files through the library datasets: images, numbers, words, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from problems import UsageError, problem
from problems.data import hugging_face, mnist_family, vision
from problems.data.folders import DataMissing
from problems.data.silence import silence

datasets = pytest.importorskip("datasets")
MNIST = mnist_family.where("mnist")
RANDOM = np.random.RandomState(0)
PIXELS = RANDOM.randint(0, 256, (40, 6, 5)).astype(np.uint8)
LABELS = [i % 3 for i in range(40)]


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    hugging_face.load.cache_clear()


def pictures(path: Path) -> str:
    from PIL import Image

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rows = {"image": [Image.fromarray(p) for p in PIXELS], "label": LABELS}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path / "pictures.parquet")
    return str(path / "pictures.parquet")


def table(path: Path) -> str:
    lines = [
        f"{a:.4f},{b:.4f},{2 * a + 0.01 * b:.4f},{'yes' if a > 0 else 'no'}" for a, b in RANDOM.normal(size=(60, 2))
    ]
    (path / "t.csv").write_text("a,b,sum,word\n" + "\n".join(lines) + "\n")
    return str(path / "t.csv")


def test_images_and_labels_are_the_ones_written(tmp_path) -> None:
    data = hugging_face.load(pictures(tmp_path), "image", "label")
    assert [len(part) for part in data if part is not None] == [28, 6, 6]
    x = torch.cat([part.tensors[0] for part in data if part is not None])
    y = torch.cat([part.tensors[1] for part in data if part is not None])
    assert x.shape == (40, 1, 6, 5)
    found = sorted(zip((x * 255).round().byte().flatten(1).tolist(), y.tolist(), strict=True))
    assert found == sorted(zip(PIXELS.reshape(40, -1).tolist(), LABELS, strict=True))


def test_columns_of_numbers_are_standardized_by_the_training_part(tmp_path) -> None:
    data = hugging_face.load(table(tmp_path), "a, b", "sum")
    x, y = data.train.tensors
    assert x.shape == (42, 2)
    assert y.shape == (42, 1)
    for tensor in (x, y):
        assert torch.allclose(tensor.mean(0), torch.zeros(tensor.shape[1]), atol=1e-6)
        assert torch.allclose(tensor.std(0, correction=0), torch.ones(tensor.shape[1]), atol=1e-5)
    assert torch.allclose(x[:, 0], y[:, 0], atol=0.1)


def test_words_become_labels_in_ascending_order(tmp_path) -> None:
    x, y = hugging_face.load(table(tmp_path), "sum", "word").train.tensors
    assert y.unique().tolist() == [0, 1]
    assert bool(x[y == 1].min() > x[y == 0].max())


def test_a_stream_reads_so_many_rows(tmp_path) -> None:
    data = hugging_face.load(table(tmp_path), "a", "word", limit=20)
    assert sum(len(part) for part in data if part is not None) == 20


def test_problems_choose_their_loss_by_the_target(tmp_path) -> None:
    classes = problem.build(problem.bind(f"hub_mlp(dataset={pictures(tmp_path)!r}, hidden=(4,))"))
    assert classes.size == 30 * 4 + 4 + 4 * 3 + 3
    assert "accuracy" in classes.metrics
    numbers = problem.build(
        problem.bind(f"hub_mlp(dataset={table(tmp_path)!r}, inputs='a,b', target='sum', hidden=())")
    )
    assert numbers.size == 3
    assert not numbers.metrics


def test_wrong_requests(tmp_path) -> None:
    with pytest.raises(DataMissing, match=r"absent\.parquet: no such file"):
        hugging_face.load("absent.parquet", "x", "y")
    with pytest.raises(UsageError, match="no column 'c'; there are a, b, sum, word"):
        hugging_face.load(table(tmp_path), "a,c", "word")
    (tmp_path / "nested.json").write_text('{"a": {"b": 1}, "y": 1}\n{"a": {"b": 2}, "y": 0}')
    with pytest.raises(UsageError, match="column 'a' does not hold numbers"):
        hugging_face.load(str(tmp_path / "nested.json"), "a", "y")
    (tmp_path / "empty.csv").write_text("a,b\n1,\n2,3\n")
    with pytest.raises(UsageError, match=r"empty\.csv: column 'b' has missing or infinite values in 1 rows, .* row 1"):
        hugging_face.load(str(tmp_path / "empty.csv"), "b", "a")
    with pytest.raises(UsageError, match=r"column 'b' must hold numbers or words, none missing, .*; found None"):
        hugging_face.load(str(tmp_path / "empty.csv"), "a", "b")
    (tmp_path / "header.csv").write_text("a,b\n")
    with pytest.raises((UsageError, DataMissing), match=r"header\.csv: "):
        hugging_face.load(str(tmp_path / "header.csv"), "a", "b")
    whole = Path(pictures(tmp_path)).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataMissing, match=r"cut\.parquet: datasets cannot load it"):
        hugging_face.load(str(tmp_path / "cut.parquet"), "image", "label")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataMissing, match=r"bad\.parquet: datasets cannot load it"):
        hugging_face.load(str(tmp_path / "bad.parquet"), "x", "y")
    with pytest.raises(DataMissing, match="nobody/nothing: datasets cannot load it"):
        hugging_face.load("nobody/nothing", "x", "y")


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv", "csv.gz", "json", "jsonl"])
def test_every_kind_of_file_holds_the_same_table(tmp_path, ending) -> None:
    import gzip

    rows = datasets.Dataset.from_dict({"x": [i * 0.5 for i in range(30)], "kind": ["ab"[i % 2] for i in range(30)]})
    file = tmp_path / f"t.{ending}"
    if ending == "arrow":
        rows.save_to_disk(tmp_path / "saved")
        file = next((tmp_path / "saved").glob("*.arrow"))
    elif ending == "csv.gz":
        rows.to_csv(tmp_path / "t.csv")
        file.write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    else:
        getattr(rows, {"jsonl": "to_json"}.get(ending, f"to_{ending}"))(file)
    data = hugging_face.load(str(file), "x", "kind")
    x, y = data.train.tensors
    assert x.shape == (22, 1) and x.mean().abs() < 1e-6
    assert sorted(y.tolist()) == sorted(y.tolist(), key=bool) and set(y.tolist()) == {0, 1}
    streamed = hugging_face.load(str(file), "x", "kind", limit=30)
    assert torch.equal(streamed.train.tensors[0], x) and torch.equal(streamed.train.tensors[1], y)


def test_texts_become_shares_of_frequent_words(tmp_path) -> None:
    rows = {"text": ["Good, good film", "bad film", "good"] * 10, "label": [1, 0, 1] * 10}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    datasets.Dataset.from_dict({"text": ["an awful film"], "label": [0]}).to_parquet(tmp_path / "test.parquet")
    (tmp_path / "set").mkdir()
    for part in ("train", "test"):
        (tmp_path / f"{part}.parquet").rename(tmp_path / "set" / f"{part}.parquet")
    words = hugging_face._frequent(rows["text"])
    assert words == ["good", "film", "bad"]
    found = hugging_face._shares("t", "text", rows["text"], words)
    assert torch.allclose(found[:3], torch.tensor([[2 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2], [1, 0, 0]]))
    data = hugging_face.load(str(tmp_path / "set"), "text", "label")
    assert data.train.tensors[0].shape == (30, 3) and data.test is not None and len(data.test) == 1
    made = problem.build(problem.bind(f"hub_mlp(dataset={str(tmp_path / 'set')!r}, inputs='text', hidden=())"))
    assert made.size == 3 * 2 + 2


def test_words_are_those_of_the_rows_that_are_trained_on(tmp_path) -> None:
    """Of a set with one part, too: each row has a word of its own, and no row that is held out has one that counts."""
    rows = {"text": [f"common w{i}" for i in range(40)], "label": [i % 2 for i in range(40)]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "one.parquet")
    data = hugging_face.load(str(tmp_path / "one.parquet"), "text", "label")
    order = np.random.RandomState(0).permutation(40)
    assert [len(part) for part in data if part] == [28, 6, 6]
    assert data.train.tensors[1].tolist() == [int(i) % 2 for i in order[:28]]
    assert data.train.tensors[0].shape == (28, 29)  # the common word, and one of each row
    for held in (data.valid, data.test):
        assert held is not None
        assert ((held.tensors[0] != data.train.tensors[0][:1]).sum(1) <= 2).all()
        assert (held.tensors[0].std(0) == 0).all()  # each has the common word alone


def test_a_column_of_text_becomes_a_language_model(tmp_path) -> None:
    lines = [f"line {i} of the song" for i in range(60)]
    (tmp_path / "song.txt").write_text("\n".join(lines))
    made = problem.build(problem.bind(f"hub_lstm(dataset={str(tmp_path / 'song.txt')!r}, length=10, hidden=8)"))
    assert made.carry == (4, 8) and made.valid is not None
    alphabet = sorted(set("\n".join(lines)))
    assert "".join(alphabet[i] for i in made.train.tensors[0][:2].flatten()) == "\n".join(lines)[:20]
    (tmp_path / "n.csv").write_text("a\n0.5\n0.25\n")
    with pytest.raises(UsageError, match="column 'a' does not hold text, found '0"):
        problem.build(problem.bind(f"hub_lstm(dataset={str(tmp_path / 'n.csv')!r}, inputs='a')"))


@pytest.mark.skipif(MNIST is None, reason="needs the data set mnist, which is not on this machine")
def test_real_images_are_equal_tensors_by_every_way(tmp_path) -> None:
    """The first images of MNIST as torchvision gives them, written to parquet as the hub keeps its copy."""
    assert MNIST is not None
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    ours = mnist_family.load("mnist")
    theirs = {}
    for part in ("train", "test"):
        try:
            whole = vision.datasets().MNIST(str(MNIST.parents[1]), train=part == "train")
        except RuntimeError:
            pytest.skip("mnist is here in a form that torchvision does not read")
        theirs[part] = torch.utils.data.Subset(whole, range(300))
        pictures, labels = zip(*theirs[part], strict=True)
        rows = datasets.Dataset.from_dict({"image": list(pictures), "label": list(labels)}, features=features)
        rows.to_parquet(tmp_path / "copy" / f"{part}-00000-of-00001.parquet")
    copy = hugging_face.load(str(tmp_path / "copy"), "image", "label")
    for part in ("train", "test"):
        x, y = getattr(copy, part).tensors
        assert x.shape == (300, 1, 28, 28) and y.dtype == torch.int64
        for other in (vision._tensors("MNIST", theirs[part]), getattr(ours, part).tensors):
            assert torch.equal(x, other[0][:300]) and torch.equal(y, other[1][:300])


def test_progress_is_shown_unless_silence_is_asked_for(tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("SUITE_DATA", "")
    datasets.enable_progress_bars()  # which the other tests have not
    for quiet in (False, True):
        file = tmp_path / f"quiet_{quiet}.csv"
        file.write_text("a,b\n" + "\n".join(f"{i + 0.5},{i % 3}" for i in range(20)))
        capfd.readouterr()
        with silence(quiet):
            hugging_face.load(str(file), "a", "b")
        told = capfd.readouterr()
        assert ("Generating" in told.err) is not quiet and told.out == ""
        assert not datasets.are_progress_bars_disabled()
