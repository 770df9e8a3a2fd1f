"""Costs: what can be counted is counted right; what is timed adds up by construction and is kept."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from analysis import figures
from problems.names import UsageError
from problems.problem import problem
from suite import cost, memory, stepping
from suite.cli import cli
from suite.cost import PARTS, measure, ratios
from suite.cost_command import draw
from suite.costs import load_costs, price, save
from suite.engine import train
from suite.machine import device_seconds
from suite.optimizers import optimizer
from suite.spec import Run
from suite.store import Store, StoreError, load
from suite.updates import FORMS

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


@pytest.fixture(scope="module")
def adam():
    return measure("digits_mlp", "adam", seconds=0.2)


def test_operations_and_state_are_counted(adam):
    products = 64 * 32 + 32 * 10  # multiply-adds of a forward pass for one example
    assert adam.flops == 2 * 32 * (2 * products + 32 * 10)  # the first layer needs no gradient of its input
    assert adam.calls == {"gradient": 1.0}
    assert adam.parameters == 2410 and adam.state == pytest.approx(2 * 4, abs=0.01)  # s and r, and the count of steps
    assert adam.traffic == pytest.approx((3 + 4) * 4 * 2410, rel=0.01)
    assert set(adam.parts) == set(PARTS) and all(seconds >= 0 for seconds in adam.parts.values())
    assert adam.environment["threads"] == 1


def test_evaluations_per_step_show_what_an_optimizer_asks_for():
    two = measure("digits_mlp", "torch.LBFGS(lr=0.1, max_iter=3)", seconds=0.1)
    assert two.calls["gradient"] > 1.5


def test_setting_up_is_told_apart_and_memory_is_that_of_the_step(adam):
    assert 0 <= adam.compilation < adam.warmup
    assert adam.memory is None or adam.memory < 100e6
    assert adam.replayed is None  # a processor has no graphs


def test_methods_meant_for_all_examples_are_measured_on_all_where_they_began():
    found = measure("linear_regression", "lbfgs", seconds=0.1)
    assert found.batch_size == 0 and found.calls["gradient"] >= 1
    assert found.parts["forward"] + found.parts["backward"] > 0  # it has not converged and stopped evaluating


def test_evaluations_are_booked_by_what_they_evaluate():
    """Passes that give curvature are no update, and values are no backward passes."""
    plain = measure("digits_mlp", "sgd", seconds=0.1)
    assert plain.parts["curvature"] == 0 and plain.parts["backward"] > 0
    factored = measure("digits_mlp", "kfac(every=1)", seconds=0.1)
    assert factored.calls == {"gradient": 1.0, "factors": 1.0}
    assert factored.parts["curvature"] > factored.parts["forward"]
    free = measure("linear_regression", "hessian_free", seconds=0.1)
    assert free.calls["ggn"] > 1 and free.parts["curvature"] > 0
    products = free.calls["gradient"] * 3 + free.calls["value"] + free.calls["ggn"]
    assert free.flops > products * 2 * 20 * 800  # a pass over all examples takes at least so many


def test_steps_are_measured_in_the_type_asked_for_where_the_data_are_whole_numbers():
    single, double = (cost.measure(TINY + "symbols", "adam", dtype=d, seconds=0.1) for d in ("float32", "float64"))
    assert double.state == pytest.approx(2 * single.state, rel=0.05) and double.dtype == "float64"


def test_rare_work_is_told_in_its_share():
    """Sophia's product at every tenth step and K-FAC's inverses at every twentieth, wherever the steps begin."""
    plain = measure("digits_mlp", "adam", seconds=0.1)
    seldom = measure("digits_mlp", "sophia", seconds=0.1)
    assert seldom.calls == {"gradient": 1.0, "hvp": 0.1}
    always = measure("digits_mlp", "sophia(every=1)", seconds=0.1)
    assert always.calls == {"gradient": 1.0, "hvp": 1.0}
    assert seldom.flops - plain.flops == pytest.approx((always.flops - plain.flops) / 10, rel=1e-3)
    estimated = measure("digits_mlp", "kfac(every=5)", seconds=0.1)
    assert estimated.calls == {"gradient": 1.0, "factors": 0.2} and estimated.flops > plain.flops


@pytest.mark.parametrize("text", ["lbfgs", "bfgs", "conjugate_gradients", "gradient_descent", "torch.LBFGS"])
def test_steps_are_taken_again_before_the_method_has_converged(text):
    """20 steps solve it, after which a step of theirs asks for nothing, or once whether that is still so."""
    found = measure("linear_regression", text, batch_size=0, seconds=0.1)
    assert found.calls["gradient"] >= (5 if "torch" in text else 1)


def test_what_a_call_spoils_is_mended_before_each():
    done = []
    found = device_seconds(lambda: done.append("call"), "cpu", 1e-5, before=lambda: done.append("before"))
    assert found > 0 and done == ["before", "call"] * (len(done) // 2)


def test_the_state_is_the_optimizers_alone():
    """A torch optimizer's parameters are views of θ, and none of its state."""
    found = measure("digits_mlp", "torch.Adam", seconds=0.1)
    assert found.state == pytest.approx(8, abs=0.05)
    assert measure("digits_mlp", "torch.SGD(lr=0.1)", seconds=0.1).state == 0


