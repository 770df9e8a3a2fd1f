"""``list problems`` tells where each comes from and what it is made of; ``--full`` makes them to look."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from problems import facts, problem
from suite import listing
from suite.cli import cli


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """The problems of the test: embedded, of missing data, one that needs an argument, and a transform."""
    names = ("digits_mlp", "rosenbrock", "cifar100_3c3d", "text_lstm", "batch_norm")
    entries = {name: problem.find(name) for name in names}
    monkeypatch.setattr(problem, "_entries", entries)
    monkeypatch.setenv("SUITE_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")


def test_every_problem_tells_its_data_and_its_source() -> None:
    shown = CliRunner().invoke(cli, ["list", "problems"]).stdout
    assert "from DeepOBS cifar100_3c3d (Schneider et al. 2019); data: cifar100" in shown
    assert "from Deep Learning, chapter 6; UCI digits; data: digits" in shown


def test_every_problem_tells_its_size_examples_and_target_at_once(monkeypatch) -> None:
    monkeypatch.setattr(problem, "build", lambda spec: pytest.fail("nothing is made for a list"))
    shown = CliRunner().invoke(cli, ["list", "problems"]).stdout
    assert "2410 parameters; examples: 1197 train, 300 valid, 300 test" in shown
    assert "target: valid_accuracy >= 0.95, reached by SGD at rate 0.1 in 14 to 27 epochs" in shown
    assert "2 parameters; no examples; minimum: 0" in shown
    assert "918340 parameters; examples: 50000 train, 10000 test" in shown
    assert "data: given" in shown and "data: computed" in shown
    found = json.loads(CliRunner().invoke(cli, ["list", "problems", "--json"]).stdout)["problems"]
    assert next(entry for entry in found if entry["name"] == "rosenbrock")["minimum"] == 0


def test_full_makes_the_problems_whose_data_are_here(monkeypatch) -> None:
    monkeypatch.setattr(facts, "known", dict)
    asked = CliRunner().invoke(cli, ["list", "problems", "--full", "--json"])
    found = {entry["name"]: entry for entry in json.loads(asked.stdout)["problems"]}
    digits = found["digits_mlp"]
    assert digits["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert digits["examples"] == {"train": 1197, "valid": 300, "test": 300}
    assert digits["target"]["measure"] == "valid_accuracy" and digits["target"]["origin"]
    assert found["rosenbrock"]["minimum"] == 0
    assert "parameters" not in found["cifar100_3c3d"] and "parameters" not in found["text_lstm"]
    assert "batch_norm" not in found


def test_transforms_and_strategies_are_listed_as_such() -> None:
    shown = {kind: CliRunner().invoke(cli, ["list", kind]).stdout for kind in ("transforms", "strategies", "stops")}
    assert shown["transforms"].startswith("batch_norm") and "digits_mlp" not in shown["transforms"]
    assert "clip_value" in shown["strategies"] and "rmsprop" not in shown["strategies"]
    assert "clip_value" not in CliRunner().invoke(cli, ["list", "optimizers"]).stdout
    assert "gradient_norm" in shown["stops"]


def test_the_families_of_optimizers_are_told_without_importing_them(monkeypatch) -> None:
    monkeypatch.setattr(listing, "find_spec", lambda name: None if name == "pytorch_optimizer" else name)
    shown = CliRunner().invoke(cli, ["list", "optimizers"]).stdout
    assert "torch.<Name> is a class of torch.optim, torch.* all of them that run as they are.\n" in shown
    assert "zoo.* all of them that run as they are, which is not installed.\n" in shown
    assert "torch.<Name>" not in CliRunner().invoke(cli, ["list", "problems"]).stdout
