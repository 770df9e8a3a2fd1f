"""``python -m suite trace`` as a person calls it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from suite.cli import cli
from suite.trace_command import intervals
from suite.trace_figure import trace_chart

ASKED = ["trace", "digits_mlp(hidden=(4,))", "sgd(lr=0.1)", "--steps", "30", "--eval-every", "10", "--quiet"]


def ask(tmp_path, *words):
    return CliRunner().invoke(cli, [*ASKED, "--results", str(tmp_path), *words])


def test_the_json_holds_every_measurement_of_every_seed(tmp_path):
    done = ask(tmp_path, "--seeds", "2", "--seed", "3", "--probes", "gradient_norm, curvature(every=10)", "--json")
    assert done.exit_code == 0, done.output
    runs = json.loads(done.stdout)["runs"]
    assert [r["run"]["seed"] for r in runs] == [3, 4]
    for run in runs:
        norms, gtg = run["measures"]["gradient_norm"], run["measures"]["gTg"]
        assert norms["steps"] == list(range(30))
        assert gtg["steps"] == [0, 10, 20]
        np.testing.assert_allclose(np.square(norms["values"])[::10], gtg["values"], rtol=1e-5)
        assert run["measures"]["valid_loss"]["steps"] == [0, 10, 20, 30]


def test_figure_8_1_is_one_command(tmp_path):
    figure = tmp_path / "fig.svg"
    done = ask(tmp_path, "--figure", str(figure), "--at", "0,10,20")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["step", "train_loss", "valid_loss", "valid_accuracy", "gradient_norm"]
    assert [line.split()[0] for line in lines[1:4]] == ["0", "10", "20"]
    text = figure.read_text()
    assert "gradient norm" in text and "validation error" in text


def test_a_row_holds_means_up_to_the_next_one():
    probed = [(0, k, "p", float(k), True) for k in range(10)]
    evaluated = [(0, 0, "valid_loss", 5.0, False), (0, 4, "valid_loss", 3.0, False), (0, 9, "valid_loss", 1.0, False)]
    table = pd.DataFrame(probed + evaluated, columns=["seed", "step", "measure", "value", "probed"])
    found = intervals(table, [2, 6, 20])
    assert found.index.tolist() == [0, 2, 6]
    assert found["p"].tolist() == [0.5, 3.5, 7.5]
    assert found["valid_loss"].tolist() == [5.0, 5.0, 3.0]


def test_curvature_is_drawn_as_two_lines_to_be_held_against_each_other():
    rows = [
        (0, k, m, v, True) for k in range(5) for m, v in {"gTg": 4.0, "first_order": 2.0, "second_order": 1.0}.items()
    ]
    table = pd.DataFrame(rows, columns=["seed", "step", "measure", "value", "probed"])
    chart = trace_chart(table, "sgd", 10, "")
    assert len(chart.draw) == 1  # gTg differs from the first by a factor, and nothing was evaluated
    assert "εgᵀg" in chart.svg() and "½ε²gᵀHg" in chart.svg()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--probes", ""], "trace: probes must name what to measure"),
        (["--probes", "curvatur"], "unknown probe 'curvatur'; did you mean curvature"),
        (["--figure", "a.txt"], "trace: figure must end in .svg, .png, .pdf, got 'a.txt'"),
        (["--at", "often"], "at must be steps such as"),
    ],
)
def test_mistakes_end_in_one_message(tmp_path, words, message):
    done = ask(tmp_path, *words)
    assert done.exit_code == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_run_that_diverges_shows_what_was_measured(tmp_path):
    done = CliRunner().invoke(
        cli, ["trace", "quadratic_deep", "sgd(lr=1e9)", "--steps", "40", "--results", str(tmp_path), "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert "diverged" in done.stdout