def test_states_of_every_form_are_seen_and_come_back():
    """zoo's SPAM counts its steps beside the states of parameters; others keep objects of their own there."""

    class Odd(torch.optim.SGD):
        pass

    parameter, loose = torch.nn.Parameter(torch.ones(3)), type("Loose", (), {})()
    loose.root = torch.zeros(2, 2)
    state = Odd([parameter], lr=0.1)
    state.state[parameter] = {"m": torch.ones(3), "loose": loose}
    state.state["steps"] = 7
    assert sorted(t.numel() for t in stepping.held([{"optimizer": state}])) == [3, 4]
    give = stepping._kept({"pair": (torch.ones(2), 1), "optimizer": state})
    state.state[parameter]["m"].zero_()
    assert give()["optimizer"].state[parameter]["m"].tolist() == [1, 1, 1]


def test_slow_steps_are_few_and_said(monkeypatch):
    monkeypatch.setattr(stepping, "LOADING", 0.0)
    for limit in ("LONG", "PATIENCE"):
        monkeypatch.setattr(cost, limit, 0.0)
    told = []
    found = measure("digits_mlp", "adam", seconds=1e-5, tell=told.append)
    assert found.rounds == 1 and found.spread == 0 and not found.noisy
    assert 0 < sum(found.parts.values()) <= found.seconds  # one and the same step
    (words,) = told
    assert words.startswith("a step takes ")
    monkeypatch.setattr(cost, "MANY", 100)
    found = measure("linear_regression", "lbfgs", seconds=1e-5, tell=told.append)
    assert told[1] == "all 1,000 examples at each step …"
    monkeypatch.setattr(cost, "ENOUGH", 0.0)
    first = measure("linear_regression", "lbfgs", seconds=1e-5)
    assert first.rounds == 1 and first.calls["gradient"] >= 1 and first.flops >= found.flops


def test_a_step_that_fails_is_said():
    with pytest.raises(UsageError, match=r"Broken on digits_mlp: .*no such luck"):
        measure("digits_mlp", f"{Path(__file__).parent / 'broken_optimizer.py'}:Broken", seconds=0.1)


def test_more_examples_than_fit_are_refused_before_they_are_tried(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: 10**4)
    with pytest.raises(UsageError, match=r"lbfgs on adding_rnn: .* at once would take .* --batch-size"):
        measure("adding_rnn", "lbfgs", seconds=0.1)
    measure("linear_regression", "sgd", seconds=0.1)  # a few always fit


def test_costs_kept_before_curvature_was_told_apart_have_none_of_it(adam, tmp_path):
    file = save(adam, tmp_path)
    record = json.loads(file.read_text())
    del record["parts"]["curvature"]
    file.write_text(json.dumps(record))
    assert load_costs(tmp_path)["parts.curvature"].tolist() == [0.0]


def test_costs_are_kept_and_read_back(adam, tmp_path):
    save(adam, tmp_path)
    save(adam, tmp_path)  # the same thing on the same machine: replaced
    (tmp_path / "costs" / "broken.json").write_text("{")
    with pytest.warns(UserWarning, match="broken.json"):
        costs = load_costs(tmp_path)
    assert len(costs) == 1
    assert costs.loc[0, "seconds"] == adam.seconds
    assert costs.loc[0, "parts.update"] == adam.parts["update"]
    assert costs.loc[0, "environment.threads"] == 1


