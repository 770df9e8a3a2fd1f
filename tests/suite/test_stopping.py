"""Stopping rules on histories written by hand, and in runs that train beside others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from problems import Problem, UsageError, problem
from suite.cli import cli
from suite.evaluate import gradient_norms
from suite.outcome import _final
from suite.reporting.contests import contests
from suite.reporting.evidence import Evidence
from suite.runner import train_group
from suite.spec import Result, Run
from suite.stopping import GRADIENT, History, best_of, rule_of, stop

DIGITS = "digits_mlp(hidden=(8,))"


def made(text: str = DIGITS) -> Problem:
    return problem.build(problem.bind(text))


def ends(rule: str, history: History, on: str = DIGITS) -> int | None:
    """The number of the evaluation at which a rule ends a run; None if it does not."""
    over = rule_of(str(stop.bind(rule)), made(on)).over
    return next((i for i in range(len(history)) if over(history[: i + 1])), None)


def course(measure: str, *values: float) -> History:
    return [(10 * i, {measure: value}) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rule", "values", "end"),
    [
        ("early(patience=2, measure=valid_loss)", (3, 2, 1, 1.5, 1.2, 0.5), 4),
        ("early(patience=3, measure=valid_loss)", (3, 2, 1, 1.5, 1.2, 0.5, 0.6), None),
        ("early(patience=2, measure=valid_loss)", (1, 1, 1), 2),  # as good is not better
        ("early(patience=2, measure=valid_loss, delta=0.5)", (3, 2.8, 2.6, 1), 2),
        ("early(patience=2, measure=valid_loss, delta=0.5)", (3, 2.8, 2.4, 2.3, 2.2), 4),
        ("plateau(patience=2, measure=valid_loss, share=0.1)", (10, 9.5, 8.9, 8.5, 8.2, 1), 4),
        ("plateau(patience=2, measure=valid_loss, share=0.1)", (10, 8, 6, 4, 2, 1), None),
        ("plateau(patience=1, measure=valid_loss, share=0.1)", (-1, -1.05, -3), 1),  # −1.05 is within a tenth
    ],
)
def test_on_a_course(rule: str, values: tuple[float, ...], end: int | None) -> None:
    assert ends(rule, course("valid_loss", *values)) == end


def test_early_goes_by_the_error_where_there_is_one() -> None:
    falling_loss = [(k, {"valid_loss": -float(k), "valid_accuracy": acc}) for k, acc in enumerate((0.5, 0.9, 0.8, 0.9))]
    assert ends("early(patience=2)", falling_loss) == 3
    assert ends("early(patience=2, measure=valid_loss)", falling_loss) is None
    assert ends("early(patience=2, measure=valid_accuracy)", falling_loss) == 3
    assert best_of(made(), "valid_error", falling_loss) == best_of(made(), "valid_accuracy", falling_loss) == 1


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(1, 6))
def test_early_is_algorithm_7_1(values: list[float], patience: int) -> None:
    """The book's loop, written out: j counts evaluations since the last improvement."""
    best, j, wanted = float("inf"), 0, None
    for i, value in enumerate(values):
        if value < best:
            best, j = value, 0
        else:
            j += 1
        if j >= patience:
            wanted = i
            break
    over = _rule(f"early(patience={patience}, measure=train_loss)")
    history = course("train_loss", *values)
    assert next((i for i in range(len(values)) if over(history[: i + 1])), None) == wanted


def _rule(text: str):
    return rule_of(str(stop.bind(text)), BOWL).over


BOWL = made("rosenbrock")


def test_either_ends_with_the_first_and_keeps_the_best_of_early() -> None:
    rule = rule_of(str(stop.bind("either(gradient_norm(tol=0.1), early(patience=2, measure=train_loss))")), BOWL)
    history = [(k, {"train_loss": 1.0 + (k > 0), GRADIENT: 1.0}) for k in range(3)]
    assert rule.best == "train_loss" and rule.gradient
    assert rule.over(history).startswith(
        "early: train_loss has not got better than 1, of step 0, within a patience of 2"
    )
    small = [*history[:2], (2, {"train_loss": 0.5, GRADIENT: 0.05})]
    assert rule.over(small) == "gradient_norm: 0.05 <= 0.1 at step 2"


