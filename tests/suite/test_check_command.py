"""``check`` says what holds of whatever it is given, in words for the author."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from problems.names import Spec
from suite.check_command import asked
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
    (found,) = json.loads(done.stdout)["checked"]
    assert found["name"] == f"{file}:{name}" and found["holds"] is False
    checks = {check["name"]: check for check in found["checks"]}
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


SEVERAL = """
from problems.names import Spec
from suite import first_order, initializer, optimizer
import torch

def made(lr):
    return first_order(lambda theta: (), lambda g, v, theta: (theta - lr * g, v))

@optimizer(tune={})
def rising(lr: float = -1.0):
    "θ ← θ + g"
    return made(lr)

@optimizer()
def around(inner: Spec):
    "Another one, 2026."
    return inner

@optimizer()
def needy(lr: float):
    "θ ← θ - εg"
    return made(lr)

@initializer()
def short():
    "Too short."
    return lambda problem, generator: torch.zeros(3)

@initializer()
def zero():
    "0"
    return lambda problem, generator: torch.zeros(problem.size)

class Mine(torch.optim.SGD):
    "SGD, 1951."
"""


@pytest.fixture
def several(tmp_path):
    (tmp_path / "several.py").write_text(SEVERAL)
    return str(tmp_path / "several.py")


def told(*words):
    done = CliRunner().invoke(cli, ["check", *words])
    return done, [line for line in done.stdout.splitlines() if re.match(r"(optimizer|problem|initializer) ", line)]


def test_a_pattern_checks_all_kinds_that_a_file_defines(several):
    done, verdicts = told(f"{several}:*")
    assert done.exit_code == 1
    ends = {line.partition(": ")[0].replace(several, ""): line.rpartition(": ")[2] for line in verdicts}
    assert list(ends) == [
        "optimizer :rising", "optimizer :around", "optimizer :Mine", "initializer :short", "initializer :zero"
    ]  # fmt: skip
    for name in ("optimizer :around", "optimizer :Mine", "initializer :zero"):
        assert ends[name] == "everything holds"
    for name in ("optimizer :rising", "initializer :short"):
        assert "do not hold" in ends[name]
    assert f"5 checked: not all holds of 2: optimizer {several}:rising, initializer {several}:short\n" in done.stdout
    assert f"left out: {several}:needy: lr must be given" in done.stdout


def test_what_is_left_out_of_a_pattern_is_not_checked(several):
    done, verdicts = told(f"{several}:*, -{several}:r*, -{several}:a*, -{several}:short", "sgd")
    assert done.exit_code == 0, done.output
    assert [line.partition(":")[0] for line in verdicts[1:]] == ["optimizer sgd", f"initializer {several}"]
    assert verdicts[0] == f"optimizer {several}:Mine: everything holds"
    assert "3 checked: everything holds" in done.stdout
    done, verdicts = told(f"{several}:*", "--kind", "initializer")
    assert done.exit_code == 1 and len(verdicts) == 2 and "needy" not in done.stdout


def test_json_has_one_record_for_each(several):
    done = CliRunner().invoke(cli, ["check", f"he_normal,{several}:z*,sgd(lr=0.5)", "torch.S*", "--json"])
    found = json.loads(done.stdout)
    assert [(one["kind"], one["name"].replace(several, ""), one["holds"]) for one in found["checked"]] == [
        ("optimizer", "sgd(lr=0.5)", True),
        ("optimizer", "torch.SGD", True),
        ("initializer", "he_normal", True),
        ("initializer", ":zero", True),
    ]
    assert [one["name"] for one in found["left_out"]] == ["torch.SparseAdam"]
    assert done.exit_code == 0


def test_a_group_stands_for_what_it_matches_of_every_kind():
    found, without = asked("quick")
    kinds = {kind for kind, _ in found}
    assert kinds == {"optimizer", "problem"} and not without
    assert {"digits_mlp", "adam", "clip"} < {spec.name for _, spec in found}
    assert {kind for kind, _ in asked("quick", "problem")[0]} == {"problem"}
    book = {spec.name for _, spec in asked("book")[0]}
    assert {"sgd", "newton", "polyak"} < book  # strategies too: what they wrap is filled in
    only, _ = asked("digits_*, -digits_denoising")
    assert {kind for kind, _ in only} == {"problem"} and Spec("digits_mlp") in dict(map(reversed, only))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sgd,adm"], "did you mean adam"),
        (["sgd", "digit_*"], "no optimizer, problem or initializer matches 'digit_*'; did you mean digits_"),
        (["digit_*", "--kind", "problem"], "no problem matches 'digit_*'; did you mean digits_"),
        (["sgd(lr=-1),adam"], "sgd: lr must be > 0"),
        (["sgd,-sgd"], "nothing is left to check"),
        (["adam,-sgd"], "-sgd: no such optimizer among those before it (adam)"),
        (["torch.Sparse*"], "no optimizer that matches 'torch.Sparse*' can be used"),
        (["torch.Sgt*"], "no optimizer matches 'torch.Sgt*'; did you mean SGD"),
        (["absent.py:*"], "absent.py: no such file"),
        ([], "Missing argument"),
    ],
)
def test_a_mistake_is_told_before_anything_is_checked(words, message):
    done = CliRunner().invoke(cli, ["check", *words])
    assert done.exit_code == 2 and message in done.stderr and not done.stdout


def test_nothing_in_a_file_matches(several):
    done = CliRunner().invoke(cli, ["check", f"{several}:x*"])
    assert done.exit_code == 2 and "; known are rising, around, needy, Mine, short, zero" in done.stderr


def test_data_that_are_not_here_stop_no_other_check():
    done, verdicts = told("hub_mlp(dataset='absent.csv'),he_normal")
    assert done.exit_code == 1
    assert verdicts[0].endswith("1 of 1 do not hold") and verdicts[1] == "initializer he_normal: everything holds"
    assert "FAIL  can be made  absent.csv: no such file" in done.stdout
