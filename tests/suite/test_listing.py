"""``list problems`` tells where each comes from, and with ``--full`` what it is made of."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from problems import problem
from suite.cli import cli


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """The problems of the test: embedded, of files, of missing data, and one that needs an argument."""
    names = ("digits_mlp", "rosenbrock", "cifar100_3c3d", "batch_norm")
    entries = {name: problem.find(name) for name in names}
    monkeypatch.setattr(problem, "_entries", entries)
    monkeypatch.setenv("SUITE_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")


def test_every_problem_tells_its_data_and_its_source() -> None:
    shown = CliRunner().invoke(cli, ["list", "problems"]).stdout
    assert "from DeepOBS cifar100_3c3d (Schneider et al. 2019); data: cifar100" in shown
    assert "from Deep Learning, chapter 6; UCI digits; data: digits" in shown


def test_full_tells_parameters_examples_target_and_minimum() -> None:
    asked = CliRunner().invoke(cli, ["list", "problems", "--full", "--json"])
    found = {entry["name"]: entry for entry in json.loads(asked.stdout)["problems"]}
    digits = found["digits_mlp"]
    assert digits["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert digits["examples"] == {"train": 1197, "valid": 300, "test": 300}
    assert digits["target"]["measure"] == "valid_accuracy" and digits["target"]["origin"]
    assert found["rosenbrock"]["minimum"] == 0
    assert "parameters" not in found["cifar100_3c3d"] and "parameters" not in found["batch_norm"]
    shown = CliRunner().invoke(cli, ["list", "problems", "--full"]).stdout
    assert "2410 parameters; examples: 1197 train, 300 valid, 300 test; target: valid_accuracy >= 0.95" in shown
