"""``python -m suite landscape`` as a person calls it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import suite
from suite.cli import cli
from suite.curvature import Training, points

PROBLEM, OPTIMIZER = "digits_mlp(hidden=(4,))", "sgd(lr=0.5)"
FEW = ["--steps", "40", "--examples", "100", "--count", "5", "--quiet"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Looks are kept in ``results`` of the folder where one is."""
    monkeypatch.chdir(tmp_path)


def ask(*words):
    done = CliRunner().invoke(cli, ["landscape", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_line_from_start_to_end():
    found = json.loads(ask("line", PROBLEM, OPTIMIZER, *FEW, "--json"))
    made = Training(PROBLEM, OPTIMIZER).made()
    ends = [theta for _, theta in points(Training(PROBLEM, OPTIMIZER), [0, 40], made)]
    batch = tuple(t[:100] for t in made.train.tensors)
    at = dict(zip(found["places"], found["losses"], strict=True))
    assert at[0.0] == pytest.approx(float(made.loss(ends[0], batch)), rel=1e-5)
    assert at[1.0] == pytest.approx(float(made.loss(ends[1], batch)), rel=1e-5)
    assert found["monotone"] == (found["rise"] <= 1e-3 * (at[0.0] - at[1.0]))


def test_the_way_of_training_lies_in_its_plane():
    found = json.loads(ask("path", PROBLEM, OPTIMIZER, *FEW, "--points", "6", "--json"))
    assert found["steps"] == [0, 8, 16, 24, 32, 40]
    assert found["path"][-1] == [0.0, 0.0]
    assert sum(found["shares"]) <= 1 + 1e-9
    assert np.shape(found["losses"]) == (5, 5)
    xs = [x for x, _ in found["path"]]
    assert found["x"][0] < min(xs) and max(xs) < found["x"][-1]


@pytest.mark.parametrize(("name", "kind", "index"), [("saddle", "saddle", 0.5), ("ravine", "minimum", 0.0)])
def test_critical_points_of_surfaces(name, kind, index):
    (found,) = json.loads(ask("critical", name, "--json", "--quiet"))["points"]
    assert (found["kind"], found["index"], found["converged"]) == (kind, index, True)


@pytest.mark.parametrize("kind", ["line", "slice", "plane", "path", "critical"])
def test_every_kind_prints_and_draws(kind, tmp_path):
    figure = tmp_path / "look.svg"
    name = "saddle" if kind == "critical" else PROBLEM
    examples = [] if kind == "critical" else ["--examples", "100"]
    text = ask(
        kind,
        name,
        OPTIMIZER,
        "--steps",
        "40",
        *examples,
        "--points",
        "3",
        "--count",
        "5",
        "--quiet",
        "--figure",
        str(figure),
    )
    assert "loss" in text
    assert figure.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["line", "digits_mlp"], "landscape: line needs an optimizer, whose training it shows"),
        (["plane", "digits_mlp", "--figure", "a.txt"], "landscape: figure must end in .svg, .png, .pdf, got 'a.txt'"),
        (["path", PROBLEM, "sgd(lr=1e30)", "--steps", "40", "--quiet"], "diverged before step"),
        (["path", PROBLEM, OPTIMIZER, "--steps", "1", "--quiet"], "2 points span 1 dimensions"),
        (["slice", "nothing"], "unknown problem 'nothing'"),
    ],
)
def test_mistakes_end_in_one_message(words, message):
    done = CliRunner().invoke(cli, ["landscape", *words])
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_looks_are_kept_and_stand_in_the_report(tmp_path):
    """One of the same terms is replaced; a chart is made of what was kept alone."""
    for _ in range(2):
        ask("line", "saddle", OPTIMIZER, "--steps", "5", "--count", "5", "--quiet", "--results", str(tmp_path))
    ask("path", "ravine", "sgd(lr=0.01)", "--steps", "9", "--points", "4", "--count", "4", "--quiet",
        "--results", str(tmp_path))  # fmt: skip
    looks = suite.load_landscapes(str(tmp_path))
    assert sorted(look["kind"] for look in looks) == ["line", "path"]
    assert all(look["environment"]["torch"] for look in looks)
    done = CliRunner().invoke(cli, ["report", "--results", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert done.exit_code == 0 and "2 looks at loss surfaces; no comparison yet." in page
    assert "From start to end: saddle" in page and "Where training moved most: ravine" in page
