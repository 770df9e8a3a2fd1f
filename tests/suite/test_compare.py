from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine, bowl

from problems.names import UsageError, parse
from suite import comparisons, tables
from suite.ledger import Ledger
from suite.outcome import Comparison, compare
from suite.outlook import Outlook, show_plan
from suite.plan import TUNING_SEEDS, Question, default_eval_every, plan
from suite.spec import Result, Run
from suite.store import Store

SMALL = Question("digits_mlp", "adam, sgd", "default", trials=6, seeds=6, steps=40)


def lr(run: Run) -> float:
    return parse(run.optimizer).options["lr"]


def is_adam(run: Run) -> bool:
    return run.optimizer.startswith("adam")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


def outcome(question: Question, folder: Path, **made_up: Callable[[Run], float]) -> tuple[Comparison, FakeEngine]:
    engine = FakeEngine(**made_up)
    ledger = Ledger(Store(folder), train=engine)
    return compare(plan(question), ledger, lambda phase, runs: lambda progress: None), engine


# planning -------------------------------------------------------------------------------


def test_every_optimizer_gets_the_same_budget_and_seeds_are_apart() -> None:
    planned = plan(replace(SMALL, initializers="default, glorot_normal"))
    runs = planned.tuning()
    per_optimizer = [sum(is_adam(run) == flag for run in runs) for flag in (True, False)]
    assert per_optimizer == [6 * len(TUNING_SEEDS) * 2] * 2
    assert {run.seed for run in runs} == set(TUNING_SEEDS)
    trial = planned.contestants[0].trials[0]
    assert {run.seed for run in planned.contestants[0].evaluation_runs(trial)} == set(range(6))
    assert len({run.id for run in runs}) == len(runs)


def test_all_share_the_problem_s_batches_and_steps() -> None:
    (task,) = plan(SMALL).tasks
    assert task.steps == 40
    assert task.batch_size == task.made.batch_size
    (full,) = plan(replace(SMALL, steps=None, batch_size=0)).tasks
    assert full.batch_size == 0
    assert full.steps > 0


def test_measures_go_by_the_splits_that_there_are() -> None:
    tasks = {task.spec.name: task for task in plan(Question("digits_mlp, linear_regression, quadratic_deep")).tasks}
    assert tasks["digits_mlp"].judged_by == "valid_accuracy"
    assert tasks["digits_mlp"].reported == ("test_accuracy", "test_loss")
    assert tasks["linear_regression"].judged_by == "valid_loss"
    assert tasks["linear_regression"].reported == ("test_loss",)
    assert tasks["quadratic_deep"].judged_by == "train_loss"  # it has no validation split
    assert tasks["quadratic_deep"].reported == ("test_loss",)


def test_a_start_that_makes_no_sense_is_skipped_with_its_reason_once() -> None:
    planned = plan(replace(SMALL, problems="quadratic_deep, digits_mlp", initializers="default, he_normal"))
    ((name, start, reason),) = planned.skipped
    assert (name, start) == ("quadratic_deep", "he_normal")
    assert "no weights" in reason
    assert len(planned.contestants) == 2 + 4


def test_the_default_question_is_the_issue_s() -> None:
    planned = plan(Question())
    assert len(planned.tasks) >= 3
    assert len({str(c.optimizer) for c in planned.contestants}) >= 5
    assert len({str(c.initializer) for c in planned.contestants}) == 2
    assert all(task.made.layout for task in planned.tasks)


@pytest.mark.parametrize(
    ("optimizers", "starts", "seeds"),
    [("sgd, adam", "default", 15), ("book", "default", 16), ("all", "default, glorot_normal", 20)],
)
def test_fresh_seeds_are_enough_to_tell_all_pairs_of_rows_apart(optimizers: str, starts: str, seeds: int) -> None:
    planned = plan(Question("digits_mlp", optimizers, starts))
    assert planned.seeds == planned.question.seeds == seeds  # as it will be recorded
    assert planned.rows == len(planned.contestants)
    pairs = math.comb(planned.rows, 2)
    assert pairs * 2 / 2 ** (seeds - 3) <= 0.05  # the least p of a signed-rank test on 3 seeds fewer, corrected
    assert {len(contestant.evaluation_runs(contestant.trials[0])) for contestant in planned.contestants} == {seeds}