@pytest.mark.parametrize(
    ("rule", "on", "words"),
    [
        ("early(measure=valid_eror)", DIGITS, "does not measure 'valid_eror'; did you mean valid_error"),
        ("early(measure=valid_loss)", "rosenbrock", "rosenbrock does not measure 'valid_loss'"),
        ("erly", DIGITS, "unknown stop 'erly'; did you mean early"),
        ("early(patience=0)", DIGITS, "early: patience must be >= 1, got 0"),
    ],
)
def test_mistakes_are_told(rule: str, on: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rule_of(str(stop.bind(rule)), made(on))


def test_gradient_norms_are_those_of_the_whole_split() -> None:
    p = made("label_smoothing(digits_mlp(hidden=(8,)))").to("cpu", torch.float64)
    assert p.start is not None
    theta = torch.stack([p.start(torch.Generator().manual_seed(seed)) for seed in (0, 1)]).double()
    found = gradient_norms(p, theta)
    for lane in range(2):
        leaf = theta[lane].clone().requires_grad_()
        (g,) = torch.autograd.grad(p.loss(leaf, p.train.tensors), leaf)
        assert float(found[lane]) == pytest.approx(float(g.norm()), rel=1e-12)


def test_gradient_norm_ends_descent_on_a_quadratic_when_theory_says() -> None:
    """On ½hx² the gradient after k steps is h x₀ (1 − εh)ᵏ."""
    run = Run.make(
        "coupled_pair",
        "sgd(lr=0.1)",
        steps=5000,
        eval_every=1,
        batch_size=0,
        dtype="float64",
        stop="gradient_norm(0.02)",
    )
    (result,) = trained([run])
    # from (1, 1) the motion is along (1, 1), where the gradient is 2α(1, 1), α = 0.01
    k = next(k for k in range(5000) if 2**0.5 * 0.02 * (1 - 0.002) ** k <= 0.02)
    assert result.status == "stopped" and result.summary["last_step"] == k
    norms = [value for _, measure, value in result.trace if measure == GRADIENT]
    assert norms[0] == pytest.approx(2**0.5 * 0.02) and norms[-1] <= 0.02 < norms[-2]


def trained(runs: list[Run]) -> list[Result]:
    found: dict[Run, Result] = {}
    train_group(runs, lambda result: found.update({result.run: result}))
    return [found[run] for run in runs]


def test_lanes_end_by_themselves_and_are_as_alone() -> None:
    runs = [
        Run.make(
            DIGITS, f"sgd(lr={lr})", seed=seed, steps=400, eval_every=20, dtype="float64", stop="early(patience=3)"
        )
        for lr, seed in ((1e-6, 0), (0.5, 1), (1e-6, 2), (0.2, 0), (1e300, 3))
    ]
    together = trained(runs)
    assert {together[0].status, together[2].status} == {"stopped"}
    assert together[4].status == "diverged"
    assert together[1].summary["last_step"] > together[0].summary["last_step"]
    for run, result in zip(runs, together, strict=True):
        (alone,) = trained([run])
        assert (alone.trace, alone.status, alone.detail) == (result.trace, result.status, result.detail)


def test_the_best_point_is_reported_and_is_what_compare_goes_by() -> None:
    run = Run.make(DIGITS, "sgd(lr=0.5)", steps=2000, eval_every=20, batch_size=32, stop="early(patience=4)")
    (result,) = trained([run])
    assert result.status == "stopped" and result.detail.startswith("early: valid_error has not got better than ")
    accuracies = {step: value for step, measure, value in result.trace if measure == "valid_accuracy"}
    step = result.summary["best_step"]
    assert accuracies[step] == max(accuracies.values())
    assert step == min(k for k, value in accuracies.items() if value == accuracies[step])
    assert result.summary["last_step"] == step + 4 * 20
    assert result.summary["at_best_valid_error"] == pytest.approx(1 - accuracies[step])
    assert result.summary["at_best_test_accuracy"] == _final(result)["test_accuracy"]
    plain = dataclasses.replace(run, stop="", steps=result.summary["last_step"])
    assert trained([plain])[0].trace == result.trace and "best_step" not in trained([plain])[0].summary
    assert plain.id != run.id


def test_on_the_command_line(tmp_path) -> None:
    asked = [
        "digits_mlp",
        "sgd(lr=0.5)",
        "--steps",
        "2000",
        "--eval-every",
        "20",
        "--quiet",
        "--results",
        str(tmp_path),
    ]
    shown = CliRunner().invoke(cli, ["run", *asked, "--stop", "early(patience=4)"])
    assert shown.exit_code == 0, shown.output
    assert "stopped: early: valid_error has not got better than" in shown.stdout.replace("\n", " ")
    assert "best valid_error" in shown.stdout
    wrong = CliRunner().invoke(cli, ["run", *asked, "--stop", "early(measure=valid_los)"])
    assert wrong.exit_code == 2 and "did you mean valid_loss" in wrong.output


def test_in_a_comparison(tmp_path) -> None:
    asked = "--problems digits_mlp --optimizers sgd --initializers default --trials 2 --seeds 5 --steps 400 --quiet"
    shown = CliRunner().invoke(
        cli, ["compare", *asked.split(), "--jobs", "1", "--results", str(tmp_path), "--stop", "early(patience=1)"]
    )
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.stdout.split())
    assert (
        "runs may end sooner: early(patience=1); final values are those of the evaluation with the best valid_error"
        in said
    )
    evidence = Evidence.read(str(tmp_path))
    contest = contests(evidence, evidence.compared[0])[0]
    ended = [evidence.by_run.at[run, "status"] for run in contest.leading[0]["runs"]]
    assert "stopped" in ended
    course = contest.curves("train_loss")
    assert course["step"].max() > 0 and bool(np.isfinite(course["median"]).all())  # stopped runs keep their values
    wrong = CliRunner().invoke(cli, ["compare", *asked.split(), "--stop", "early(measure=x)", "--dry-run"])
    assert wrong.exit_code == 2 and "digits_mlp does not measure 'x'" in wrong.output
