"""Tables in the user's files, read as scikit-learn and NumPy read them, and refused with reasons."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import jacrev

from problems import UsageError, problem
from problems.data import housing, tables
from problems.data.folders import DataDamaged, DataMissing

RANDOM = np.random.RandomState(0)
X = np.round(RANDOM.normal(size=(40, 3)), 3)
Y = (X[:, 0] + 0.3 * RANDOM.normal(size=40) > 0).astype(float) * 2 - 1


def write_csv(path: Path) -> str:
    rows = "\n".join(f"{a},{int(y)},{b},{c}" for (a, b, c), y in zip(X, Y, strict=True))
    path.write_text(f"a,kind,b,c\n{rows}\n")
    return str(path)


def write_libsvm(path: Path) -> str:
    datasets = pytest.importorskip("sklearn.datasets")
    datasets.dump_svmlight_file(X, Y, str(path), zero_based=False)
    return str(path)


def write_npz(path: Path) -> str:
    np.savez(path, x=X.reshape(40, 3, 1), y=Y)
    return str(path)


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    return tables.read(write_csv(path / "t.csv"), "kind")


def test_three_formats_give_the_same_table(tmp_path) -> None:
    others = [write_libsvm(tmp_path / "t.svm"), write_npz(tmp_path / "t.npz")]
    ways = [read_csv(tmp_path), *map(tables.read, others)]
    for x, y in ways:
        assert np.allclose(x, X, atol=1e-12)
        assert np.array_equal(y, Y)


def test_last_column_is_the_default_target(tmp_path) -> None:
    x, y = tables.read(write_csv(tmp_path / "t.csv"))
    assert np.array_equal(y, X[:, 2])
    assert np.array_equal(x[:, 1], Y)


def test_compressed_and_below_the_named_folder(tmp_path, monkeypatch) -> None:
    path = Path(write_libsvm(tmp_path / "a9a"))
    (tmp_path / "a9a.gz").write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    for name in ("a9a", "a9a.gz"):
        assert np.allclose(tables.read(name)[0], X)


def test_inputs_are_standardized_by_the_training_part_alone(tmp_path) -> None:
    data = tables.split(write_npz(tmp_path / "t.npz"), classes=True, seed=3)
    assert data.valid is not None
    assert [len(part) for part in data if part is not None] == [28, 6, 6]
    x, labels = data.train.tensors
    assert torch.allclose(x.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(x.std(0, correction=0), torch.ones(3), atol=1e-6)
    assert not torch.allclose(data.valid.tensors[0].mean(0), torch.zeros(3), atol=1e-2)
    assert labels.unique().tolist() == [0, 1]


def test_logistic_regression_is_sklearns(tmp_path) -> None:
    """The minimum that Newton's method finds here is the one that scikit-learn finds."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    decay = 0.05
    bound = problem.bind(f"table_logistic(file={str(write_npz(tmp_path / 't.npz'))!r}, decay={decay})")
    p = problem.build(bound).to("cpu", torch.float64)
    x, y = p.train.tensors
    assert float(p.loss(torch.zeros(p.size).double(), p.train.tensors)) == pytest.approx(math.log(2))
    theta = torch.zeros(p.size, dtype=torch.float64)
    for _ in range(20):
        g = torch.func.grad(p.loss)(theta, p.train.tensors)
        theta = theta - torch.linalg.pinv(jacrev(jacrev(p.loss))(theta, p.train.tensors)) @ g
    weight = p.layout.split(theta)["layer1.weight"]
    # two classes: softmax with rows w, −w and a decay on both is a logistic with half the decay on 2w
    model = linear_model.LogisticRegression(C=2 / (decay * len(x)), tol=1e-10, max_iter=10000)
    theirs = model.fit(x.numpy(), y.numpy())
    assert (weight[1] - weight[0]).tolist() == pytest.approx(theirs.coef_[0].tolist(), abs=1e-5)


