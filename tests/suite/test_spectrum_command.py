"""``python -m suite spectrum`` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import suite
from analysis.operators import hessian
from problems.problem import problem
from suite.cli import cli
from suite.curvature import Seen, Training, along, log_spaced, points


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Spectra are kept in ``results`` of the folder that a command runs in."""
    monkeypatch.chdir(tmp_path)


def ask(*words: str) -> str:
    done = CliRunner().invoke(cli, ["spectrum", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("method", ["lanczos", "dense"])
def test_the_known_spectrum_of_the_quadratic(method):
    asked = ["quadratic_deep", "--top", "3", "--bottom", "2", "--density", "--dtype", "float64", "--method", method]
    found = json.loads(ask(*asked, "--tol", "1e-10", "--json"))
    made = problem.build(problem.bind("quadratic_deep"))
    truth = np.linalg.eigvalsh(made.fixed["Q"].double().numpy())
    np.testing.assert_allclose([row["value"] for row in found["top"]], truth[::-1][:3], rtol=1e-6)
    np.testing.assert_allclose([row["value"] for row in found["bottom"]], truth[:2], rtol=1e-4)
    assert found["top"][0]["value"] == pytest.approx(53.12902, abs=1e-4)  # DeepOBS's matrix
    assert found["trace"] == pytest.approx(477.61228, abs=1e-3)
    assert all(row["residual"] < 1e-9 and row["converged"] for row in found["top"])
    assert found["density"]["exact"]
    assert found["products"] >= 100


def test_spectra_along_training_stand_under_their_steps():
    asked = ["digits_mlp(hidden=(4,))", "sgd(lr=0.5)", "--top", "2", "--at", "0,20", "--examples", "100", "--json"]
    found = json.loads(ask(*asked, "--matrix", "hessian,gauss_newton"))
    assert list(found["at"]) == ["0", "20"]
    last = found["at"]["20"]
    assert last["loss"] < found["at"]["0"]["loss"]
    assert last["rate"] == 0.5
    assert last["others"][0]["matrix"] == "gauss_newton"
    assert len(last["top"]) == 2


def test_the_point_after_training_is_that_of_the_run(tmp_path):
    training = Training("digits_mlp(hidden=(4,))", "momentum(lr=0.1)", seed=3)
    (moment,) = along(training, [30], options={"top": 1})
    words = ["--seed", "3", "--steps", "30", "--eval-every", "30", "--json", "--quiet", "--results"]
    done = CliRunner().invoke(cli, ["run", training.problem, "momentum(lr=0.1)", *words, str(tmp_path)])
    rows = json.loads(done.stdout)["traces"]
    (loss,) = [row["value"] for row in rows if row["step"] == 30 and row["measure"] == "train_loss"]
    assert moment.loss == pytest.approx(loss, rel=1e-5)


def test_outliers_stand_beside_the_number_of_classes(tmp_path):
    asked = ["digits_mlp(hidden=(16,))", "sgd(lr=0.5)", "--batch-size", "0", "--at", "0,40", "--top", "12"]
    figure = tmp_path / "outliers.svg"
    text = ask(*asked, "--results", str(tmp_path), "--figure", str(figure))
    assert "9 outliers for 10 classes" in text  # Papyan 2019: C - 1, for softmax does not see a shift of all logits
    assert "10 classes" in figure.read_text()


def test_blocks_of_layers():
    found = list(along(Training("digits_mlp(hidden=(4,))", dtype="float64"), layers=True, options={"top": 1}))
    assert [m.layer for m in found] == ["", "layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias"]
    assert max(m.sharpness for m in found[1:]) <= found[0].sharpness


def test_what_was_measured_is_kept_as_the_table_that_is_drawn():
    asked = [
        "digits_mlp(hidden=(4,))",
        "sgd(lr=0.5)",
        "--top",
        "2",
        "--bottom",
        "1",
        "--at",
        "0,20",
        "--examples",
        "50",
    ]
    found = json.loads(ask(*asked, "--density", "--probes", "2", "--json"))
    table = suite.load_spectra()
    assert list(table["step"]) == [0, 20]
    for row in table.to_dict("records"):
        told = found["at"][str(row["step"])]
        assert row["top"] == [pair["value"] for pair in told["top"]]
        assert row["negative"] == told["negative_share"]["value"]
        assert len(row["grid"]) == len(row["density"]) > 100
    assert set(table["problem"]) == {"digits_mlp(hidden=(4,))"} and set(table["rate"]) == {0.5}
    assert "environment.processor" in table
    ask(*asked, "--density", "--probes", "2", "--json")
    assert len(suite.load_spectra()) == 2
    ask(*asked[:3], "1")
    assert len(suite.load_spectra()) == 3
    with pytest.raises(suite.UsageError, match="no such folder of results"):
        suite.load_spectra("nowhere")


def test_the_table_and_the_figure(tmp_path):
    figure = tmp_path / "spectrum.svg"
    asked = ["digits_mlp(hidden=(3,))", "sgd(lr=0.1)", "--bottom", "1", "--density", "--at", "0,5", "--examples", "50"]
    text = ask(*asked, "--figure", str(figure))
    assert "step 5" in text
    assert "of the 20.00 where steps diverge" in text
    assert "share negative" in text
    assert figure.read_text().startswith("<?xml")


@pytest.mark.parametrize("name", ["cnn", "rnn"])
def test_layers_of_the_suite_differentiate_twice_in_blocks(name):
    training = Training(f"{Path(__file__).with_name('tiny_problems.py')}:{name}", dtype="float64")
    made = training.made()
    ((_, theta),) = points(training, [0], made)
    whole = Seen(chunk=64).objective(made, theta)
    vectors = torch.randn(3, whole.size, generator=torch.Generator().manual_seed(0)).double()
    steps = 1e-6 * vectors
    change = [(whole.at(theta + s).gradient() - whole.at(theta - s).gradient()) / 2e-6 for s in steps]
    torch.testing.assert_close(hessian(whole).apply(vectors), torch.stack(change), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing"),
        (["digits_mlp", "--at", "10"], "step 10 needs an optimizer"),
        (["digits_mlp", "--at", "ten"], "at must be steps such as 0,100,1000 or log:1000, got 'ten'"),
        (["digits_mlp", "--matrix", "fisher"], "matrix must be of hessian, gauss_newton, gradient_covariance"),
        (["digits_mlp", "--figure", "a.txt"], "figure must end in .svg"),
        (["digits_mlp", "--split", "dev"], "no split 'dev'; it has train, valid, test"),
        (["digits_mlp", "--examples", "9999"], r"examples must be in \[0, 1197\], got 9999"),
        (["digits_mlp", "sgd(lr=1e30)", "--at", "20", "--batch-size", "64"], "diverged before step"),
    ],
)
def test_mistakes_end_in_one_message(words, message):
    import re

    done = CliRunner().invoke(cli, ["spectrum", *words])
    assert done.exit_code == 2, done.output
    assert re.search(message, done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_tolerance_of_nothing_is_out_of_range():
    done = CliRunner().invoke(cli, ["spectrum", "digits_mlp", "--tol", "0"])
    assert done.exit_code == 2
    assert "'--tol': 0.0 is not in the range x>0" in done.stderr


def test_log_spaced_steps():
    assert log_spaced(0) == [0]
    assert log_spaced(100) == [0, 1, 2, 5, 10, 22, 46, 100]
    assert torch.tensor(log_spaced(1000)).diff().min() >= 1
