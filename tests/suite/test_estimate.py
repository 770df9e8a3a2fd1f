"""How long runs will take is made of tried steps and evaluations, remembered, and spread over processes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from suite import calibrate, engine, estimate
from suite.spec import Run

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"


@pytest.fixture(autouse=True)
def _empty(monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    monkeypatch.setattr(calibrate, "_measured", {})
    monkeypatch.setattr(estimate, "_known", {})


def _runs(text, count, **settings):
    settings = {"steps": 1000, "eval_every": 300, "batch_size": 16, **settings}
    return [Run.make(f"{TINY}mlp", text, seed=seed, **settings) for seed in range(count)]


@pytest.fixture
def told(monkeypatch):
    """Steps of 2 ms, 8 of Adam's, evaluations of 0.5 s, lanes three together."""
    monkeypatch.setattr("suite.calibrate.lanes_for", lambda run, wanted: min(wanted, 3))
    monkeypatch.setattr(estimate, "step_seconds", lambda run, lanes: (1.0, 0.008 if "adam" in run.optimizer else 0.002))
    monkeypatch.setattr(estimate, "evaluation_seconds", lambda run, lanes: 0.5)


def test_the_time_is_that_of_steps_and_evaluations(told):
    """Four tasks of three lanes at most; each lane has 1000 steps, and evaluations at 0, 300, 600, 900 and 1000."""
    each, start = 1000 * 0.002 + 5 * 0.5, estimate.GROUP + 1.0
    assert estimate.seconds(_runs("sgd", 10), 1) == pytest.approx(10 * each + 4 * start)
    assert estimate.seconds([], 4) == 0.0


def test_processes_share_it_but_no_task_is_shared(told):
    one, many = estimate.seconds(_runs("sgd", 12), 1), estimate.seconds(_runs("sgd", 12), 2)
    assert many == pytest.approx(one / 2 + estimate.PROCESS)
    assert estimate.seconds(_runs("sgd", 12), 64) == pytest.approx(one / 4 + estimate.PROCESS)
    assert estimate.seconds(_runs("sgd", 3), 2) == pytest.approx(one / 4)  # which needs no other process


def test_dear_steps_are_more_of_the_work_than_cheap_ones(told):
    course = estimate.Course([*_runs("sgd", 3), *_runs("adam", 3)])
    cheap, dear = (estimate.GROUP + 1 + 3 * (1000 * step + 2.5) for step in (0.002, 0.008))
    assert [course.share(steps) for steps in (0, 6000)] == [0.0, 1.0]
    assert course.share(3000) == pytest.approx(dear / (cheap + dear))
    assert course.share(4500) == pytest.approx((dear + cheap / 2) / (cheap + dear))


def test_dear_tasks_are_trained_first_once_it_is_known_which_they_are(told, monkeypatch):
    runs, trained = [*_runs("sgd", 5), *_runs("adam", 5)], []
    monkeypatch.setattr(engine, "run_task", lambda task, on_result, on_steps: trained.append(task))
    engine.train(runs, on_result=lambda result: None)
    estimate.seconds(runs[1:4], 1)
    engine.train(runs, on_result=lambda result: None)
    as_they_are = [runs[:3], runs[3:5], runs[5:8], runs[8:]]
    assert trained == 2 * as_they_are, "where it would have to be tried"
    trained.clear()
    estimate.Course(runs)
    engine.train(runs, on_result=lambda result: None)
    assert trained == [as_they_are[k] for k in (2, 3, 0, 1)]


def test_a_step_is_tried_with_its_lanes_and_remembered(tmp_path, monkeypatch):
    run = _runs("adam", 1)[0]
    first, each = estimate.step_seconds(run, 4)
    assert 0 < each < first
    assert [json.loads(file.read_text())["seconds"] for file in tmp_path.rglob("*.json")] == [
        {"first": first, "each": each}
    ]
    monkeypatch.setattr(calibrate, "_measured", {})
    monkeypatch.setattr(estimate, "_tried", lambda run, width: pytest.fail("tried again"))
    assert estimate.step_seconds(_runs("adam(lr=0.3)", 3)[2], 4) == (first, each)  # whatever its numbers
    for other in (_runs("adamw", 1)[0], _runs("adam", 1, batch_size=8)[0]):
        with pytest.raises(pytest.fail.Exception):
            estimate.step_seconds(other, 4)
    with pytest.raises(pytest.fail.Exception):
        estimate.step_seconds(run, 5)


def test_what_keeps_its_own_objects_is_tried_alone_and_what_cannot_step_takes_nothing(monkeypatch):
    tried = []
    real = estimate._tried
    monkeypatch.setattr(estimate, "_tried", lambda run, width: tried.append(width) or real(run, width))
    for text in ("torch.SGD(lr=0.1)", "sgd"):
        estimate.step_seconds(_runs(text, 1)[0], 20)
    assert tried == [1, 20]
    assert estimate.step_seconds(_runs("torch.SparseAdam", 1)[0], 20) == (0.0, 0.0)


def test_later_steps_take_their_mean_and_the_first_what_it_costs_to_begin(monkeypatch):
    """Steps that take 5 s and then 0.01 and 0.03 by turns, by a clock of their own; twelve are tried."""
    now = 0.0

    class Lanes:
        errors = ()

        def step(self, k):
            nonlocal now
            now += (0.01, 0.03)[k % 2] if k else 5.0

    monkeypatch.setattr(estimate, "lanes_of", lambda *given: Lanes())
    monkeypatch.setattr(estimate, "clock", lambda device: lambda: now)
    first, each = estimate.step_seconds(_runs("sgd", 1)[0], 4)
    assert (first, each) == pytest.approx((5.0, 0.02 / 4))


def test_an_evaluation_is_tried_on_few_examples(monkeypatch):
    """With a clock that moves on by a second for each example of each lane."""
    now, seen = itertools.count(), []

    def evaluate(problem, theta, batch_size):
        seen.append({name: len(split) for name, split in problem.splits.items()})
        for _ in range(len(theta) * sum(seen[-1].values()) - 1):
            next(now)

    monkeypatch.setattr(estimate, "evaluate", evaluate)
    monkeypatch.setattr(estimate, "clock", lambda device: lambda: next(now))
    run = Run.make("adding_lstm(sequences=3000)", "sgd", batch_size=16)
    examples = 3000 + 2 * 750
    assert estimate.evaluation_seconds(run, 2) == pytest.approx(examples)
    assert seen[0] == {"train": 1000, "valid": 750, "test": 750}