def test_what_makes_no_sense_for_a_problem_is_skipped_and_no_failure(folder: Path) -> None:
    question = Question("quadratic", "sgd, kfac", "default", trials=2, seeds=5, steps=20)
    found = compare(plan(question), Ledger(Store(folder)), lambda phase, runs: lambda progress: None)
    kept, skipped = next(iter(found.rows.values()))
    assert kept.best is not None
    assert skipped.skipped
    assert "has no Kronecker factors" in skipped.problem
    assert not found.failed
    record = comparisons.of_comparison(found)
    assert [row["verdict"] for row in record["rows"]] == ["best", "skipped"]


def test_fewer_seeds_than_could_tell_are_kept_and_the_plan_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    planned = plan(Question("digits_mlp", "sgd, adam", "default", seeds=5))
    assert planned.seeds == 5
    show_plan(tables.console(sys.stdout), planned, lambda: Outlook(1, 0, 1.0, 1, "results"))
    assert "5 fresh seeds cannot tell the best" in (shown := capsys.readouterr().out)
    assert "need --seeds 6 or more" in shown


def test_a_plan_is_shown_before_anything_is_tried_for_the_time_that_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before: list[str] = []

    def outlook() -> Outlook:
        before.append(capsys.readouterr().out)
        return Outlook(74, 3, 100.0, 2, "here")

    show_plan(tables.console(sys.stdout), plan(Question("digits_mlp", "sgd, adam", "default")), outlook)
    assert "digits_mlp" in before[0]
    assert "2 seeds to tune" in before[0]
    assert capsys.readouterr().out == "74 runs, 3 of the tuning stored in here: about 2 min in 2 processes\n\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problems": "digits_mlq"}, "unknown problem 'digits_mlq'; did you mean digits_mlp"),
        ({"optimizers": "adma"}, "unknown optimizer 'adma'"),
        ({"initializers": "glorot"}, "unknown initializer 'glorot'; did you mean glorot_"),
        ({"optimizers": "adam(lr=-1)"}, "adam: lr must be > 0, got -1"),
        ({"optimizers": "adam("}, "expected a name or a value, found the end"),
        ({"seeds": 0}, "compare: seeds must be >= 1, got 0"),
        ({"trials": -3}, "compare: trials must be >= 1, got -3"),
        ({"steps": -1}, "steps must be >= 0, got -1"),
        ({"batch_size": 10**6}, r"digits_mlp: batch size must be in \[1, 1197\]"),
        ({"device": "warp"}, "device must be one that torch can use here"),
        ({"dtype": "float8"}, "dtype must be one of float32, float64"),
        ({"problems": "quadratic_deep", "initializers": "zeros"}, "nothing to run .*zeros on quadratic_deep"),
    ],
)
def test_mistakes_are_told_before_anything_runs(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(replace(SMALL, **changes)).tuning()  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "most", "every"), [(0, 100, 37), (370, 100, 37), (3700, 100, 37), (7401, 100, 111)])
def test_evaluations_come_at_epochs_but_not_too_many(steps: int, most: int, every: int) -> None:
    made = plan(SMALL).tasks[0].made
    assert len(made.train) // 32 == 37
    assert default_eval_every(made, 32, steps, most) == every


# outcome --------------------------------------------------------------------------------


