"""A table of costs that takes longer than there is time: what is kept, what comes first, what is told as missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from problems.names import UsageError
from suite import cost, cost_rows, updates
from suite.cli import cli
from suite.costs import kept, load_costs

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"
WIDE = """
import torch
from problems import Data, Problem, layers, problem
from problems.layout import Layout, dense
from problems.starts import lecun_uniform, start

def made(name, width):
    layout = Layout(dense("1", width, width))
    predict = lambda p, batch: layers.linear(batch[0], p["1.weight"], p["1.bias"])
    x = torch.ones(300, width)
    return Problem(name, layout, predict, lambda out, batch: (out ** 2).mean(), Data((x,)),
                   start=start(layout, lecun_uniform), batch_size=100)

@problem()
def wide() -> Problem:
    "Takes long."
    return made("wide", 1500)

@problem()
def narrow() -> Problem:
    "Takes little."
    return made("narrow", 10)

@problem()
def away() -> Problem:
    "Is not there."
    from problems.names import UsageError
    raise UsageError("away: no such data here")
"""


@pytest.fixture(scope="module")
def one():
    return cost.measure("linear_regression", "sgd", seconds=0.1)


@pytest.fixture
def ask(tmp_path, monkeypatch, one):
    """The command with what it prints; ``ask.measured`` are the rows that it measured, in their order.

    Which is what it is about, so each is given the same numbers.
    """
    (tmp_path / "own.py").write_text(WIDE)
    measured = []

    def noted(at, text, **settings):
        measured.append((at.name.rpartition(":")[2], text.name))
        return replace(one, problem=str(at), optimizer=str(text), batch_size=100)

    monkeypatch.setattr(cost, "measure", noted)

    def run(names, texts, *options):
        measured.clear()
        names = ",".join(f"{tmp_path / 'own.py'}:{name}" for name in names.split(","))
        words = ["cost", names, texts, "--seconds", "0.1", "--results", str(tmp_path / "kept"), *options]
        return CliRunner().invoke(cli, words)

    run.measured, run.folder = measured, tmp_path / "kept"
    return run


def test_what_is_kept_is_taken_and_the_rest_measured_cheapest_first(ask):
    assert ask("narrow", "sgd").exit_code == 0
    done = ask("wide,narrow", "sgd,adam", "--resume", "--json")
    assert done.exit_code == 0 and ask.measured == [("narrow", "adam"), ("wide", "sgd"), ("wide", "adam")]
    assert "1 of 4 are kept" in done.stderr
    found = json.loads(done.stdout)
    names = [(c["problem"].rpartition(":")[2], c["optimizer"].partition("(")[0]) for c in found["costs"]]
    assert names == [("wide", "sgd"), ("wide", "adam"), ("narrow", "sgd"), ("narrow", "adam")]  # as they were asked for
    assert found["missing"] == [] and len(load_costs(ask.folder)) == 4
    again = ask("wide,narrow", "sgd,adam", "--resume", "--json")
    assert ask.measured == [] and json.loads(again.stdout)["costs"] == found["costs"]
    ask("narrow", "sgd")
    assert ask.measured == [("narrow", "sgd")]  # without --resume it is measured anew


def test_what_another_version_or_other_settings_cost_is_no_answer(ask):
    ask("narrow", "sgd")
    (file,) = (ask.folder / "costs").glob("*.json")
    record = json.loads(file.read_text())
    of = [record[key] for key in ("problem", "optimizer", "batch_size", "dtype", "device")]
    found = kept(*of, ask.folder)
    assert found is not None and found.to_dict() == record
    assert kept(*of[:2], 7, *of[3:], ask.folder) is None
    for spoilt in ({**record, "environment": {**record["environment"], "commit": "another"}}, {"seconds": 1.0}):
        file.write_text(json.dumps(spoilt))
        assert kept(*of, ask.folder) is None
    file.write_text("{")
    assert kept(*of, ask.folder) is None


def test_a_budget_ends_the_work_and_the_same_command_goes_on(ask, monkeypatch):
    monkeypatch.setattr(cost_rows, "GRADIENTS", 10**9)  # nothing fits beside what is begun anyhow
    first = ask("wide,narrow", "sgd,adam", "--budget", "60")
    assert first.exit_code == 1 and len(ask.measured) == 1 and ask.measured[0][0] == "narrow"
    assert "3 of 4; the same command goes on with them" in first.stdout
    left = [line for line in first.stdout.splitlines() if line.endswith("own.py:wide: sgd, adam")]
    assert len(left) == 1
    for rest in (2, 1, 0):
        done = ask("wide,narrow", "sgd,adam", "--budget", "60", "--json")
        assert len(json.loads(done.stdout)["missing"]) == rest and done.exit_code == (rest > 0)


def test_no_time_at_all_tells_what_is_missing(ask):
    done = ask("narrow", "sgd", "--budget", "0")
    assert done.exit_code == 1 and ask.measured == []
    assert "missing after 0 s: 1 of 1" in done.stdout and not ask.folder.exists()


def test_a_problem_that_is_not_there_does_not_stop_the_others(ask):
    done = ask("away,narrow", "sgd,adam")
    assert done.exit_code == 0 and [at for at, _ in ask.measured] == ["narrow", "narrow"]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("skipped")]
    assert line.startswith("skipped: sgd, adam on ") and "no such data here" in line
    assert ask("away", "sgd").exit_code == 2


def test_patterns_of_torch_s_classes_stand_for_those_that_can_run(ask):
    told = ask("narrow", "sgd,torch.S*")
    assert told.exit_code == 0 and ask.measured == [("narrow", "sgd"), ("narrow", "torch.SGD")]
    assert "left out: torch.SparseAdam: SparseAdam does not support dense gradients" in told.stdout
    found = json.loads(ask("narrow", "sgd,torch.S*", "--json").stdout)
    assert [one["name"] for one in found["left_out"]] == ["torch.SparseAdam"]
    wrong = ask("narrow", "torch.Sparse*")
    assert wrong.exit_code == 2 and "torch.SparseAdam: SparseAdam does not support" in wrong.stderr


def test_pairs_are_not_resumed(tmp_path):
    done = CliRunner().invoke(
        cli, ["cost", "digits_mlp", "--compare", "sgd", "adam", "--resume", "--results", str(tmp_path)]
    )
    assert done.exit_code == 2 and "--compare measures its pairs anew" in done.output


def test_updates_go_on_too(tmp_path, monkeypatch):
    measured, some = [], updates.measure("sgd", 10, seconds=0.1, forms=("kernels", "foreach"))

    def noted(spec, count, **settings):
        measured.append((spec.name, count))
        if spec.name == "newton":
            raise UsageError("newton: asks for hessian evaluations")
        return [replace(each, optimizer=str(spec), parameters=count) for each in some]

    monkeypatch.setattr(updates, "measure", noted)

    def ask(*options):
        measured.clear()
        words = ["cost", "--update", "adam,sgd,newton", "--sizes", "100,10", "--seconds", "0.1", "--json"]
        return CliRunner().invoke(cli, [*words, "--results", str(tmp_path), *options])

    first = ask("--budget", "0")
    found = json.loads(first.stdout)
    assert first.exit_code == 1 and measured == [] and len(found["missing"]) == 6 and found["updates"] == []
    whole = ask("--resume")
    found = json.loads(whole.stdout)
    assert whole.exit_code == 0 and found["missing"] == []
    assert [(u["optimizer"].partition("(")[0], u["parameters"], u["form"]) for u in found["updates"]] == [
        (name, count, form) for name in ("adam", "sgd") for count in (100, 10) for form in ("kernels", "foreach")
    ]
    assert [one["optimizer"] for one in found["skipped"]] == ["newton"]
    again = ask("--resume")
    assert measured == [("newton", 10)] and json.loads(again.stdout) == found
