from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from analysis.numbers import number
from suite import comparisons
from suite.engine import Progress
from suite.estimate import Course, seconds
from suite.ledger import Ledger
from suite.outcome import compare
from suite.plan import Question, plan
from suite.progress import Display, Lines, count, span
from suite.reporting.contests import every
from suite.reporting.evidence import Evidence
from suite.reporting.page import _summary
from suite.spec import Run
from suite.store import Store
from suite.tables import console, percent, show_comparison

QUESTION = Question("digits_mlp", "adam, polyak(clip(sgd)), momentum(lr=0.1)", trials=4, seeds=6, steps=20)


def screen(width: int, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)


def printed(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


# numbers --------------------------------------------------------------------------------


@given(st.floats(-1e300, 1e300))
def test_numbers_keep_four_digits(value: float) -> None:
    shown = number(value)
    assert float(shown) == pytest.approx(value, rel=1e-3)
    assert len(shown) <= 12


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0.0, "0"), (0.97333, "0.9733"), (87.2, "87.20"), (1234.5, "1234"), (3e-9, "3.000e-09")),
        *((5.0e5, "5.000e+05"), (0.0099999, "0.01000"), (0.99996, "1.000"), (-9.99951, "-10.00"), (9999.6, "10000")),
    ],
)
def test_numbers_as_shown(value: float, shown: str) -> None:
    assert number(value) == shown


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_is_never_rounded_to_none_or_all(pair: tuple[int, int]) -> None:
    part, whole = pair
    assert (percent(part, whole) == "0 %") == (part == 0)
    assert (percent(part, whole) == "100 %") == (part == whole)


def test_durations_and_counts() -> None:
    assert [span(s) for s in (0.2, 89, 100, 5000, 9000)] == ["0 s", "89 s", "2 min", "83 min", "2.5 h"]
    assert (count(1, "run"), count(2, "run"), count(2, "process", "processes")) == ("1 run", "2 runs", "2 processes")


# tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", ["default", "default, glorot_normal"])
@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_comparison_fits_the_terminal(tmp_path: Path, width: int, starts: str) -> None:
    question = replace(QUESTION, initializers=starts)
    outcome = compare(plan(question), Ledger(Store(tmp_path), train=FakeEngine()), lambda phase, runs: lambda p: None)
    to = screen(width)
    show_comparison(to, outcome)
    lines = printed(to).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for words in ("polyak(clip(sgd))", " lr=", "momentum(lr=0.1)", "test_accuracy", "test_loss"):
        assert words in text
    for row in next(iter(outcome.rows.values())):
        assert number(row.final["test_loss"].value) in text


@pytest.mark.parametrize(
    ("optimizers", "there", "missing"),
    [
        ("adam, lbfgs, bfgs", ["on 4 trials x 2 seeds", "one trial, as there is nothing to tune: bfgs, lbfgs"], "!"),
        ("adam, polyak(sgd)", ["on 4 trials x 2 seeds"], "one trial, as"),
        ("lbfgs, sgd(lr=0.1)", ["one trial, as there is nothing to tune: lbfgs, sgd(lr=0.1)"], "tuned by"),
    ],
)
def test_who_had_nothing_to_tune_is_told(tmp_path: Path, optimizers: str, there: list[str], missing: str) -> None:
    engine = FakeEngine(loss=lambda run: 0.1 + 0.001 * run.seed)
    asked = replace(QUESTION, optimizers=optimizers, seeds=3)
    outcome = compare(plan(asked), Ledger(Store(tmp_path), train=engine), lambda phase, runs: lambda p: None)
    to = screen(200)
    show_comparison(to, outcome)
    caption = printed(to).partition("shown:")[0]
    assert all(words in caption for words in there) and missing not in caption
    comparisons.save(outcome, tmp_path)
    evidence = Evidence.read(str(tmp_path))
    lead = _summary(evidence, every(evidence))
    left = [name for name in ("lbfgs", "bfgs", "sgd(lr=0.1)") if name in optimizers]
    if "adam" not in optimizers:
        assert "There was nothing to tune, and each was run again on 3 fresh seeds" in lead
    else:
        but = f" (but for {', '.join(sorted(left))}, of which nothing is left to tune)" if left else ""
        assert f"the same budget, 4 trials{but}, and its best setting was run again" in lead