def test_the_best_setting_wins_and_is_run_on_fresh_seeds(folder: Path) -> None:
    found, engine = outcome(SMALL, folder)
    (rows,) = found.rows.values()
    assert len(rows) == 2
    for row in rows:
        assert row.best is not None
        of_adam = str(row.contestant.optimizer) == "adam"
        losses = [bowl(run) for run in engine.trained if is_adam(run) == of_adam]
        best = row.best.spec.options["lr"]
        assert abs(math.log10(best) + 2) <= 0.5 + 1e-3
        assert min(losses) >= (math.log10(best) + 2) ** 2
        fresh = [run for run in engine.trained if run.seed < 6 and run.optimizer == str(row.best.spec)]
        assert [run.seed for run in fresh] == list(range(6))
        final = [bowl(run) for run in fresh]
        assert row.final["test_loss"].value == pytest.approx(np.median(final))
        assert row.final["test_accuracy"].n == 6
        assert row.diverged == {"tuning": (0, 12), "evaluation": (0, 6)}
        tuned = [[1 / (1 + bowl(run)) for run in row.contestant.tuning_runs(t)] for t in row.contestant.trials]
        assert row.tried == pytest.approx(np.median(tuned, axis=1))
        assert row.start == pytest.approx(np.median([1 / (1 / accuracy + 3) for each in tuned for accuracy in each]))
    assert not found.failed


def test_the_best_of_several_is_marked_and_others_judged_against_it(folder: Path) -> None:
    question = replace(SMALL, optimizers="adam(lr=0.01), adam(lr=0.0100001), adam(lr=0.1)", seeds=9)
    found, _ = outcome(question, folder, loss=lambda run: bowl(run) + 1e-6 * ((run.seed + round(lr(run) * 1e7)) % 3))
    (rows,) = found.rows.values()
    assert [row.verdict and row.verdict.outcome for row in rows] == [None, "indistinguishable", "worse"]
    assert str(rows[2].contestant.optimizer) == "adam(lr=0.1)"
    assert all(len(row.contestant.trials) == 1 for row in rows)
    question = replace(question, optimizers="adam(lr=0.01), adam(lr=0.1), adam(lr=0.1000001)")
    found, _ = outcome(question, folder, loss=lambda run: bowl(run) + 1e-6 * ((run.seed + round(lr(run) * 1e7)) % 3))
    (rows,) = found.rows.values()
    assert [row.verdict and row.verdict.outcome for row in rows] == [None, "worse", "worse"]  # not against each other


def test_steps_to_the_target_are_honest(folder: Path) -> None:
    """The target is an accuracy of 0.95: a loss of 1/0.95 − 1 in the fake."""
    limit = 1 / 0.95 - 1

    def loss(run: Run) -> float:
        if run.seed > 5:
            return bowl(run)
        good = {"adam": 6, "sgd": 2}["adam" if is_adam(run) else "sgd"]
        return limit / 2 if run.seed < good else 2 * limit

    (found,) = outcome(SMALL, folder, loss=loss)[0].rows.values()
    rows = {str(row.contestant.optimizer): row for row in found}
    assert rows["adam"].reached == 6
    assert rows["adam"].steps_to_target == 40
    assert rows["sgd"].reached == 2
    assert rows["sgd"].steps_to_target == math.inf


def test_runs_that_diverged_or_failed_are_on_their_way_to_the_target_for_ever(folder: Path) -> None:
    """Of six runs three arrive one after another and the others ended at once: half are there with the third."""
    losses = {3: 0.1, 4: 0.4, 5: 0.7}  # 3(1 − k/40) + loss falls to 1/0.3 − 1 at k = 10.2, 14.2 and 18.2
    found, _ = outcome(
        replace(SMALL, target="0.3"),
        folder,
        loss=lambda run: losses.get(run.seed, math.inf) if run.seed < 6 else bowl(run),
        broken=lambda run: "ValueError: oh" if run.seed == 0 else "",
    )
    for row in next(iter(found.rows.values())):
        time = row.arrivals["steps"]
        assert (time.median, time.reached, time.n) == (20, 3, 6)  # it is looked at every second step


def test_diverged_runs_count_as_worst_and_are_told(folder: Path) -> None:
    def loss(run: Run) -> float:
        if is_adam(run) and (lr(run) > 0.05 or run.seed in (0, 1, 2, 3)):
            return math.inf
        return bowl(run)

    rows = next(iter(outcome(SMALL, folder, loss=loss)[0].rows.values()))
    assert [str(row.contestant.optimizer) for row in rows] == ["sgd", "adam"]
    assert rows[1].diverged["tuning"] == (4, 12)  # rates 0.1 and 1 of six
    assert rows[1].diverged["evaluation"] == (4, 6)
    assert rows[1].final["test_loss"].value == math.inf
    assert rows[1].final["test_accuracy"].value == -math.inf


