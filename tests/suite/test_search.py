from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine, bowl
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from analysis.figures import Palette
from problems.names import UsageError, parse
from suite import comparisons
from suite.ledger import Ledger
from suite.outcome import compare
from suite.plan import TUNING_SEEDS, Question, plan
from suite.reporting import figures
from suite.reporting.contests import every
from suite.reporting.evidence import Evidence
from suite.search import SEARCHES, first_round, points, proposed, round_size
from suite.spec import Run
from suite.store import Store
from suite.tuning import trials

QUESTION = Question("digits_mlp", "adam, sgd, momentum(lr=0.1)", "default", trials=11, seeds=3, steps=20)


@given(st.sampled_from(SEARCHES), st.integers(1, 4), st.integers(1, 40))
def test_every_search_makes_as_many_points_of_the_cube_and_the_same_ones_again(search: str, d: int, n: int) -> None:
    found = points(search, d, n)
    assert len(found) == n
    assert len(set(found)) == n
    assert all(len(point) == d and all(0 <= at <= 1 for at in point) for point in found)
    assert points(search, d, n) == found


def test_searches_are_what_they_are_called() -> None:
    assert points("grid", 1, 5) == [(0.0,), (0.25,), (0.5,), (0.75,), (1.0,)] == points("auto", 1, 5)
    assert sorted(points("grid", 2, 9)) == [(a, b) for a in (0, 0.5, 1) for b in (0, 0.5, 1)]
    thinned = points("grid", 2, 11)
    assert {(0, 0), (1, 1)} <= set(thinned)  # of 4 by 3, without one inside
    expected = qmc.Halton(2, scramble=True, rng=0).random(20)
    assert np.array(points("halton", 2, 20)) == pytest.approx(expected)
    assert points("halton", 2, 20) == points("auto", 2, 20)
    uneven = qmc.discrepancy(np.array(points("random", 2, 64)))
    assert qmc.discrepancy(np.array(points("halton", 2, 64))) < uneven / 2


def test_tpe_goes_where_it_is_good() -> None:
    """On a bowl about 0.3 later points come closer than those of the first round; diverged ones are no harm."""
    tried = points("tpe", 1, 10)
    for _ in range(5):
        costs = [(at - 0.3) ** 2 if at < 0.9 else math.inf for (at,) in tried]
        tried = tried + proposed(tried, costs, 4)
    far = [abs(at - 0.3) for (at,) in tried]
    assert np.median(far[10:]) < np.median(far[:10]) / 2
    assert proposed(tried, [1.0] * 30, 2) == proposed(tried, [1.0] * 30, 2)
    assert len(set(proposed([(0.5, 0.5)], [math.inf], 3))) == 3


@pytest.mark.parametrize("search", ["random", "halton", "grid", "tpe"])
def test_a_comparison_gives_every_optimizer_as_many_trials(search: str, tmp_path: Path) -> None:
    engine = FakeEngine()
    question = Question(**{**vars(QUESTION), "search": search})
    planned = plan(question)
    told: list[int] = []

    def on_phase(phase, runs):
        told.append(len(runs))
        return lambda progress: None

    outcome = compare(planned, Ledger(Store(tmp_path), train=engine), on_phase)
    (rows,) = outcome.rows.values()
    assert {str(row.contestant.optimizer): len(row.contestant.trials) for row in rows} == {
        "adam": 11,
        "sgd": 11,
        "momentum(lr=0.1)": 1,
    }
    tuning = [run for run in engine.trained if run.seed in TUNING_SEEDS]
    assert len(tuning) == len(set(tuning)) == 2 * (11 + 11 + 1) == len(planned.tuning_guess())
    assert all(len(row.tried) == len(row.contestant.trials) for row in rows)
    assert len(told) == (5 if search == "tpe" else 2)  # 6 + 2 + 2 + 1 trials, and the evaluation
    again = FakeEngine()
    second = compare(plan(question), Ledger(Store(tmp_path), train=again), lambda phase, runs: lambda progress: None)
    assert again.trained == []
    assert [row.best for row in next(iter(second.rows.values()))] == [row.best for row in rows]


def test_rounds_come_to_the_whole_budget() -> None:
    for count in range(1, 50):
        first, size = first_round("tpe", count), round_size(count)
        assert 1 <= first <= count
        assert first + 4 * size >= count
        assert first_round("grid", count) == count


def test_tpe_finds_the_bowl_and_an_optimizer_that_breaks_ends_early(tmp_path: Path) -> None:
    def loss(run: Run) -> float:
        return math.inf if parse(run.optimizer).options["lr"] > 0.5 else bowl(run)

    engine = FakeEngine(loss=loss, broken=lambda run: "oh" if run.optimizer.startswith("sgd") else "")
    question = Question(**{**vars(QUESTION), "optimizers": "adam, sgd", "trials": 30, "search": "tpe"})
    outcome = compare(plan(question), Ledger(Store(tmp_path), train=engine), lambda phase, runs: lambda progress: None)
    (rows,) = outcome.rows.values()
    assert rows[0].best is not None and rows[1].best is None
    assert abs(math.log10(rows[0].best.spec.options["lr"]) + 2) < 0.15
    assert len(rows[1].contestant.trials) == 15
    comparisons.save(outcome, tmp_path)
    (contest,) = every(Evidence.read(str(tmp_path)))
    found = contest.tuning()  # trials that build on each other are no draws to choose from
    best = np.maximum.accumulate(np.maximum(rows[0].tried, rows[0].start))
    assert found["expected"].tolist() == pytest.approx(best)
    assert found["low"].isna().all()
    assert figures.budget(contest, Palette(["adam"])).caption.startswith("Best of the first so many trials")


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="search must be one of auto, grid, random, halton, tpe, got 'bayes'"):
        plan(Question(**{**vars(QUESTION), "search": "bayes"}))
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"needs Optuna: pip install 'optimization-suite\[optuna\]'"):
        plan(Question(**{**vars(QUESTION), "search": "tpe"}))
    assert len(trials(parse("adam"), 5, "random")) == 5
