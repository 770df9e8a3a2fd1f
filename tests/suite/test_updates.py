"""Updates by themselves: what must move, which forms there are, and that each does the update it names."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from click.testing import CliRunner

from analysis.replay import blocks, composites, native
from problems.names import UsageError
from suite import machine
from suite.checks import example
from suite.cli import cli
from suite.lanes import Apart, Together, lanes_of
from suite.optimizers import optimizer
from suite.update_command import load_updates
from suite.updates import FORMS, OURS, ROUNDS, TORCH, Frozen, flat, measure

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


def test_caches_are_emptied_before_each_call_and_outside_its_time(monkeypatch):
    monkeypatch.setattr(machine, "_caches", cache(lambda: torch.zeros(10, dtype=torch.int64)))
    seen = []
    assert machine.device_seconds(lambda: seen.append(machine._caches()[0].item()), "cpu", 0.01, cold=True) < 0.01
    assert seen == list(range(1, len(seen) + 1))
    found = measure("sgd", D, seconds=0.02, cold=True, forms=("kernels",))
    assert machine._caches()[0] >= len(seen) + 3 * ROUNDS  # by turns with two floors
    assert [u.cold for u in found] == [True]


def test_what_was_measured_with_caches_full_and_empty_is_kept_apart(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CACHES", 1000)
    ask = ["cost", "--update", "sgd", "--sizes", "100", "--seconds", "0.1", "--results", str(tmp_path), "--quiet"]
    assert "caches emptied" not in CliRunner().invoke(cli, ask).stdout
    assert "times the floor, caches emptied before each" in CliRunner().invoke(cli, [*ask, "--cold"]).stdout
    kept = load_updates(tmp_path)
    assert kept.groupby("form").cold.nunique().eq(2).all() and len(kept) == 2 * kept.form.nunique()


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
    monkeypatch.setattr(blocks, "block_size", lambda vectors, itemsize: 4096)
    size = composites.LONG - 7
    with_it = _updated(text, size)
    monkeypatch.setattr(native, "compiler", lambda: None)
    native._function.cache_clear()
    without = _updated(text, size)
    native._function.cache_clear()
    assert torch.equal(with_it, without)


@pytest.mark.parametrize("text", ["adam", "rmsprop", "adagrad", "lion", "rprop"])
def test_long_vectors_differ_by_rounding_alone_without_a_compiler(text):
    size = composites.LONG + 7
    with native.used("uncompiled"):
        found = _updated(text, size)
    with native.used("kernels"):
        torch.testing.assert_close(found, _updated(text, size), rtol=1e-6, atol=1e-6)


def _updated(text, size, dtype=torch.float32):
    theta = torch.randn(3, size, generator=torch.Generator().manual_seed(0), dtype=dtype)
    lanes = lanes_of(flat(size, theta), [optimizer.bind(text)] * 3, theta, [0, 1, 2], 0, "reshuffle", Frozen)
    for k in range(3):
        lanes.step(k)
    if isinstance(lanes, Apart):
        pytest.skip("is not recorded")
    return lanes.theta.clone()


@pytest.mark.parametrize("entry", list(optimizer), ids=lambda entry: entry.name)
def test_every_optimizer_takes_the_same_steps_in_fused_operations(monkeypatch, entry):
    """In float64, where what is not rounding shows; the float32 noise of some is rounded otherwise in every form."""
    monkeypatch.setattr(composites, "LONG", 64)
    monkeypatch.setattr(composites, "PART", 4096)
    text = str(example(entry))
    try:
        with native.used("uncompiled"):
            found = _updated(text, D, dtype=torch.float64)
        with native.used("kernels"):
            recorded = _updated(text, D, dtype=torch.float64)
    except UsageError as error:
        pytest.skip(str(error))
    torch.testing.assert_close(found, recorded, rtol=1e-9, atol=1e-9)


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
        (["digits_mlp", "sgd", "--cold"], "--cold is for --update"),
    ],
)
def test_mistakes_end_with_exit_code_2(words, message, tmp_path):
    done = CliRunner().invoke(cli, ["cost", *words, "--results", str(tmp_path)])
    assert done.exit_code == 2 and message in done.output
