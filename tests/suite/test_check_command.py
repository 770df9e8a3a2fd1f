"""``check`` says what holds of whatever it is given, in words for the author."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from suite.cli import cli
from suite.initializers import initializer
from suite.other_checks import check_initializer, check_problem

HERE = Path(__file__).parent

BROKEN = """
import torch
from problems import Data, Problem, problem
from problems.layout import Layout, dense
from suite import initializer

def made(name, loss, start=None):
    layout = Layout(tuple(dense("1", 3, 1)))
    data = Data((torch.ones(8, 3),))
    start = start or (lambda generator: torch.ones(layout.size))
    return Problem(name, layout, lambda p, batch: p["1.weight"], lambda out, batch: loss(out, batch), data, start=start)

@problem()
def detached():
    return made("detached", lambda w, batch: w.square().sum() * w.detach().sum())

@problem()
def impure():
    return made("impure", lambda w, batch: (w.square() * batch[0].mul_(2)).sum())

@problem()
def forgetful():
    return made("forgetful", lambda w, batch: w.square().sum(), lambda generator: torch.randn(4))

@initializer()
def unseeded():
    return lambda problem, generator: torch.randn(problem.size)

@initializer()
def short():
    return lambda problem, generator: torch.zeros(3)
"""


@pytest.mark.parametrize("entry", list(initializer), ids=lambda entry: entry.name)
def test_every_initializer_holds(entry):
    nested = {"initializer": "default", "bias": "zero", "source": "digits_logistic", "teacher": "digits_mlp"}
    given = {p.name: nested.get(p.name, 0.1) for p in entry.parameters if p.required}
    text = f"{entry.name}({', '.join(f'{k}={v}' for k, v in given.items())})"
    assert [check for check in check_initializer(text) if not check.holds] == []


@pytest.mark.parametrize("name", ["digits_mlp", "rosenbrock", "linear_regression", f"{HERE / 'tiny_problems.py'}:cnn"])
def test_standard_problems_hold(name):
    assert [check for check in check_problem(name) if not check.holds] == []


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("detached", "gradient", "is something detached"),
        ("impure", "inputs untouched", "changes theta or the batch in place"),
        ("forgetful", "start", "draw from the generator"),
        ("unseeded", "on digits_mlp", "draw from the generator"),
        ("short", "on digits_mlp", "must have shape (2410,)"),
    ],
)
def test_what_does_not_hold_is_found_and_said(tmp_path, name, broken, words):
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    done = CliRunner().invoke(cli, ["check", f"{file}:{name}", "--json"])
    assert done.exit_code == 1, done.output
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert not checks[broken]["holds"] and words in checks[broken]["words"]
    assert not checks["docstring"]["holds"]


def test_names_of_every_kind_are_found():
    for name, kind in (("sgd", "optimizer"), ("torch.SGD", "optimizer"), ("he_normal", "initializer")):
        done = CliRunner().invoke(cli, ["check", name])
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == f"{kind} {name}: everything holds"


def test_a_name_of_two_kinds_has_to_be_told_apart():
    done = CliRunner().invoke(cli, ["check", "gaussian(std=0.1)"])
    assert done.exit_code == 2 and "problem and initializer; say which with --kind" in done.output
    done = CliRunner().invoke(cli, ["check", "gaussian(std=0.1)", "--kind", "initializer"])
    assert done.exit_code == 0, done.output


def test_a_name_that_nothing_has_is_a_mistake():
    done = CliRunner().invoke(cli, ["check", "adm"])
    assert done.exit_code == 2 and "did you mean adam" in done.output


def test_a_problem_is_not_taken_for_an_optimizer():
    done = CliRunner().invoke(cli, ["run", "digits_mlp", f"{HERE / 'tiny_problems.py'}:mlp"])
    assert done.exit_code == 2 and "is a problem, not an optimizer" in done.output
