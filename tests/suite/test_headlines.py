from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_engine import FakeEngine, bowl

from analysis.figures import Palette
from suite import comparisons, export
from suite.cli import cli
from suite.findings import findings, lines
from suite.headlines import headline
from suite.ledger import Ledger
from suite.outcome import Comparison, compare
from suite.plan import Question, plan
from suite.reporting.contests import every, times
from suite.reporting.evidence import Evidence
from suite.reporting.figures import profile
from suite.spec import Result, Run
from suite.store import Store

QUESTION = Question("digits_mlp", "adam, sgd, momentum", "default", trials=6, seeds=9, steps=40)


class WithCounts(FakeEngine):
    """Also counts two gradients a step, and reads a clock."""

    def result(self, run: Run) -> Result:
        found = super().result(run)
        counted = {"last_step": run.steps, "gradient_calls": 2 * run.steps}
        read = [(step, "seconds", step / 80) for step in sorted({step for step, _, _ in found.trace})]
        return replace(found, summary={**found.summary, **counted}, trace=(*found.trace, *read))


def outcome(folder: Path, question: Question = QUESTION, engine: FakeEngine | None = None) -> Comparison:
    ledger = Ledger(Store(folder), train=engine or FakeEngine())
    return compare(plan(question), ledger, lambda phase, runs: lambda progress: None)


def sentence(found: Comparison) -> str:
    ((task, rows),) = found.rows.items()
    return str(headline(task, rows))


def worse(by: dict[str, float]) -> Any:
    def loss(run: Run) -> float:
        return bowl(run) + next((more for name, more in by.items() if run.optimizer.startswith(name)), 0.0)

    return loss


def test_what_won_by_how_much_with_what_certainty_and_at_what_cost(tmp_path: Path) -> None:
    engine = WithCounts(loss=worse({"sgd": 0.1, "momentum": 0.2}))
    told = sentence(outcome(tmp_path, engine=engine))
    assert told.startswith("digits_mlp: adam lr=0.01 from default is better than both others; test_accuracy 0.98")
    assert "(n = 9), ahead of sgd lr=0.01 from default by 0.0" in told
    assert "(p = 0.012)" in told  # 3 pairs · 2/2⁹
    assert told.endswith("valid_accuracy >= 0.9500 reached in 40 steps, 80 gradients, 500 ms measured")


def test_what_cannot_be_told_or_was_not_reached_is_said(tmp_path: Path) -> None:
    told = sentence(outcome(tmp_path / "same"))
    assert told.startswith("digits_mlp: no single winner, ")
    assert " is first by its median (not told from 2); " in told
    assert "ahead" not in told
    few = sentence(outcome(tmp_path / "few", replace(QUESTION, seeds=3)))
    assert "too few seeds to tell from 2" in few and "ahead" not in few and "[" not in few
    missed = sentence(outcome(tmp_path / "far", replace(QUESTION, target="0.999")))
    assert missed.endswith("valid_accuracy >= 0.9990 not reached in 40 steps (0 of 9 runs did)")
    alone = sentence(outcome(tmp_path / "one", replace(QUESTION, optimizers="adam")))
    assert "is alone" in alone and "ahead" not in alone
    none = FakeEngine(loss=lambda run: math.inf if run.seed < 9 else bowl(run))
    nowhere = sentence(outcome(tmp_path / "none", replace(QUESTION, optimizers="adam"), none))
    assert nowhere.startswith(
        "digits_mlp: no best, for adam lr=0.01 from default diverged (half of its runs or more); "
    )
    assert "inf" not in nowhere
    two = FakeEngine(loss=lambda run: math.inf if run.optimizer.startswith("sgd") and run.seed < 9 else bowl(run))
    diverged = sentence(outcome(tmp_path / "two", replace(QUESTION, optimizers="adam, sgd"), two))
    assert "is better than the other" in diverged
    assert "ahead of sgd lr=0.01 from default, which diverged (p = " in diverged


