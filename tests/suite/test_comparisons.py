from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine

import suite
from suite import comparisons, records
from suite.ledger import Ledger
from suite.outcome import Comparison, compare
from suite.plan import Question, plan
from suite.store import Store, StoreError

QUESTION = Question("digits_mlp", "adam, clip(sgd, norm=1.0)", "default", trials=4, seeds=6, steps=20)


def outcome(folder: Path, question: Question = QUESTION) -> Comparison:
    return compare(plan(question), Ledger(Store(folder), train=FakeEngine()), lambda phase, runs: lambda p: None)


def test_a_comparison_is_kept_with_the_runs_it_came_from(tmp_path: Path) -> None:
    comparisons.save(outcome(tmp_path), tmp_path)
    (found,) = suite.load_comparisons(str(tmp_path))
    runs, _ = suite.load(str(tmp_path))
    known = runs.set_index("run")
    assert found["question"]["trials"] == 4
    assert found["problems"][0]["better"] == {
        "valid_accuracy": "higher",
        "test_accuracy": "higher",
        "test_loss": "lower",
    }
    for row in found["rows"]:
        assert set(known.loc[row["runs"], "optimizer_text"]) == {row["best"]}
        assert list(known.loc[row["runs"], "seed"]) == list(range(6))
        assert len(row["trials"]) == 4
        for trial in row["trials"]:
            (value,) = trial["settings"].values()
            assert f"lr={value!r}" in known.loc[trial["runs"][0], "optimizer_text"]
        assert row["settings"] in [trial["settings"] for trial in row["trials"]]


def test_the_same_comparison_replaces_itself_and_another_does_not(tmp_path: Path) -> None:
    for _ in range(2):
        comparisons.save(outcome(tmp_path), tmp_path)
    assert len(comparisons.load(tmp_path)) == 1
    comparisons.save(outcome(tmp_path, replace(QUESTION, optimizers="adam")), tmp_path)
    assert len(comparisons.load(tmp_path)) == 2


def test_unreadable_records_are_named_and_passed_over(tmp_path: Path) -> None:
    records.save({"a": 1}, tmp_path, "one")
    (tmp_path / "bad.json").write_text("{")
    with pytest.warns(UserWarning, match=r"bad\.json is not a readable record"):
        assert records.load(tmp_path) == [{"a": 1}]


def test_infinity_is_null_as_json_has_none(tmp_path: Path) -> None:
    path = records.save({"loss": float("inf")}, tmp_path, ["x", 1])
    assert json.loads(path.read_text()) == {"loss": None}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        records.save({}, tmp_path / "taken" / "x", 0)
