"""The number of lanes is measured, remembered, and never changes a lane's bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from problems.names import parse
from problems.problem import problem
from suite import calibrate
from suite.spec import Run

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"


@pytest.fixture(autouse=True)
def _empty(monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    monkeypatch.setattr(calibrate, "_measured", {})


def _run(kind, **settings):
    return Run.make(TINY + kind, "sgd", batch_size=16, **settings)


def test_tiny_models_go_together_and_one_run_goes_alone():
    assert calibrate.lanes_for(_run("mlp"), 1) == 1
    assert calibrate.lanes_for(_run("mlp"), 64) >= 8
    assert calibrate.lanes_for(_run("mlp"), 5) == 5


def test_what_was_measured_is_remembered_on_disk(tmp_path, monkeypatch):
    first = calibrate.lanes_for(_run("mlp"), 256)
    files = list(tmp_path.rglob("*.json"))
    assert len(files) == 1
    monkeypatch.setattr(calibrate, "_measured", {})
    monkeypatch.setattr(calibrate, "measure", lambda run, made: pytest.fail("measured again"))
    assert calibrate.lanes_for(_run("mlp"), 256) == first


def test_a_broken_memory_is_measured_anew(tmp_path, monkeypatch):
    calibrate.lanes_for(_run("mlp"), 4)
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{")
    monkeypatch.setattr(calibrate, "_measured", {})
    monkeypatch.setattr(calibrate, "measure", lambda run, made: {1: 1.0, 2: 0.1})
    assert calibrate.lanes_for(_run("mlp"), 4) == 2


def test_the_smallest_of_equally_quick_widths_is_taken(monkeypatch):
    monkeypatch.setattr(calibrate, "measure", lambda run, made: {1: 1.0, 2: 0.51, 4: 0.502, 8: 0.5})
    assert calibrate.lanes_for(_run("mlp"), 100) == 2


def test_a_width_that_changes_bits_is_not_admitted(monkeypatch):
    """With a pass that is off by one bit at width 4, no width from 4 on is used in float32."""
    real = calibrate._pass

    def spoiled(run, made, width):
        seconds, (value, gradient) = real(run, made, width)
        return seconds, (value * (1 + 1e-7) if width == 4 else value, gradient)

    monkeypatch.setattr(calibrate, "_pass", spoiled)
    run = _run("mlp")
    assert set(calibrate.measure(run, problem.build(parse(run.problem)))) <= {1, 2}
    run = _run("mlp", dtype="float64")
    assert len(calibrate.measure(run, problem.build(parse(run.problem)))) > 2