def test_a_folder_that_cannot_be_written_is_said(adam, tmp_path):
    (tmp_path / "costs").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        save(adam, tmp_path)


def test_curves_are_priced_by_structure_and_not_by_numbers(adam, tmp_path):
    save(adam, tmp_path)
    runs = [Run.make("digits_mlp", f"adam(lr={lr})", steps=20, eval_every=10, batch_size=32) for lr in (0.1, 0.01)]
    train(runs, on_result=Store(tmp_path).save)
    table, traces = load(tmp_path)
    costs = load_costs(tmp_path)
    other = costs.assign(seconds=2 * costs["seconds"], **{"environment.processor": "half as quick"})
    priced = price(traces, pd.concat([costs, other]), table)
    assert set(priced["run"]) == {run.id for run in runs}
    for machine, factor in ((priced["machine"].iloc[0], 1), ("half as quick, 1 thread", 2)):
        part = priced[priced["machine"] == machine]
        assert len(part) == len(traces)
        assert part["seconds"].tolist() == pytest.approx((part["step"] * adam.seconds * factor).tolist())
    with pytest.raises(UsageError, match="no cost fits"):
        price(traces, costs.assign(batch_size=7), table)


def test_what_is_refused_is_passed_over_with_its_reason(tmp_path):
    ask = ["cost", "quadratic", "kfac,sgd", "--seconds", "0.1", "--results", str(tmp_path), "--json"]
    done = CliRunner().invoke(cli, ask)
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and [c["optimizer"] for c in found["costs"]] == ["sgd(lr=0.01)"]
    assert [(one["optimizer"], one["problem"]) for one in found["skipped"]] == [("kfac", "quadratic")]
    assert "no Kronecker factors" in found["skipped"][0]["reason"]
    told = CliRunner().invoke(cli, ask[:-1]).stdout
    assert "skipped: kfac on quadratic: theta belongs to no linear layer" in told
    alone = CliRunner().invoke(cli, ["cost", "quadratic", "kfac", "--results", str(tmp_path)])
    assert alone.exit_code == 2 and "no Kronecker factors" in alone.output


def test_ratios_take_what_each_is_meant_for():
    """L-BFGS on all examples, not on minibatches of 16."""
    assert min(ratios("linear_regression", "lbfgs", "sgd", seconds=0.1, pairs=3)) > 3


def test_ratios_come_in_pairs():
    found = ratios("digits_mlp", "adam", "sgd", seconds=0.2, pairs=4)
    assert len(found) == 4 and all(ratio > 0 for ratio in found)


def test_the_command_prints_json_a_table_and_a_figure(tmp_path):
    ask = ["cost", "linear_regression", "sgd", "--seconds", "0.1", "--results", str(tmp_path)]
    done = CliRunner().invoke(cli, [*ask, "--json", "--quiet", "--figure", str(tmp_path / "parts.svg")])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["costs"]
    assert found["calls"] == {"gradient": 1.0} and found["state"] == 0
    assert "<svg" in (tmp_path / "parts.svg").read_text()
    table = CliRunner().invoke(cli, ask).stdout
    assert "21 parameters, batch 16" in table and "1 thread" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing", "sgd"], "unknown problem 'nothing'"),
        (["digits_mlp", "sgd", "--figure", "parts.txt"], "figure must end in .svg, .png"),
        (["digits_mlp", "sgd", "--device", "nowhere"], "device must be one that torch can use here"),
        pytest.param(["digits_mlp", "sgd", "--device", "cuda"], "no CUDA device", marks=NO_CUDA),
        pytest.param(["--update", "sgd", "--device", "cuda"], "no CUDA device", marks=NO_CUDA),
    ],
)
def test_mistakes_end_with_one_message_and_exit_code_2(words, message, tmp_path):
    done = CliRunner().invoke(cli, ["cost", *words, "--results", str(tmp_path)])
    assert done.exit_code == 2 and message in done.output