def test_what_starts_cost_is_told_as_their_mean(folder: Path) -> None:
    class Started(FakeEngine):
        def result(self, run: Run) -> Result:
            found = super().result(run)
            return replace(found, summary={**found.summary, "start_gradient_calls": 10 + run.seed})

    ledger = Ledger(Store(folder), train=Started())
    found = compare(plan(SMALL), ledger, lambda phase, runs: lambda progress: None)
    for row in next(iter(found.rows.values())):
        assert row.spent == {"start_gradient_calls": 12.5}  # of seeds 0 to 5


def test_a_best_setting_at_the_edge_is_told(folder: Path) -> None:
    rows = next(iter(outcome(SMALL, folder, loss=lambda run: 1 / lr(run))[0].rows.values()))
    assert [row.best.edge for row in rows if row.best] == [("lr high",), ("lr high",)]


def test_one_broken_optimizer_becomes_a_row_and_the_others_go_on(folder: Path) -> None:
    found, engine = outcome(SMALL, folder, broken=lambda run: "ValueError: oh (mine.py)" if is_adam(run) else "")
    rows = next(iter(found.rows.values()))
    assert [str(row.contestant.optimizer) for row in rows] == ["sgd", "adam"]
    assert rows[1].best is None
    assert rows[1].problem == "failed: ValueError: oh (mine.py)"
    assert not [run for run in engine.trained if is_adam(run) and run.seed < 6]
    assert found.failed


def test_one_that_breaks_on_some_seeds_only_counts_them_as_worst(folder: Path) -> None:
    found, _ = outcome(SMALL, folder, broken=lambda run: "ValueError: oh" if is_adam(run) and run.seed == 3 else "")
    adam = next(row for row in next(iter(found.rows.values())) if str(row.contestant.optimizer) == "adam")
    assert adam.problem == "1 of 6 runs failed: ValueError: oh"
    assert max(-value for value in adam.values) == math.inf


# going on -------------------------------------------------------------------------------


def test_again_nothing_is_trained_and_the_outcome_is_the_same(folder: Path) -> None:
    first, _ = outcome(SMALL, folder)
    second, engine = outcome(SMALL, folder)
    assert engine.trained == []
    for one, other in zip(*(next(iter(o.rows.values())) for o in (first, second)), strict=True):
        assert one.final == other.final
        assert one.best == other.best


@pytest.mark.parametrize("after", [0, 1, 13, 30])
def test_an_interrupted_comparison_goes_on(folder: Path, after: int) -> None:
    interrupted = FakeEngine(until=after)
    ledger = Ledger(Store(folder), train=interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(plan(SMALL), ledger, lambda phase, runs: lambda progress: None)
    assert ledger.stored == after
    _, engine = outcome(SMALL, folder)
    assert not set(engine.trained) & set(interrupted.trained)
    assert len(engine.trained) == 24 + 12 - after


def test_failed_runs_are_tried_again_and_force_trains_everything(folder: Path) -> None:
    outcome(SMALL, folder, broken=lambda run: "out of memory" if run.seed == 0 else "")
    _, engine = outcome(SMALL, folder)
    assert {run.seed for run in engine.trained} == {0}
    forced = FakeEngine()
    compare(plan(SMALL), Ledger(Store(folder), force=True, train=forced), lambda phase, runs: lambda progress: None)
    assert len(forced.trained) == 36


def test_phases_are_told_with_what_they_will_train(folder: Path) -> None:
    told: list[tuple[str, int]] = []
    shares: list[float] = []

    def on_phase(phase, runs):
        told.append((phase, len(runs)))
        return lambda progress: shares.append(progress.done / progress.total)

    compare(plan(SMALL), Ledger(Store(folder), train=FakeEngine()), on_phase)
    assert told == [("tuning", 24), ("evaluation", 12)]
    assert shares.count(1.0) == 2
