from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import suite
from problems.names import UsageError
from suite.reporting.evidence import Evidence
from suite.reporting.page import _notes
from suite.spec import Result, Run
from suite.store import Store, StoreError

TRACE = ((0, "train_loss", 2.5), (0, "test_accuracy", 0.125), (10, "train_loss", 0.1 + 0.2), (10, "test_accuracy", 1.0))
ENVIRONMENT = {"processor": "a processor", "threads": 1, "torch": "2.15.0"}


def result(seed: int = 0, status: str = "done", optimizer: str = "adam(lr=0.01)") -> Result:
    run = Run.make("digits_mlp", optimizer, "gaussian(std=0.5)", seed=seed, steps=10)
    return Result(run, status, "", TRACE, {"final_train_loss": 0.3, "steps_to_target": None}, ENVIRONMENT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_what_is_saved_is_found(store: Store) -> None:
    saved = result()
    assert store.find(saved.run) is None
    store.save(saved)
    assert store.find(saved.run) == saved
    assert store.find(replace(saved.run, seed=1)) is None
    assert list(store) == [saved]
    assert [path.name for path in store.runs.iterdir()] == [f"{saved.run.id}.parquet"]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 5e-324, 1e308])
def test_values_are_kept_to_the_last_bit(store: Store, value: float) -> None:
    saved = replace(result(), trace=((0, "train_loss", value),), summary={"final_train_loss": value})
    store.save(saved)
    assert store.find(saved.run) == saved


def test_a_run_without_measurements(store: Store) -> None:
    saved = replace(result(status="skipped"), detail="no layers", trace=())
    store.save(saved)
    assert store.find(saved.run) == saved


def test_the_file_says_by_itself_what_it_is(store: Store) -> None:
    saved = result()
    store.save(saved)
    table = pq.read_table(store.path(saved.run))
    assert table.column_names == ["step", "measure", "value"]
    assert table.to_pylist() == [dict(zip(("step", "measure", "value"), row, strict=True)) for row in TRACE]
    (record,) = (json.loads(text) for key, text in table.schema.metadata.items() if key == b"suite.result")
    assert record["run"]["seed"] == 0
    assert record["status"] == "done"
    assert record["environment"]["processor"] == "a processor"


def test_a_failed_run_is_kept_but_tried_again(store: Store) -> None:
    store.save(result(status="failed"))
    assert store.find(result().run) is None
    assert [r.status for r in store] == ["failed"]
    store.save(result())
    assert [r.status for r in store] == ["done"]


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "foreign", "record"])
def test_unreadable_files_are_named_and_passed_over(store: Store, damage: str) -> None:
    for seed in range(3):
        store.save(result(seed))
    bad = store.path(result(1).run)
    whole = bad.read_bytes()
    if damage == "foreign":
        pq.write_table(pq.read_table(bad).replace_schema_metadata(None), bad)
    elif damage == "record":
        table = pq.read_table(bad)
        pq.write_table(table.replace_schema_metadata({b"suite.result": b'{"run": {"tempo": 3}}'}), bad)
    else:
        bad.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"what?"}[damage])
    with pytest.warns(UserWarning, match=bad.name):
        assert [r.run.seed for r in sorted(store, key=lambda r: r.run.seed)] == [0, 2]
    with pytest.warns(UserWarning, match=bad.name):
        assert store.find(result(1).run) is None
    with pytest.warns(UserWarning, match=bad.name):
        runs, traces = suite.load(store.folder)
    assert sorted(runs["seed"]) == [0, 2]
    assert len(traces) == 2 * len(TRACE)
    store.save(result(1))  # it can be trained again
    assert store.find(result(1).run) == result(1)


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_loses_nothing_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store.save(result(0))

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match=r"cannot be written: No space left on device.*--results"):
        store.save(result(1))
    monkeypatch.undo()
    assert list(store) == [result(0)]
    assert len(list(store.runs.iterdir())) == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "taken").save(result())