def test_timed_runs_carry_their_clock_and_train_alone(tmp_path):
    runs = [Run.make("digits_mlp", "adam", seed=s, steps=60, eval_every=20, batch_size=32, timed=True) for s in (0, 1)]
    found = {}
    train(runs, jobs=2, on_result=lambda result: found.update({result.run: result}))
    plain = []
    train([Run.make("digits_mlp", "adam", steps=60, eval_every=20, batch_size=32)], on_result=plain.append)
    for run in runs:
        result = found[run]
        assert result.summary["lanes"] == 1
        steps, seconds = zip(*result.probed["seconds"], strict=True)
        assert steps == (0, 20, 40, 60) and seconds[0] == 0
        assert all(a < b for a, b in itertools.pairwise(seconds))
        assert seconds[-1] == pytest.approx(result.summary["train_seconds"], abs=1e-5)
    clockless = tuple(row for row in found[runs[0]].trace if row[1] != "seconds")
    assert clockless == plain[0].trace and "seconds" not in plain[0].probed
    assert runs[0].id != plain[0].run.id


def test_a_timed_comparison_tells_seconds_to_target(tmp_path):
    ask = ["compare", "--problems", "linear_regression", "--optimizers", "sgd(lr=0.03)", "--initializers", "default"]
    ask += ["--trials", "2", "--seeds", "2", "--timed", "--quiet", "--results", str(tmp_path)]
    done = CliRunner().invoke(cli, [*ask, "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["reached_target"] == 2 and 0 < row["seconds_to_target"] < 60
    assert "steps, time" in CliRunner().invoke(cli, ask).stdout
    table, traces = load(tmp_path)
    timed = set(table[table.timed].run)
    assert set(traces[traces.measure == "seconds"].run) == timed and len(timed) == 2


def test_the_reference_costs_of_a_gpu_are_there_and_hold_together():
    """Step and parts agree where nothing disturbed them, and updates were measured in every kind of form."""
    import suite

    folder = str(Path(suite.__file__).parents[1] / "results" / "reference" / "nvidia-h100")
    costs, updates = suite.load_costs(folder), suite.load_updates(folder)
    assert set(costs["environment.device"]) == set(updates["environment.device"]) == {"NVIDIA H100 80GB HBM3"}
    parts = costs[[f"parts.{part}" for part in PARTS]].sum(axis=1)
    long = (costs.seconds > 2e-4) & costs.replayed.notna()  # see the folder's README of shorter ones
    assert long.sum() >= 50 and ((parts / costs.seconds)[long] - 1).abs().max() < 0.1
    assert set(updates.form) == set(FORMS) and updates.cold.all()


def test_bars_are_as_long_as_the_steps(adam, monkeypatch, tmp_path):
    drawn = []

    def bars(table, **options):
        drawn.append(table)
        return cost_bars(table, **options)

    cost_bars = figures.cost_bars
    monkeypatch.setattr(figures, "cost_bars", bars)
    draw([adam], str(tmp_path / "bars.svg"))
    ((_, row),) = drawn[0].iterrows()
    assert sum(row[part] for part in figures.PARTS) == pytest.approx(adam.seconds)
    assert row["update"] / row["data"] == pytest.approx(adam.parts["update"] / adam.parts["data"])


@pytest.mark.parametrize("wait", [0, 1, 10])
def test_steps_are_timed_from_where_a_method_begins_to_move(tmp_path, wait):
    """One that only looks at first, as ADOPT does in its first step and AdaShift in ten, has not converged there."""
    file = tmp_path / "waiting.py"
    file.write_text(
        "import torch\n\n\nclass Waiting(torch.optim.SGD):\n    seen = 0\n\n    def step(self, closure=None):\n"
        f"        self.seen += 1\n        return super().step(closure) if self.seen > {wait} else None\n"
    )
    made = problem.build(problem.bind("digits_logistic"))
    scout = stepping.Stepper(made, optimizer.bind(f"{file}:Waiting(lr=0.1)"), 32)
    scout.scout(1.0)
    assert scout.skipped == stepping.WARM + wait and scout.block == stepping.BLOCK
    still = stepping.Stepper(made, optimizer.bind(f"{file}:Waiting(lr=0.0)"), 32)
    still.scout(1.0)
    assert still.skipped == 0 and still.block >= 1  # it never moves