def test_one_that_is_better_seed_by_seed_is_not_said_to_be_as_good(tmp_path: Path) -> None:
    """Seeds differ by 0.1, sgd from adam by −0.01 but at the middle seed, which makes the medians."""

    def loss(run: Run) -> float:
        if not run.seed < 9:
            return bowl(run)
        return 0.1 * run.seed - (run.optimizer.startswith("sgd") and (0.01 if run.seed != 4 else -0.001))

    found = outcome(tmp_path, replace(QUESTION, optimizers="adam, sgd"), FakeEngine(loss=loss))
    told = sentence(found)
    assert "no single winner, adam lr=0.01 from default is first by its median" in told
    assert "(worse than 1 in the paired test)" in told
    (rows,) = found.rows.values()
    assert rows[1].verdict is not None and rows[1].verdict.p == pytest.approx(4 / 2**9)  # one of nine, the smallest
    comparisons.save(found, tmp_path)
    done = CliRunner().invoke(cli, ["report", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "though sgd is better seed by seed, in the paired test" in (tmp_path / "report.html").read_text()


def test_nothing_to_tell_of_what_could_not_be_run(tmp_path: Path) -> None:
    found = outcome(tmp_path, engine=FakeEngine(broken=lambda run: "oh"))
    ((task, rows),) = found.rows.items()
    assert headline(task, rows) is None
    assert list(lines(findings(found))) == []
    assert json.loads(export.to_json(export.of_comparison(found)))["headlines"] == []


def test_costs_price_the_way_to_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    run = plan(QUESTION).tuning()[0]
    costs = pd.DataFrame(
        {
            "problem": [run.problem] * 2,
            "optimizer": [run.optimizer, run.optimizer],
            "batch_size": run.batch_size,
            "dtype": "float32",
            "device": "cpu",
            "seconds": [0.01, 0.1],
            "environment.processor": ["quick", "slow"],
            "environment.device": "cpu",
            "environment.threads": 1,
        }
    )
    monkeypatch.setattr("suite.costs.load_costs", lambda results: costs)
    found = outcome(tmp_path, engine=FakeEngine(loss=worse({"sgd": 0.1, "momentum": 0.2})))
    assert sentence(found).endswith("reached in 40 steps, 400 ms on quick, 1 thread, 4 s on slow, 1 thread")
    (rows,) = found.rows.values()
    assert set(rows[0].arrivals) == {"steps", "seconds on quick, 1 thread", "seconds on slow, 1 thread"}
    assert set(rows[1].arrivals) == {"steps"}  # sgd has no cost yet: absent, not an error


def test_findings_say_whether_tuning_decides_and_problems_agree(tmp_path: Path) -> None:
    def loss(run: Run) -> float:
        if run.problem.startswith("linear"):
            return bowl(run) + (0.5 if run.optimizer.startswith("adam") else 0.0)
        return 1.0 + 0.001 * run.seed % 3 if run.optimizer.startswith("sgd") else 3 * bowl(run)

    question = replace(QUESTION, problems="digits_mlp, linear_regression", target="linear_regression:1")
    found = findings(outcome(tmp_path, question, FakeEngine(loss=loss)))
    firsts = [(c["trials"], c["first"]) for c in found["ranking_changes"] if c["problem"] == "digits_mlp"]
    assert firsts[0] == (1, "sgd from default")
    assert firsts[-1][1] != "sgd from default"
    curves = [c for c in found["tuning"] if c["problem"] == "digits_mlp" and c["contestant"] == "adam from default"]
    assert [c["trials"] for c in curves] == [1, 2, 3, 4, 5, 6]
    assert all(0 < c["expected"] < 1 for c in curves)  # what ended worse than it began counts as its start
    (pair,) = found["rank_correlation"]
    assert (pair["a"], pair["b"], pair["n"]) == ("digits_mlp", "linear_regression", 3)
    assert {score["contestant"] for score in found["profile_scores"]} == {
        f"{name} from default" for name in ("adam", "sgd", "momentum")
    }
    one = findings(outcome(tmp_path / "one", replace(QUESTION, optimizers="adam, momentum(lr=0.1)", seeds=3)))
    assert {c["contestant"] for c in one["tuning"]} == {"adam from default"}  # of one trial there is nothing to expect
    assert one["profile_scores"] == [] == one["rank_correlation"]  # nor of one problem
    told = list(lines(found))
    assert told[0] == "the best to expect of so many trials"
    assert told[1].split()[:8] == ["digits_mlp", "sgd", "from", "default;", "from", "2", "trials", "on"]
    agreement = told[told.index("between problems") + 1]
    assert agreement.startswith("  rank correlation of final medians (Kendall)") and "digits_mlp and " in agreement


def test_json_has_headlines_and_findings(tmp_path: Path) -> None:
    found = json.loads(export.to_json(export.of_comparison(outcome(tmp_path))))
    (line,) = found["headlines"]
    assert line["sentence"].startswith("digits_mlp: ")
    assert line["estimate"]["n"] == 9
    assert set(found["findings"]) == {
        "tuning",
        "ranking_changes",
        "vanishing_advantages",
        "sensitivity",
        "rank_correlation",
        "profile_scores",
        "profile_clocks",
    }
    of_adam = next(s for s in found["findings"]["sensitivity"] if s["contestant"] == "adam from default")
    assert (of_adam["setting"], of_adam["at"], of_adam["n"]) == ("lr", 0.01, 6)
    assert 0 < of_adam["width"] < 1  # the bowl loses 5 % of an accuracy within a quarter of a power of ten
    assert found["rows"][0]["time_to_target"]["steps"]["median"] == 40
    assert found["question"]["search"] == "auto"


def test_a_problem_that_an_optimizer_was_not_run_on_does_not_count_against_it(tmp_path: Path) -> None:
    """adam and sgd on two problems, momentum on the first alone, in a comparison of its own."""
    for problems, optimizers in (("digits_mlp, linear_regression", "adam, sgd"), ("digits_mlp", "adam, momentum")):
        question = replace(QUESTION, problems=problems, optimizers=optimizers, target="digits_mlp:0.9")
        comparisons.save(outcome(tmp_path, question), tmp_path)
    evidence = Evidence.read(str(tmp_path))
    table = times(every(evidence))
    assert len(table) == 3 and table.notna().sum().to_dict() == {"adam": 3, "sgd": 2, "momentum": 1}
    shown = profile(every(evidence), Palette(["adam", "sgd", "momentum"]))["steps"]
    assert "Of the 3 problems shares are over those that an optimizer was run on: " in shown.caption
    assert "sgd 2" in shown.caption and "momentum 1." in shown.caption and "adam 3" not in shown.caption