def test_a_kill_in_the_middle_leaves_only_whole_results(tmp_path: Path) -> None:
    script = """
        import sys
        from dataclasses import replace
        from suite.spec import Result, Run
        from suite.store import Store
        store = Store(sys.argv[1])
        run = Run.make("digits_mlp", "adam")
        trace = tuple((k, "train_loss", float(k)) for k in range(2000))
        for seed in range(10**6):
            store.save(Result(replace(run, seed=seed), "done", trace=trace))
            print(seed, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(20):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = 20 + len(process.stdout.readlines())
    process.wait()
    found = list(Store(tmp_path))
    assert told <= len(found) <= told + 1
    assert all(len(r.trace) == 2000 for r in found)


def test_sweeping_removes_only_what_nobody_writes_any_more(store: Store) -> None:
    store.save(result())
    old, new = store.runs / "a.1.part", store.runs / "b.2.part"
    old.touch()
    new.touch()
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    store.sweep()
    assert not old.exists()
    assert new.exists()
    assert list(store) == [result()]


def test_load_gives_tidy_tables(store: Store) -> None:
    store.save(result(0))
    store.save(result(1, optimizer="clip(sgd(lr=cosine(0.5, steps=9)), norm=2.0)"))
    runs, traces = suite.load(store.folder)
    runs = runs.set_index("seed")
    assert runs.loc[0, "optimizer"] == "adam"
    assert runs.loc[0, "optimizer.lr"] == 0.01
    assert runs.loc[1, "optimizer"] == "clip(sgd(cosine))"
    assert runs.loc[1, "optimizer.norm"] == 2.0
    assert runs.loc[1, "optimizer.optimizer"] == "sgd(cosine)"
    assert runs.loc[1, "optimizer.optimizer.lr.value"] == 0.5
    assert runs.loc[0, "initializer"] == "gaussian"
    assert runs.loc[0, "initializer.std"] == 0.5
    assert runs.loc[0, "problem"] == "digits_mlp"
    assert runs.loc[0, "steps"] == 10
    assert runs.loc[0, "status"] == "done"
    assert runs.loc[0, "final_train_loss"] == 0.3
    assert runs.loc[0, "environment.processor"] == "a processor"
    assert list(traces.columns) == ["run", "step", "measure", "value"]
    of_first = traces[traces["run"] == runs.loc[0, "run"]]
    assert list(of_first[["step", "measure", "value"]].itertuples(index=False, name=None)) == list(TRACE)


def test_load_of_an_empty_store_and_of_none(tmp_path: Path) -> None:
    runs, traces = suite.load(tmp_path)
    assert runs.empty
    assert traces.empty
    assert list(traces.columns) == ["run", "step", "measure", "value"]
    with pytest.raises(UsageError, match="no such folder of results"):
        suite.load(tmp_path / "nothing")


LOADERS = ("load", "load_comparisons", "load_costs", "load_landscapes", "load_spectra", "load_updates")


@pytest.mark.parametrize("name", LOADERS)
def test_what_loads_results_says_where_there_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"nowhere: no such folder of results"):
        getattr(suite, name)(str(tmp_path / "nowhere"))
    assert len(getattr(suite, name)(str(tmp_path))) == (2 if name == "load" else 0)  # two empty tables


def test_the_package_shows_what_it_offers_and_nothing_else() -> None:
    assert dir(suite) == sorted(suite.__all__)
    assert repr(suite.optimizer).startswith("<registry of optimizers: names()")


@pytest.mark.parametrize("how", ["runs is a file", "no folder can be made"])
def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_trained(tmp_path: Path, how: str) -> None:
    (tmp_path / "taken").write_text("a file")
    folder = tmp_path / "taken" if how == "runs is a file" else tmp_path / "taken" / "below"
    with pytest.raises(StoreError, match=r"cannot be written to: .*; name another with --results"):
        Store(folder).ready()


def test_a_result_of_another_run_under_a_runs_name_is_not_taken_for_its_own(store: Store) -> None:
    saved, other = result(), result(seed=1)
    store.save(saved)
    store.path(saved.run).rename(store.path(other.run))
    assert store.find(other.run) is None


def test_runs_by_older_definitions_are_told_from_those_of_now(store: Store) -> None:
    store.save(result(0))
    store.save(result(1))
    whole = pq.read_table(store.path(result(0).run))
    record = json.loads(whole.schema.metadata[b"suite.result"])
    record["run"]["id"] = "0" * 20  # the same settings, under the name of another definition
    old = store.runs / f"{record['run']['id']}.parquet"
    pq.write_table(whole.replace_schema_metadata({b"suite.result": json.dumps(record)}), old)
    with pytest.warns(UserWarning, match=r"1 of 3 runs are by older definitions .* runs\[~runs\.superseded\]"):
        runs, traces = suite.load(store.folder)
    assert dict(zip(runs["run"], runs["superseded"], strict=True)) == {
        result(0).run.id: False,
        result(1).run.id: False,
        "0" * 20: True,
    }
    assert len(traces) == 3 * len(TRACE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence = Evidence.read(str(store.folder))
        assert sorted(evidence.alone["seed"]) == [0, 1]
        assert any(note.startswith("1 run by older definitions") for note in _notes(evidence))
        old.unlink()
        runs, _ = suite.load(store.folder)
    assert not runs["superseded"].any()
