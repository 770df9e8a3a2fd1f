from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from problems.names import UsageError
from problems.problem import problem
from suite.ledger import Ledger
from suite.outcome import Comparison, compare
from suite.plan import Question, plan
from suite.store import Store

QUESTION = Question("digits_mlp", "adam, sgd", "default", trials=6, seeds=6, steps=40)


def compared(question: Question, folder: Path) -> tuple[Comparison, FakeEngine]:
    engine = FakeEngine()
    return compare(
        plan(question), Ledger(Store(folder), train=engine), lambda phase, runs: lambda progress: None
    ), engine


def test_every_problem_s_target_says_where_it_comes_from() -> None:
    for task in plan(Question()).tasks:
        assert task.target is not None and task.target.origin
        assert task.target is task.made.target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.97", ("valid_accuracy", 0.97, "higher")),
        ("valid_accuracy>=0.97", ("valid_accuracy", 0.97, "higher")),
        ("train_loss <= 1e-3", ("train_loss", 1e-3, "lower")),
        ("digits_mlp: 0.5", ("valid_accuracy", 0.5, "higher")),
        ("digits_mlp:test_loss<=0.1", ("test_loss", 0.1, "lower")),
    ],
)
def test_a_target_that_is_asked_for(text: str, expected: tuple[str, float, str]) -> None:
    (task,) = plan(replace(QUESTION, target=text)).tasks
    assert task.target is not None
    assert (task.target.measure, task.target.value, task.target.better) == expected
    assert task.target.origin == "asked for"
    assert task.judged_by == "valid_accuracy"  # tuning goes by the problem's own


def test_targets_of_several_problems() -> None:
    names = "digits_mlp(hidden=(8, 8)), linear_regression"
    tasks = plan(replace(QUESTION, problems=names, target="digits_mlp(hidden=(8, 8)):0.9, linear_regression:0.3")).tasks
    assert [task.target.value for task in tasks if task.target] == [0.9, 0.3]
    own = problem.build(tasks[1].spec).target
    tasks = plan(replace(QUESTION, problems=names, target="digits_mlp(hidden=(8, 8)):0.9")).tasks
    assert [task.target for task in tasks][1] == own


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("much", "target: the value must be a finite number, got 'much'"),
        ("inf", "target: the value must be a finite number, got 'inf'"),
        ("valid_accuracy=0.9", "target: expected a value or a measure with one"),
        ("valid_accuracy<=0.9", "of valid_accuracy higher values are better: write valid_accuracy>=0.9"),
        ("valid_f1>=0.9", "digits_mlp has no measure 'valid_f1', but train_loss, train_accuracy, "),
        ("mnist_mlp:0.9", "mnist_mlp is not among the problems compared, digits_mlp"),
    ],
)
def test_mistakes_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(replace(QUESTION, target=text))


def test_a_target_for_several_problems_needs_their_names() -> None:
    with pytest.raises(UsageError, match=r"say of which problem '0\.9' is, as in digits_mlp:0\.9"):
        plan(replace(QUESTION, problems="digits_mlp, linear_regression", target="0.9"))


def test_another_target_trains_nothing_again_and_gives_other_times(tmp_path: Path) -> None:
    first, _ = compared(QUESTION, tmp_path)
    easier, engine = compared(replace(QUESTION, target="0.5"), tmp_path)
    assert engine.trained == []
    before, after = (next(iter(found.rows.values()))[0].arrivals["steps"] for found in (first, easier))
    assert (before.median, before.reached) == (40, 6)
    assert after.median < 40
    assert after.reached == 6
