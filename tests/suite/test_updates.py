"""Updates by themselves: what must move, which forms there are, and that each does the update it names."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from analysis.replay import native
from problems.names import UsageError
from suite.cli import cli
from suite.lanes import Together, lanes_of
from suite.optimizers import optimizer
from suite.update_command import load_updates
from suite.updates import FORMS, OURS, TORCH, Frozen, flat, measure

D = 1000


@pytest.mark.parametrize(
    ("name", "vectors"), [("sgd", 3), ("momentum", 5), ("rmsprop", 5), ("adagrad", 5), ("adam", 7)]
)
def test_each_array_that_must_move_counts_once(name, vectors):
    found = measure(name, D, seconds=0.02)
    assert {u.traffic for u in found} == {vectors * 4 * D}
    assert all(u.seconds > 0 and u.low <= u.ratio <= u.high for u in found)


def _here():
    return [form for form in FORMS if form != "compiled" or native.compiler() is not None]


def test_the_forms_that_there_are_are_measured():
    here = _here()
    assert [u.form for u in measure("adam", D, seconds=0.02)] == here
    assert [u.form for u in measure("lion", D, seconds=0.02)] == [form for form in here if form in OURS]
    assert [u.form for u in measure("torch.Adam", D, seconds=0.02)] == ["kernels"]


@pytest.mark.parametrize("name", sorted(TORCH))
def test_what_is_set_beside_ours_is_the_same_algorithm(name):
    """One step of ours and one of torch's move θ alike, up to what their docstrings say differs."""
    theta = torch.ones(1, D, dtype=torch.float64)
    lanes = lanes_of(flat(D, theta), [optimizer.bind(name)], theta, [0], 0, "reshuffle", Frozen)
    assert isinstance(lanes, Together)
    gradient = lanes.objective.gradient(lanes.theta)[1][0].clone()
    lanes.step(0)
    kind, settings = TORCH[name]
    parameter = torch.nn.Parameter(theta[0].clone())
    parameter.grad = gradient
    kind([parameter], **settings).step()
    ours, theirs = lanes.theta[0] - 1, parameter.detach() - 1
    scale = {"nesterov": 1.9}.get(name, 1.0)  # torch's iterate is ahead by the velocity: ρ times the step
    large = gradient.abs() > 0.1  # δ stands elsewhere where gradients vanish
    torch.testing.assert_close(scale * ours[large], theirs[large], rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("text", ["adam", "rmsprop", "adagrad", "lion", "rprop"])
def test_an_optimizer_has_the_same_bits_without_a_compiler(monkeypatch, text):
    """Three updates of three lanes on a vector of several blocks."""
    if native.compiler() is None:
        pytest.skip("no C compiler to hold it against")
    with_it = _updated(text)
    monkeypatch.setattr(native, "compiler", lambda: None)
    native._function.cache_clear()
    without = _updated(text)
    native._function.cache_clear()
    assert torch.equal(with_it, without)


def _updated(text):
    theta = torch.randn(3, 150_000, generator=torch.Generator().manual_seed(0))
    specs = [optimizer.bind(text)] * 3
    lanes = lanes_of(flat(150_000, theta), specs, theta, [0, 1, 2], 0, "reshuffle", Frozen)
    for k in range(3):
        lanes.step(k)
    return lanes.theta.clone()


@pytest.mark.parametrize("name", ["lbfgs", "newton", "sam(sgd)"])
def test_methods_that_evaluate_more_than_once_are_refused(name):
    with pytest.raises(UsageError, match="most of its cost"):
        measure(name, D, seconds=0.02)


def test_the_command_keeps_prints_and_draws(tmp_path):
    ask = ["cost", "--update", "sgd,lbfgs", "--sizes", "1e3", "--seconds", "0.1", "--results", str(tmp_path), "--quiet"]
    done = CliRunner().invoke(cli, [*ask, "--json", "--figure", str(tmp_path / "updates.svg")])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert {u["form"] for u in said["updates"]} == set(_here())
    assert [s["optimizer"] for s in said["skipped"]] == ["lbfgs"]
    assert len(load_updates(tmp_path)) == len(_here())
    assert "<svg" in (tmp_path / "updates.svg").read_text()
    table = CliRunner().invoke(cli, ask).stdout
    assert "1,000 parameters in one vector" in table and "skipped: lbfgs: takes several gradients a step" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--update", "sgd", "--sizes", "1e4,many"], "sizes must be whole numbers"),
        (["--update", "sgdd"], "unknown optimizer"),
        (["digits_mlp", "--update", "sgd"], "--update measures by itself"),
    ],
)
def test_mistakes_end_with_exit_code_2(words, message, tmp_path):
    done = CliRunner().invoke(cli, ["cost", *words, "--results", str(tmp_path)])
    assert done.exit_code == 2 and message in done.output