def test_runs_of_several_commits_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def outcome() -> str:
        to = screen(200)
        show_comparison(
            to, compare(plan(QUESTION), Ledger(store, train=FakeEngine()), lambda phase, runs: lambda p: None)
        )
        return printed(to)

    alone = outcome()
    assert alone.count("measured on") == 1 and ", commit c0ffee\n" in alone and "commits of the suite" not in alone
    for result in list(store):
        if result.run.seed % 2:
            store.save(replace(result, environment={**result.environment, "commit": "d" * 40 + "+dirty"}))
    mixed = outcome()
    assert mixed.count("measured on") == 1
    assert all(commit in mixed.partition("commits ")[2].splitlines()[0] for commit in ("c0ffee", "dddddddddd+dirty"))
    assert "! runs of 2 commits of the suite stand side by side" in mixed


def test_a_terminal_of_40_columns_loses_nothing(tmp_path: Path) -> None:
    outcome = compare(plan(QUESTION), Ledger(Store(tmp_path), train=FakeEngine()), lambda phase, runs: lambda p: None)
    to = screen(40)
    show_comparison(to, outcome)
    lines = printed(to).splitlines()
    assert max(map(len, lines)) <= 40
    assert not any("…" in line for line in lines)


def test_what_is_no_terminal_gets_whole_lines(tmp_path: Path) -> None:
    outcome = compare(plan(QUESTION), Ledger(Store(tmp_path), train=FakeEngine()), lambda phase, runs: lambda p: None)
    file = io.StringIO()
    show_comparison(console(file), outcome)
    (row,) = (line for line in file.getvalue().splitlines() if line.startswith("*  "))
    assert row.count("[") == 2


# progress -------------------------------------------------------------------------------


def runs_of(problem: str, count: int, steps: int) -> list[Run]:
    return [Run.make(problem, "sgd", seed=seed, steps=steps, eval_every=steps) for seed in range(count)]


def test_an_estimate_grows_with_the_work() -> None:
    few, many = (seconds(runs_of("quadratic_deep", 4, steps), 1) for steps in (1000, 100_000))
    assert seconds([], 2) == 0.0
    assert 0 < few < many
    assert many > 10 * few


def test_work_is_shared_by_cost_and_not_by_steps() -> None:
    cheap, dear = runs_of("linear_regression", 4, 2000), runs_of("digits_mlp(hidden=(512, 512))", 4, 2000)
    course = Course([*cheap, *dear])
    shares = [course.share(steps) for steps in range(0, 16_001, 500)]
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert course.share(8000) > 0.5  # the dear ones go first


def test_without_a_terminal_progress_is_a_few_lines() -> None:
    to = screen(80, terminal=False)
    lines = Lines(to, "tuning", runs_of("quadratic_deep", 2, 100))
    for done in range(201):
        lines(Progress(done, 200))
    lines(Progress(200, 200))
    (line,) = printed(to).splitlines()
    assert line.startswith("tuning: 100% of 2 runs, ")
    assert "steps/s, took 0 s" in line


def test_on_a_terminal_progress_is_a_bar_per_phase() -> None:
    to = screen(80)
    with Display(to) as display:
        for phase in ("tuning", "evaluation"):
            listen = display.phase(phase, runs_of("quadratic_deep", 2, 100))
            listen(Progress(100, 200))
            listen(Progress(200, 200))
    shown = printed(to)
    assert "tuning 2 runs" in shown
    assert "evaluation 2 runs" in shown
    assert "100%" in shown


def test_quiet_says_nothing() -> None:
    to = screen(80)
    with Display(to, quiet=True) as display:
        display.phase("tuning", runs_of("quadratic_deep", 1, 10))(Progress(10, 10))
    assert printed(to) == ""
