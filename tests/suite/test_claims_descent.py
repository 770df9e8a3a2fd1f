"""Claims of section 8.3: the exact ones hold and their controls do not, and how an excess error is measured."""

from __future__ import annotations

import math

import pytest

from problems import problem
from suite.claims import claim
from suite.claims.carrying import carry_out
from suite.claims.descent import between, excess, last, slopes
from suite.claims.lab import ExperimentError, Lab, arm


@pytest.mark.parametrize("name", ["momentum_in_ravines", "terminal_velocity", "nesterov_on_convex"])
def test_what_has_no_error_of_sampling_holds_and_its_control_does_not(name, tmp_path) -> None:
    found = carry_out(claim.bind(name), str(tmp_path), controls=True)
    assert found["verdict"] == "holds", found
    assert found["control"]["verdict"] == "does not hold"


def test_all_examples_and_minibatches_at_one_rate(tmp_path) -> None:
    found = carry_out(claim.bind("batches_need_no_decay(seeds=8)"), str(tmp_path), controls=True)
    assert found["verdict"] == "holds" and found["control"]["verdict"] == "does not hold"


def test_an_excess_is_over_the_minimum_and_no_less_than_what_rounding_tells(tmp_path) -> None:
    least = problem.build(problem.bind("linear_regression")).minimum.loss
    asked = arm("linear_regression", "sgd(lr=0.1)", batch_size=0, steps=400, eval_every=400, dtype="float64")
    runs = Lab(tmp_path).train({"": asked}, 2)[""]
    for course, found in zip(runs.course("train_loss"), excess(runs), strict=True):
        assert found[0][1] == pytest.approx(course[0][1] - least)
        assert found[-1] == (400, pytest.approx(2.0**-52 * least, rel=20))
    assert last(excess(runs)) == [each[-1][1] for each in excess(runs)]


def test_an_excess_is_infinite_from_where_a_run_diverged_on(tmp_path) -> None:
    asked = arm("linear_regression", "sgd(lr=1e9)", steps=50, eval_every=20)
    [found] = excess(Lab(tmp_path).train({"": asked}, 1)[""])
    assert [step for step, _ in found] == [0, 20, 40, 50] and math.isfinite(found[0][1])
    assert last([found]) == between([found], 20, 50) == [math.inf]
    with pytest.raises(ExperimentError, match="no power can be told where one of the values is inf"):
        slopes({1: [1.0], 2: last([found])})


def test_a_problem_without_a_known_minimum_has_no_excess(tmp_path) -> None:
    found = carry_out(claim.bind("linear_decay(problem=digits_mlp, steps=1, seeds=1)"), str(tmp_path))
    assert found["verdict"] == "failed" and "digits_mlp knows no minimum of its loss; take a" in found["problem"]


def test_means_of_spans_and_powers_by_seed() -> None:
    courses = [[(0, 9.0), (10, 1.0), (20, 3.0), (30, 8.0)], [(0, 9.0), (10, 5.0), (20, 5.0), (30, 0.0)]]
    assert between(courses, 0, 20) == [2.0, 5.0]
    assert slopes({1: [1, 3], 10: [10, 0.3], 100: [100, 0.03]}) == pytest.approx([1, -1])
