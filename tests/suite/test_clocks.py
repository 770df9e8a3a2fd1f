"""Contestants whose steps differ in work get the same epochs and are held against each other by what they evaluate."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.figures import Palette
from suite import comparisons
from suite.cli import cli
from suite.clocks import EPOCHS, EVALUATIONS, STEPS, Work, fair, told, work
from suite.engine import train
from suite.ledger import Ledger
from suite.outcome import Comparison, clock_of, compare
from suite.plan import Question, plan
from suite.reporting import figures
from suite.reporting.contests import contests, times
from suite.reporting.evidence import Evidence
from suite.reporting.tables import verdict_table
from suite.spec import Result, Run
from suite.store import Store


@pytest.mark.parametrize(
    ("found", "clock"),
    [
        ([], STEPS),
        ([Work(1.0, 32, 100)], STEPS),
        ([Work(1.0, 32, 100), Work(1.002, 32, 100)], STEPS),  # one more at the start
        ([Work(2.0, 32, 100), Work(2.0, 32, 100)], STEPS),
        ([Work(1.0, 32, 100), Work(2.0, 32, 100)], EVALUATIONS),
        ([Work(1.0, 32, 100), Work(1.0, 100, 100)], EPOCHS),
        ([Work(1.0, 32, 100), Work(math.nan, 100, 100)], STEPS),  # of what took no step nothing is known
    ],
)
def test_the_clock_is_one_by_which_all_do_as_much(found: list[Work], clock: str) -> None:
    assert fair(found) == clock


def test_what_a_step_evaluates_is_counted_over_all_kinds() -> None:
    run = Run.make("linear_regression", "sgd", steps=10, batch_size=0)
    calls = {"gradient_calls": 10, "value_calls": 15, "hvp_calls": 5, "probe_gradient_calls": 99}
    results = [
        Result(run, "done", summary={"last_step": 10, **calls}),
        Result(run, "diverged", summary={"last_step": 0}),
    ]
    found = work(results, 200)
    assert found == Work(3.0, 200, 200)
    assert work([Result(run, "done", summary={"last_step": 1, "gradient_calls": 2})], 200).evaluations == 2
    assert [found.per_step(clock) for clock in (STEPS, EVALUATIONS, EPOCHS)] == [1.0, 3.0, 3.0]
    assert Work(2.0, 50, 200).per_step(EPOCHS) == 0.5
    assert (told(12.34, EPOCHS), told(12.34, EVALUATIONS), told(12345.6, EPOCHS)) == ("12.3", "12", "12346")
    assert (told(999.4, EPOCHS), told(999.7, EPOCHS), told(1000, EPOCHS)) == ("999", "1000", "1000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clocks") / "results"


@pytest.fixture(scope="module")
def outcome(folder: Path) -> Comparison:
    question = Question("linear_regression, quadratic", "sgd, sam(sgd), rprop, bfgs", "default", trials=3, seeds=5)
    found = compare(plan(question), Ledger(Store(folder)), lambda phase, runs: lambda progress: None)
    comparisons.save(found, folder)
    return found


def test_full_batches_get_the_epochs_of_minibatches_unless_steps_are_given(outcome: Comparison) -> None:
    task = outcome.plan.tasks[0]
    examples = len(task.made.train)
    steps = {str(c.optimizer): c.steps for c in outcome.plan.contestants if c.task is task}
    assert steps["sgd"] == steps["sam(sgd)"] == task.steps
    assert steps["rprop"] == steps["bfgs"] == round(task.steps * task.batch_size / examples) < task.steps
    given = plan(Question("linear_regression", "sgd, rprop", "default", steps=30))
    assert [c.steps for c in given.contestants] == [30, 30]
    whole = plan(Question("linear_regression", "sgd, rprop", "default", batch_size=0))
    assert len({c.steps for c in whole.contestants}) == 1


def test_rows_are_held_against_each_other_by_epochs_or_evaluations(outcome: Comparison) -> None:
    mixed, one_example = outcome.rows.values()
    assert (clock_of(mixed), clock_of(one_example)) == (EPOCHS, EVALUATIONS)
    task = outcome.plan.tasks[0]
    for row in mixed:
        per_step = {"sgd": 1, "sam(sgd)": 2}.get(str(row.contestant.optimizer))
        if per_step and math.isfinite(row.steps_to_target):
            epochs = row.steps_to_target * per_step * task.batch_size / len(task.made.train)
            assert row.to_target(EPOCHS) == pytest.approx(epochs)


def test_evaluations_that_do_not_come_evenly_stand_in_the_trace(outcome: Comparison, folder: Path) -> None:
    rows = {str(row.contestant.optimizer): row for row in list(outcome.rows.values())[1]}
    store = Store(folder)
    for name, row in rows.items():
        result = store.find(row.contestant.evaluation_runs(row.best)[0])
        assert result is not None
        counted = [value for _, measure, value in result.trace if measure == "evaluations"]
        calls = sum(n for key, n in result.summary.items() if key.endswith("_calls") and "_" not in key[:-6])
        if name == "bfgs":  # which converges long before its last step, and evaluates no more
            assert counted == sorted(counted)
            assert counted[-1] == calls
            assert row.to_target(EVALUATIONS) == counted[1] > calls / 20
        else:
            assert not counted


def test_the_report_and_the_record_name_the_clock(outcome: Comparison, folder: Path) -> None:
    evidence = Evidence.read(str(folder))
    found = contests(evidence, evidence.comparisons[0])
    assert [contest.clock for contest in found] == [EPOCHS, EVALUATIONS]
    palette = Palette([row["optimizer"] for row in found[0].rows])
    for contest, rows in zip(found, outcome.rows.values(), strict=True):
        by_name = {str(row.contestant.optimizer): row for row in rows}
        for row in contest.leading:
            assert contest.to_target(row, contest.clock) == by_name[row["optimizer"]].to_target(contest.clock)
        curves = contest.curves(contest.ranked_by)
        last = curves.groupby("optimizer")[["step", contest.clock]].last()
        assert last.loc["sam(sgd)", contest.clock] == pytest.approx(2 * last.loc["sgd", contest.clock], rel=0.01)
        assert f"{contest.clock} to target" in [column.name for column in verdict_table(contest, "key").columns]
        assert list(figures.curves(contest, palette)[0])[:2] == [contest.clock, STEPS]
    best = found[0].leading[0]
    assert times(found).loc[0, best["optimizer"]] == found[0].to_target(best, EPOCHS)
    assert "epochs or evaluations" in figures.profile(found, palette)


def test_a_row_whose_runs_took_no_step_has_no_clock_but_steps(outcome: Comparison, folder: Path) -> None:
    evidence = Evidence.read(str(folder))
    contest = contests(evidence, evidence.comparisons[0])[0]
    null = {**contest.rows[0], "per_step": {STEPS: 1.0, EVALUATIONS: None, EPOCHS: None}}
    curves = replace(contest, rows=[null, *contest.rows[1:]], _known={}).curves(contest.ranked_by)
    assert curves.groupby("optimizer")[EPOCHS].count()[null["optimizer"]] == 0
    assert curves[EPOCHS].notna().any()


def test_a_run_that_diverged_between_evaluations_is_no_dearer_a_step() -> None:
    runs = [Run.make("quadratic", f"sgd(lr={rate})", steps=2000, eval_every=20, batch_size=1) for rate in (0.1, 5.0)]
    found: list[Result] = []
    for run in runs:
        train([run], on_result=found.append)
    assert {result.status for result in found} == {"done", "diverged"}
    assert fair(work([result], 1) for result in found) == STEPS
    assert not any(measure == "evaluations" for result in found for _, measure, _ in result.trace)


def test_the_command_says_whose_steps_are_fewer(tmp_path: Path) -> None:
    asked = ["compare", "--problems", "linear_regression", "--optimizers", "sgd, rprop", "--initializers", "default"]
    done = CliRunner().invoke(cli, [*asked, "--dry-run", "--results", str(tmp_path)])
    assert "full batches and as many epochs, so fewer steps: rprop (6 on linear_regression)" in done.output
    more = ["--trials", "2", "--seeds", "2", "--json", "--quiet", "--results", str(tmp_path)]
    record = json.loads(CliRunner().invoke(cli, [*asked, *more]).stdout)
    assert record["problems"][0]["clock"] == EPOCHS
    assert {row["optimizer"]: row["steps"] for row in record["rows"]} == {"sgd": 400, "rprop": 6}
    assert {row["optimizer"]: row["per_step"][EVALUATIONS] for row in record["rows"]} == {"sgd": 1.0, "rprop": 1.0}