WRONG = [
    ("t.csv", "a,b\n1,2\n3\n", "row 2 has 1 fields, the header 2"),
    ("t.csv", "a,b\n1,x\n", "row 1, column 'b' is 'x', not a number"),
    ("t.csv", "a,b\n1,2\n3,\n", "1 row has a missing or infinite value, the first is row 2"),
    ("t.csv", "a,b\n1,nan\n", "missing or infinite"),
    ("t.csv", "a,b\n", "needs a header line and at least one row"),
    ("t.csv", "", "needs a header line"),
    ("t.csv", "1,2\n3,4\n", "needs a header line with the columns' names, begins with 1,2"),
    ("t.csv", "a,b\n1,inf\n", "missing or infinite"),
    ("t.csv.gz", "no gzip", "gzip"),
    ("t.svm", "", "has no rows"),
    ("t.svm", "1 0:3\n", "line 1: expected index:value with an index from 1, got '0:3'"),
    ("t.svm", "1 2:3\n1 7\n", "line 2: expected index:value"),
    ("t.svm", "yes 1:3\n", "line 1, target is 'yes', not a number"),
    ("t.npz", "no archive", ""),
]


@pytest.mark.parametrize(("name", "text", "wrong"), WRONG)
def test_what_is_wrong_is_said(name, text, wrong, tmp_path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataDamaged) as raised:
        tables.read(str(tmp_path / name))
    assert str(tmp_path / name) in str(raised.value)
    assert wrong in str(raised.value)


def test_words_in_the_target_column_are_classes(tmp_path) -> None:
    rows = [f"{i / 7},{('setosa', 'versicolor', 'virginica')[i % 3]}" for i in range(30)]
    (tmp_path / "iris.csv").write_text("sepal_length,species\n" + "\n".join(rows) + "\n")
    data = tables.split(str(tmp_path / "iris.csv"), classes=True)
    labels = torch.cat([part.tensors[1] for part in data if part is not None])
    assert torch.bincount(labels).tolist() == [10, 10, 10]
    with pytest.raises(DataDamaged, match="row 1, column 'species' is 'setosa', not a number"):
        tables.split(str(tmp_path / "iris.csv"), classes=False)
    (tmp_path / "gap.csv").write_text("a,b\n1,yes\n2,\n")
    with pytest.raises(DataDamaged, match="1 row has a missing or infinite value, the first is row 2"):
        tables.read(str(tmp_path / "gap.csv"), words=True)


def test_arrays_of_words_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "t.npz", x=np.array([["a"], ["b"]]), y=np.array([0, 1]))
    with pytest.raises(DataDamaged, match=r"t\.npz: could not convert string to float"):
        tables.read(str(tmp_path / "t.npz"))


def test_wrong_requests(tmp_path) -> None:
    with pytest.raises(DataMissing, match="no such file; looked for"):
        tables.read("absent.csv")
    with pytest.raises(UsageError, match="no column 'sort'; there are a, kind, b, c"):
        tables.read(write_csv(tmp_path / "t.csv"), "sort")
    with pytest.raises(UsageError, match="table_logistic: file must be given"):
        problem.bind("table_logistic")
    np.savez(tmp_path / "few.npz", x=X[:5], y=Y[:5])
    with pytest.raises(UsageError, match="at least 8 rows"):
        tables.split(str(tmp_path / "few.npz"), classes=True)
    np.savez(tmp_path / "names.npz", x=X, z=Y)
    with pytest.raises(DataDamaged, match="must have arrays x and y, has x, z"):
        tables.read(str(tmp_path / "names.npz"))


HEADER = "longitude,total_bedrooms,median_house_value,ocean_proximity\n"


def write_housing(folder: Path, rows: list[str]) -> None:
    housing.load.cache_clear()
    (folder / "california").mkdir(exist_ok=True)
    (folder / "california" / "housing.csv").write_text(HEADER + "\n".join(rows) + "\n")


def test_housing_leaves_incomplete_rows_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    rows = [f"{i},{i * i % 7},{1000 * i},{housing.KINDS[i % 5]}" for i in range(20)]
    write_housing(tmp_path, [*rows, "3,,5,INLAND"])
    data = housing.load()
    assert sum(len(part) for part in data if part is not None) == 20
    x, y = data.train.tensors
    assert x.shape[1] == 2 + 5
    assert torch.allclose(x[:, 0], y[:, 0], atol=1e-5)
    write_housing(tmp_path, [*rows, "3,1,5,MARS"])
    with pytest.raises(DataDamaged, match=r"row 21: ocean_proximity must be one of .* got 'MARS'"):
        housing.load()
    for row, wrong in [
        ("nan,1,5,INLAND", "the first is row 21"),
        ("3,1", "row 21: ocean_proximity"),
        ("3,x,5,INLAND", "'x'"),
    ]:
        write_housing(tmp_path, [*rows, row])
        with pytest.raises(DataDamaged, match=rf"housing\.csv: .*{wrong}"):
            housing.load()
    housing.load.cache_clear()
