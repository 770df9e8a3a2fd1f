"""What is stored is taken for a run's result only while it is of the same data."""

from __future__ import annotations

import textwrap

import pytest

from problems.data import hugging_face
from suite import engine
from suite.ledger import Ledger
from suite.spec import Run
from suite.store import Store


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "table.csv"
    write(file, 1.0)
    return file


def write(file, slope):
    from problems.data import tables

    tables.split.cache_clear()
    rows = "\n".join(f"{x},{x * x},{slope * x + (x % 3)}" for x in range(20))
    file.write_text(f"a,b,y\n{rows}\n")


def obtain(folder, text, steps=2):
    trained = []

    def train(runs, **options):
        trained.extend(runs)
        engine.train(runs, **options)

    run = Run.make(text, "sgd(lr=0.1)", steps=steps, eval_every=steps, batch_size=4)
    return Ledger(Store(folder), train=train).obtain([run])[run], trained


def test_runs_on_a_file_that_has_changed_are_trained_anew(tmp_path, table):
    text = f"table_mlp(file='{table}')"
    first, trained = obtain(tmp_path / "results", text)
    assert len(trained) == 1
    again, trained = obtain(tmp_path / "results", text)
    assert (again, trained) == (first, [])
    write(table, -3.0)
    with pytest.warns(UserWarning, match=r"its data are not what they were, so its runs are trained anew"):
        changed, trained = obtain(tmp_path / "results", text)
    assert len(trained) == 1
    assert changed.summary["final_train_loss"] != first.summary["final_train_loss"]
    assert obtain(tmp_path / "results", text) == (changed, [])


def test_so_are_those_of_a_problem_of_ones_own_that_reads_one(tmp_path, table):
    (tmp_path / "reading.py").write_text(
        textwrap.dedent(f"""
        import numpy
        from torch import nn
        from problems import Problem, problem

        @problem()
        def mine():
            '''Reads a table.'''
            values = numpy.loadtxt({str(table)!r}, delimiter=",", skiprows=1, dtype="float32")
            return Problem.from_module(nn.Linear(2, 1), nn.functional.mse_loss, (values[:, :2], values[:, 2:]))
        """)
    )
    text = f"{tmp_path}/reading.py:mine"
    obtain(tmp_path / "results", text)
    assert obtain(tmp_path / "results", text)[1] == []
    write(table, 2.0)
    with pytest.warns(UserWarning, match=r"not what they were"):
        assert len(obtain(tmp_path / "results", text)[1]) == 1


def test_so_are_those_of_a_set_of_the_hub_that_its_publisher_has_changed(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    slope = [1.0]

    def opened(name, config, streaming):
        rows = {"x": [float(i) for i in range(30)], "y": [slope[0] * i + i % 3 for i in range(30)]}
        return {"train": datasets.Dataset.from_dict(rows)}

    monkeypatch.setattr(hugging_face, "_opened", opened)
    plain = "hub_mlp(dataset='somebody/set', inputs='x', target='y', hidden=())"
    for text in (plain, f"l2({plain})"):
        slope[0] = 1.0
        hugging_face.load.cache_clear()
        first, trained = obtain(tmp_path / "results", text)
        assert len(trained) == 1
        hugging_face.load.cache_clear()  # as another process reads it
        assert obtain(tmp_path / "results", text) == (first, [])
        slope[0] = -2.0
        hugging_face.load.cache_clear()
        with pytest.warns(UserWarning, match=r"somebody/set.*its data are not what they were"):
            assert len(obtain(tmp_path / "results", text)[1]) == 1
    hugging_face.load.cache_clear()


def test_a_start_of_ones_own_that_ignores_its_generator_is_drawn_alike_all_the_same(tmp_path):
    (tmp_path / "start.py").write_text(
        "import torch\n\ndef mine():\n    return lambda problem, generator: 0.1 * torch.randn(problem.size)\n"
        "\ndef array():\n    return lambda problem, generator: [0.0] * problem.size\n"
    )
    values = []
    for folder in ("one", "two"):
        run = Run.make("digits_logistic", "sgd", f"{tmp_path}/start.py:mine", steps=1, eval_every=1)
        values.append(Ledger(Store(tmp_path / folder)).obtain([run])[run].summary["final_train_loss"])
    assert values[0] == values[1]
    run = Run.make("digits_logistic", "sgd", f"{tmp_path}/start.py:array", steps=1, eval_every=1)
    result = Ledger(Store(tmp_path / "one")).obtain([run])[run]
    assert (result.status, "theta must be a tensor [650], got list" in result.detail) == ("failed", True)
