"""Runs end in named results, whatever becomes of the runs beside them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from suite import engine
from suite.engine import groups, train
from suite.spec import Run

HERE = Path(__file__).parent
TINY = f"{HERE / 'tiny_problems.py'}:"
ODD = f"{HERE / 'odd_optimizers.py'}:"


def _run(text, seed=0, kind="mlp", **settings):
    settings = {"steps": 40, "eval_every": 20, "batch_size": 16, **settings}
    return Run.make(TINY + kind, text, seed=seed, **settings)


def _train(runs, **options):
    results = []
    progress = []
    train(runs, on_result=results.append, on_progress=progress.append, **options)
    assert sorted(r.run.id for r in results) == sorted(r.id for r in runs)  # each exactly once
    assert progress[-1].done == progress[-1].total == sum(run.steps for run in runs)
    return {r.run: r for r in results}


def test_a_run_is_evaluated_from_its_start_to_its_end():
    run = _run("adam", steps=50, eval_every=20)
    result = _train([run])[run]
    assert result.status == "done"
    assert [s for s, m, _ in result.trace if m == "valid_accuracy"] == [0, 20, 40, 50]
    assert {m for _, m, _ in result.trace} == {
        f"{split}_{measure}" for split in ("train", "valid", "test") for measure in ("loss", "accuracy")
    }
    assert result.summary["gradient_calls"] == 50
    assert result.summary["final_train_loss"] < result.trace[0][2]


def test_runs_group_by_all_but_numbers_seeds_and_initializers():
    runs = [_run(f"sgd(lr={lr})", seed) for lr in (0.1, 0.2) for seed in range(3)]
    runs += [_run("sgd(lr=linear(0.1))"), _run("adam"), _run("sgd", steps=41), _run("sgd", kind="cnn")]
    assert [len(group) for group in groups(runs)] == [6, 1, 1, 1, 1]
    assert [len(group) for group in groups(runs, most=4)] == [4, 2, 1, 1, 1, 1]


def test_a_group_of_more_lanes_than_go_together_is_several_tasks(monkeypatch):
    """So that runs of one optimizer do not wait for one process where there are more."""
    monkeypatch.setattr("suite.calibrate.lanes_for", lambda run, wanted: min(wanted, 4))
    runs = [_run("sgd", seed) for seed in range(6)] + [_run("adam")]
    assert [len(task) for task in engine.tasks(runs)] == [4, 2, 1]
    given = []
    monkeypatch.setattr(engine._Pool, "run", lambda pool: given.append((pool.jobs, [len(t) for t in pool.tasks])))
    train(runs[:6], jobs=8, on_result=lambda result: None)
    assert given == [(2, [4, 2])]


def test_runs_of_one_optimizer_have_their_bits_in_several_processes(monkeypatch):
    runs = [_run("adam(lr=0.01)", seed) for seed in range(5)]
    together = _train(runs)
    monkeypatch.setattr("suite.calibrate.lanes_for", lambda run, wanted: min(wanted, 2))
    apart = _train(runs, jobs=2)
    assert [apart[run].trace for run in runs] == [together[run].trace for run in runs]
    assert {apart[run].summary["lanes"] for run in runs} == {1, 2}


def test_a_diverged_lane_is_frozen_and_disturbs_no_other():
    rates = [0.1, 1e30, 0.2, 0.3, 1e38]
    runs = [_run(f"sgd(lr={rate})", seed=i, steps=450) for i, rate in enumerate(rates)]
    together = _train(runs)
    assert [together[run].status for run in runs] == ["done", "diverged", "done", "done", "diverged"]
    assert "not finite at step" in together[runs[1]].detail
    for run in runs:
        alone = _train([run])[run]
        assert (alone.status, alone.detail, alone.trace) == (
            together[run].status,
            together[run].detail,
            together[run].trace,
        )


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("raises", "failed", "ZeroDivisionError: nothing to divide by"),
        ("wrong_shape", "failed", "step must return theta of shape (863,)"),
        ("not_a_number", "diverged", "not finite at step 1"),
        ("looks", "done", ""),
        ("forgets", "failed", "form that init gave"),
    ],
)
def test_odd_optimizers_end_in_a_named_status(text, status, words):
    odd, good = _run(f"{ODD}{text}"), _run("sgd")
    results = _train([odd, good])
    assert results[odd].status == status
    assert words in results[odd].detail
    assert results[good].status == "done"


def test_where_an_initializer_makes_no_sense_the_run_is_skipped_with_the_reason():
    run = Run.make("quadratic_deep", "sgd(lr=0.01)", "he_normal", steps=10)
    result = _train([run])[run]
    assert result.status == "skipped" and "no weights" in result.detail


def test_a_run_may_end_at_its_target():
    full = Run.make("digits_mlp", "adam(lr=0.01)", steps=400, eval_every=20, batch_size=32)
    short = Run.make("digits_mlp", "adam(lr=0.01)", steps=400, eval_every=20, batch_size=32, until_target=True)
    results = _train([full, short])
    reached = results[full].summary["steps_to_target"]
    assert 0 < reached < 400 and results[full].status == "done"
    assert results[short].status == "reached target" and results[short].trace[-1][0] == reached


def test_processes_give_the_same_bits_as_this_one():
    runs = [_run(text, seed) for text in ("adam", "momentum", "torch.Adam(lr=0.01)") for seed in range(2)]
    here, there = _train(runs), _train(runs, jobs=2)
    assert {run: r.trace for run, r in here.items()} == {run: r.trace for run, r in there.items()}


def test_a_killed_process_costs_only_what_it_had_not_finished(tmp_path):
    """One worker kills itself at its first task; every run is there all the same."""
    os.environ["SUITE_TEST_MARK"] = str(tmp_path / "killed")
    try:
        runs = [_run(f"{ODD}kills_its_process"), _run("adam"), _run("sgd"), _run("momentum")]
        results = _train(runs, jobs=2)
    finally:
        del os.environ["SUITE_TEST_MARK"]
    assert (tmp_path / "killed").exists()
    assert {r.status for r in results.values()} == {"done"}


def test_an_interrupt_ends_the_workers():
    runs = [_run(text, steps=3_000_000, eval_every=1_000_000) for text in ("adam", "sgd")]
    began = time.monotonic()
    # A second one for the rare case that the first meets Python in a finalizer, where it is ignored.
    presses = [threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)) for after in (4.0, 20.0)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    try:
        for press in presses:
            press.start()
        with pytest.raises(KeyboardInterrupt):
            engine.train(runs, jobs=2, on_result=lambda result: None)
        presses[1].cancel()
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("text", ["sgd(lr=0.1)", "torch.SGD(lr=0.1)"])
def test_minibatches_may_grow(text):
    """Plain steps on growing minibatches against the written-out loop."""
    import torch

    from problems.names import parse
    from problems.problem import problem
    from suite.sampler import epoch_order, generator

    run = _run(text, seed=3, steps=9, eval_every=9, batch_size=50, grow_every=3, dtype="float64")
    result = _train([run])[run]
    made = problem.build(parse(run.problem)).to("cpu", torch.float64)
    theta = made.start(generator(3, "start")).double()
    for k in range(9):
        size = 50 * 2 ** (k // 3)
        per_epoch = 200 // size
        order = epoch_order("reshuffle", 200, size, 3, k // per_epoch)
        rows = order[k % per_epoch * size : (k % per_epoch + 1) * size]
        leaf = theta.clone().requires_grad_()
        made.loss(leaf, tuple(t[rows] for t in made.train.tensors)).backward()
        theta = theta - 0.1 * leaf.grad
    expected = float(made.loss(theta, made.train.tensors))
    assert result.summary["final_train_loss"] == pytest.approx(expected, rel=1e-12)
    assert result.summary["gradient_calls"] == 9


def test_growing_lanes_go_as_each_alone():
    runs = [_run(f"adam(lr={lr})", seed, batch_size=10, grow_every=15) for lr in (0.1, 0.01) for seed in range(2)]
    together = _train(runs)
    for run in runs:
        assert _train([run])[run].trace == together[run].trace
