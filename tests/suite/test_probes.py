"""Probes: right, free of side effects, and the same for a lane among others as alone."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from problems import Data, Problem, UsageError, problem
from problems.layout import Layout, Piece
from suite.cli import cli
from suite.probes import Probe, When, probe
from suite.probes.base import canonical
from suite.runner import train_group
from suite.spec import Run

ROWS = 60


@problem()
def least_squares() -> Problem:
    """½ mean (xᵀθ − y)² of three unknowns, whose Hessian is that of its minibatch, XᵀX/n."""
    stream = torch.Generator().manual_seed(0)
    x, y = torch.randn(ROWS, 3, generator=stream), torch.randn(ROWS, generator=stream)
    layout = Layout((Piece("a", (2,), "other"), Piece("b", (1,), "other")))
    return Problem(
        "least_squares",
        layout,
        lambda p, batch: (batch[0] * torch.cat([p["a"], p["b"]])).sum(1),
        lambda out, batch: (out - batch[1]).square().mean() / 2,
        Data((x, y)),
        start=lambda generator: torch.randn(3, generator=generator),
        batch_size=20,
    )


@problem()
def parabola() -> Problem:
    """½θ² of one number that starts at 0, where there is nothing to do."""
    return Problem(
        "parabola",
        Layout((Piece("x", (1,), "other"),)),
        lambda p, batch: p["x"].square().sum() / 2,
        lambda out, batch: out,
        Data((torch.zeros(1, 1),)),
        start=lambda generator: torch.zeros(1),
        batch_size=1,
    )


HERE = f"{__file__}:"


def run(name, optimizer, probes, **settings):
    asked = {"steps": 12, "eval_every": 4, "batch_size": 16, **settings}
    return Run.make(name, optimizer, probes=probes, **asked)


def train(runs):
    found = {}
    train_group(runs, lambda result: found.__setitem__(result.run, result))
    return [found[r] for r in runs]


def rows(result):
    """The trace as text, so that NaN equals NaN and every bit counts."""
    return [(step, measure, repr(value)) for step, measure, value in result.trace]


def evaluations(result):
    return [
        row for row in rows(result) if row[1] not in result.probed or row[1] == "evaluations"
    ]  # of training, not of probes


SETTINGS = {
    "gradient_norm": ", layers=True, mean=0.9",
    "update_ratio": ", layers=True",
    "gradient_noise": ", minibatches=2",
}
UNITS = ("activations", "dead_units")


def everything(every=3, but=()):
    """Every registered probe."""
    return ", ".join(f"{e.name}(every={every}{SETTINGS.get(e.name, '')})" for e in probe if e.name not in but)


@pytest.mark.parametrize("optimizer", ["sgd(lr={})", "nesterov(lr={})", "torch.Adam(lr={})", "bfgs"])
@pytest.mark.parametrize(
    # 16 units: products with the Hessian whose factors start anywhere in a cache line may differ in their last bits
    "name",
    ["digits_mlp(hidden=(16,))", pytest.param("tests/suite/tiny_problems.py:cnn", marks=pytest.mark.slow)],
)
def test_training_keeps_its_bits_and_a_lane_measures_what_it_measures_alone(name, optimizer):
    probes = everything(but=() if name.startswith("digits") else UNITS)
    runs = [run(name, optimizer.format(rate), probes, seed=seed) for seed, rate in enumerate((0.1, 0.02, 0.3))]
    together = train(runs)
    bare = train([run(name, r.optimizer, "", seed=r.seed) for r in runs])
    for one, plain in zip(together, bare, strict=True):
        assert one.status == "done", one.detail
        assert evaluations(one) == rows(plain)
        counted = {k: v for k, v in one.summary.items() if k.endswith("_calls") and not k.startswith("probe_")}
        assert counted == {k: v for k, v in plain.summary.items() if k.endswith("_calls")}
        assert one.summary["probe_hvp_calls"] == 4
    assert rows(train(runs[1:2])[0]) == rows(together[1])


@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs", "conjugate_gradients", "gradient_descent"])
def test_rules_that_remember_the_gradient_of_the_step_before_are_measured_at_every_step(optimizer):
    name = HERE + "least_squares"
    probes = "loss, gradient_norm, path_length"
    asked = [(optimizer, probes), (optimizer, ""), ("sgd", probes)]
    [[seen], [bare], [plain]] = [train([run(name, rule, text, batch_size=0, steps=3)]) for rule, text in asked]
    found = {(step, measure): value for step, measure, value in seen.trace}
    assert {(k, m) for k, m in found if m in seen.probed} == {
        (k, m) for k in range(3) for m in ("minibatch_loss", "gradient_norm", "path_length")
    }
    first = {(step, measure): value for step, measure, value in plain.trace}
    assert found[0, "gradient_norm"] == pytest.approx(first[0, "gradient_norm"])
    assert found[0, "minibatch_loss"] == pytest.approx(found[0, "train_loss"])
    assert found[2, "gradient_norm"] < found[0, "gradient_norm"]
    assert evaluations(seen) == rows(bare)


def by_hand(seed, steps, rate, size):
    """Gradient descent on the least squares in numpy: for each step θ, the minibatch, and its gradient."""
    from suite.initializers import initializer
    from suite.sampler import epoch_order, generator

    made = problem.build(problem.bind(HERE + "least_squares"))
    x, y = (t.double().numpy() for t in made.train.tensors)
    theta = initializer.build(initializer.bind("default"))(made, generator(seed, "start")).double().numpy()
    for k in range(steps):
        epoch, at = divmod(k, ROWS // size)
        chosen = epoch_order("reshuffle", ROWS, size, seed, epoch).view(-1, size)[at].numpy()
        each = (x[chosen] @ theta - y[chosen])[:, None] * x[chosen]
        full = ((x @ theta - y)[:, None] * x).mean(0)
        yield theta, x[chosen], each, full
        theta = theta - rate * each.mean(0)


@pytest.mark.parametrize("optimizer", ["sgd(lr=0.1)", "torch.SGD(lr=0.1)"])
def test_least_squares_in_closed_form(optimizer):
    asked = run(HERE + "least_squares", optimizer, everything(1, UNITS), seed=4, batch_size=20, dtype="float64")
    (result,) = train([asked])
    found = {measure: [value for _, value in pairs] for measure, pairs in result.probed.items()}
    truth = {}
    states = list(by_hand(4, 13, 0.1, 20))
    start, length, mean, before = states[0][0], 0.0, 0.0, None
    for k, (theta, x, each, full) in enumerate(states[:12]):
        g, moved = each.mean(0), states[k + 1][0] - theta
        hessian = x.T @ x / len(x)
        trace = ((each - g) ** 2).sum() / 19
        mean = 0.9 * mean + 0.1 * np.linalg.norm(g)
        now = {
            "gradient_norm": np.linalg.norm(g),
            "gradient_norm_mean": mean / (1 - 0.9 ** (k + 1)),
            "gradient_norm/a": np.linalg.norm(g[:2]),
            "gradient_norm/b": abs(g[2]),
            "minibatch_loss": ((each / x)[:, 0] ** 2).mean() / 2,
            "gTg": g @ g,
            "gTHg": g @ hessian @ g,
            "first_order": 0.1 * g @ g,
            "second_order": 0.005 * g @ hessian @ g,
            "gradient_variance": trace,
            "gradient_noise": np.sqrt(trace / 20),
            "noise_scale": trace / (g @ g - trace / 20) if g @ g > trace / 20 else np.nan,
            "cosine_previous": np.nan if before is None else g @ before / np.linalg.norm(g) / np.linalg.norm(before),
            "cosine_full": g @ full / np.linalg.norm(g) / np.linalg.norm(full),
            "full_gradient_norm": np.linalg.norm(full),
            "distance": np.linalg.norm(theta - start),
            "path_length": length,
            "update_ratio": np.linalg.norm(moved) / np.linalg.norm(theta),
            "update_ratio/a": np.linalg.norm(moved[:2]) / np.linalg.norm(theta[:2]),
            "update_ratio/b": abs(moved[2] / theta[2]),
        }
        length, before = length + np.linalg.norm(moved), g
        for name, value in now.items():
            truth.setdefault(name, []).append(value)
    measured = found.pop("minibatch_variance")
    assert set(found) == set(truth)
    for name, values in truth.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-12, err_msg=name)
    assert len(measured) == 12 and min(measured) > 0


def test_the_variance_of_minibatches_falls_with_their_size():
    """tr Σ/n × (1 − n/N), within the error of 400 draws."""
    for size in (5, 20, 60):
        name = HERE + "least_squares"
        text = "gradient_noise(minibatches=400)"
        (result,) = train([run(name, "sgd(lr=0.1)", text, steps=1, batch_size=size, dtype="float64")])
        _, _, each, _ = next(by_hand(0, 1, 0.0, 60))
        law = ((each - each.mean(0)) ** 2).sum() / (ROWS - 1) / size * (1 - size / ROWS)
        ((_, measured),) = result.probed["minibatch_variance"]
        assert measured == pytest.approx(law, rel=0.2, abs=1e-20)


def test_units_that_never_fire():
    made = problem.build(problem.bind("digits_mlp(hidden=(6,))"))
    (result,) = train([run("digits_mlp(hidden=(6,))", "sgd", "activations, dead_units", steps=1, batch_size=50)])
    from suite.initializers import initializer
    from suite.sampler import epoch_order, generator

    theta = initializer.build(initializer.bind("default"))(made, generator(0, "start"))
    p = made.layout.split(theta)
    x = made.train.tensors[0][epoch_order("reshuffle", len(made.train), 50, 0, 0)[:50]]
    sums = x @ p["layer1.weight"].T + p["layer1.bias"]
    found = {measure: pairs[0][1] for measure, pairs in result.probed.items()}
    assert found["activation_mean/layer1"] == pytest.approx(float(sums.mean()), abs=1e-6)
    assert found["activation_std/layer1"] == pytest.approx(float(sums.std(correction=0)), abs=1e-6)
    assert found["activation_positive/layer1"] == pytest.approx(float((sums > 0).float().mean()))
    assert found["dead_units/layer1"] == pytest.approx(float((sums <= 0).all(0).float().mean()))


@pytest.mark.parametrize("optimizer", ["momentum", pytest.param("torch.SGD", marks=pytest.mark.slow)])
def test_lanes_that_part_keep_what_was_measured_of_them(optimizer):
    """One of three lanes diverges and is set aside; minibatches grow; memories stay with their lanes."""
    text = everything(2, UNITS)
    asked = {"steps": 450, "eval_every": 225, "grow_every": 250, "batch_size": 10}
    name = HERE + "least_squares"
    runs = [run(name, f"{optimizer}(lr={lr})", text, **asked) for lr in (1e6, 0.01, 0.02)]
    lost, *kept = train(runs)
    assert lost.status == "diverged"
    last = int(lost.detail.rpartition(" ")[2])
    assert 0 < max(step for pairs in lost.probed.values() for step, _ in pairs) <= last
    for result, one in zip(kept, runs[1:], strict=True):
        assert rows(result) == rows(train([one])[0])
        assert len(result.probed["path_length"]) == 225


def test_nothing_moves_where_the_gradient_is_zero():
    text = "gradient_norm, curvature(every=1), cosine_previous, cosine_full(every=1), update_ratio(every=1)"
    (result,) = train([run(HERE + "parabola", "sgd(lr=0.1)", text, batch_size=1, steps=3)])
    found = {measure: pairs[-1][1] for measure, pairs in result.probed.items()}
    assert found["gradient_norm"] == found["gTHg"] == found["second_order"] == 0
    assert all(np.isnan(found[name]) for name in ("cosine_previous", "cosine_full", "update_ratio"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("digits_mlp", "gradiant_norm", "unknown probe 'gradiant_norm'; did you mean gradient_norm"),
        ("digits_mlp", "curvature(every=0)", "curvature: every must be >= 1, got 0"),
        ("digits_mlp", "gradient_norm(mean=1)", r"gradient_norm: mean must be in \[0, 1\), got 1"),
        ("digits_mlp", "gradient_noise(minibatches=1)", "minibatches must be 0 or >= 2, got 1"),
        ("rosenbrock", "dead_units", "dead_units: rosenbrock does not show what its hidden layers compute"),
        (HERE + "parabola", "gradient_noise", "a variance needs at least 2 examples in a minibatch, got 1"),
    ],
)
def test_what_cannot_be_measured_is_said(name, text, message):
    with pytest.raises(UsageError, match=message):
        train([run(name, "sgd", text, batch_size=1)])


def test_examples_have_no_gradients_under_batch_normalization():
    (result,) = train([run("batch_norm(digits_mlp(hidden=(9,)))", "sgd", "gradient_noise")])
    assert result.status == "failed"
    assert "is no mean of losses of its examples" in result.detail


def test_the_clock_stops_while_measuring(monkeypatch):
    """A clock that goes on by 1 s at each reading, and by 1000 while a probe measures."""
    now = itertools.count()
    extra = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: next(now) + extra[0])

    @probe("slow")
    def slow() -> Probe:
        """Takes its time."""

        def measure(seen, memory):
            extra[0] += 1000
            return {"slow": seen.losses}

        return Probe(When(1), measure)

    try:
        (result,) = train([run(HERE + "least_squares", "sgd", "slow", steps=5)])
    finally:
        del probe._entries["slow"]
    assert extra[0] == 5000
    assert 0 < result.summary["train_seconds"] < 100


def test_schedules():
    assert [k for k in range(25) if k in When(10)] == [0, 10, 20]
    assert [k for k in range(1001) if k in When(1, per_decade=3)] == [0, 1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]


def test_probes_are_part_of_a_runs_identity():
    plain, probed = run("digits_mlp", "sgd", ""), run("digits_mlp", "sgd", "curvature")
    same = run("digits_mlp", "sgd", "curvature(20), curvature(every=20)")
    assert plain.id != probed.id == same.id
    assert canonical(probed.probes) == probed.probes == "curvature(every=20, per_decade=0)"


def test_compare_measures_along_the_runs_that_it_shows():
    from suite.plan import Question, plan

    asked = Question("digits_mlp", "sgd", "default", trials=1, seeds=2, steps=10, probes="gradient_norm(5)")
    (contestant,) = plan(asked).contestants
    assert {r.probes for r in contestant.tuning_runs(contestant.trials[0])} == {""}
    shown = {r.probes for r in contestant.evaluation_runs(contestant.trials[0])}
    assert shown == {"gradient_norm(every=5, per_decade=0, layers=False, mean=0.0)"}
    with pytest.raises(UsageError, match="rosenbrock does not show"):
        plan(Question("rosenbrock", "sgd", "default", probes="dead_units"))


def test_run_shows_and_stores_what_was_measured(tmp_path):
    words = ["run", "digits_mlp(hidden=(4,))", "sgd(lr=0.1)", "--steps", "20", "--eval-every", "10"]
    words += ["--probes", "gradient_norm(every=4, layers=True)", "--quiet", "--results", str(tmp_path)]
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 0, shown.output
    assert "1 of 5 measures: the value measured last" in shown.stdout
    again = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    steps = [row["step"] for row in again["traces"] if row["measure"] == "gradient_norm/layer1.weight"]
    assert steps == [0, 4, 8, 12, 16]
    assert "best_gradient_norm" not in again["summary"]


@pytest.mark.parametrize("name", ["annealed", "continuation", pytest.param("text_lstm", marks=pytest.mark.slow)])
def test_probes_see_what_a_step_brings_and_what_is_carried_to_it(name, tmp_path):
    """Gradients of single examples average to the minibatch's only if they see the same."""
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question: " * 60)
    problems = {
        "annealed": "annealed(digits_mlp(hidden=(9,)), steps=6, stages=3)",
        "continuation": "continuation(digits_mlp(hidden=(9,)), sigma=1.0, steps=6, stages=3)",
        "text_lstm": f"text_lstm('{tmp_path / 'text.txt'}', length=8, embedding=4, hidden=6)",
    }
    units = "dead_units(every=2), " if name == "annealed" else ""
    text = units + "gradient_noise(every=2, minibatches=2), curvature(every=2), cosine_full(every=2)"
    runs = [run(problems[name], "sgd(lr=0.5)", text, seed=seed, batch_size=8, steps=7) for seed in (0, 1)]
    together = train(runs)
    assert [result.status for result in together] == ["done", "done"], together[0].detail
    assert rows(train(runs[1:])[0]) == rows(together[1])
