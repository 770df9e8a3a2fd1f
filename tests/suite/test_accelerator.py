"""Training and measuring on an accelerator, for which the processor stands in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from stand_in import StandIn

from analysis.replay import accelerator, graphs, native
from problems.names import parse
from problems.problem import problem
from suite import chunks, cost, machine, stepping, updates
from suite.cli import cli
from suite.clock import Clock
from suite.lanes import lanes_of
from suite.optimizers import optimizer

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"
TEXTS = ["sgd", "adam", "polyak(clip(adam))", "gradient_noise(sgd)", "kfac(every=3)", "sophia", "soap",
         "gradient_descent", "conjugate_gradients", "lbfgs", "bfgs", "hessian_free", "scaled_conjugate_gradients",
         "sgd(lr=cosine(value=0.1, steps=40))", "torch.Adam"]  # fmt: skip


@pytest.fixture(autouse=True)
def _kernels():
    """What is called past PyTorch is in no graph of the stand-in's."""
    with native.used("kernels"):
        yield


@pytest.fixture
def there(monkeypatch):
    monkeypatch.setitem(accelerator.KINDS, "cpu", StandIn)
    for rate in (machine.matmul_peak, machine.copy_bandwidth):
        monkeypatch.setattr(cost, rate.__name__, lambda *_: 1e9)  # of the processor, which others remember
    StandIn.captured = StandIn.failed = StandIn.delays = 0


def _trained(text, steps=9, lanes=2):
    made = problem.build(problem.bind(TINY + "mlp"))
    theta = torch.stack([made.start(torch.Generator().manual_seed(seed)) for seed in range(lanes)])
    group = lanes_of(made, [parse(str(optimizer.bind(text)))] * lanes, theta, list(range(lanes)), 16, "reshuffle")
    for k in range(steps):
        group.step(k)
    assert not group.errors
    return group.theta.clone()


@pytest.mark.parametrize("text", TEXTS)
def test_lanes_whose_kernels_are_captured_take_the_same_steps(text, monkeypatch):
    wanted = _trained(text)
    monkeypatch.setitem(accelerator.KINDS, "cpu", StandIn)
    before = StandIn.captured
    assert torch.equal(_trained(text), wanted)
    assert StandIn.captured > before


def test_the_parts_of_recorded_steps_are_timed_behind_a_delay(there):
    found = cost.measure("digits_mlp", "adam", seconds=0.3)
    assert StandIn.delays >= 2 + cost.FEW and found.memory == 4000
    assert found.replayed is not None and found.replayed > 0
    parts = sum(found.parts.values())
    assert StandIn.pause > parts > 0  # no delay is part of a step
    assert found.calls == {"gradient": 1.0} and all(found.parts[part] > 0 for part in ("data", "backward", "update"))


@pytest.mark.parametrize("text", ["torch.LBFGS", "lbfgs", "kfac(every=3)", "sophia"])
def test_steps_that_look_at_values_are_timed_and_have_no_graph(text, there):
    found = cost.measure(TINY + "mlp", text, seconds=0.05)
    assert found.replayed is None
    assert sum(found.parts.values()) > 0 and found.calls["gradient"] >= 1


def test_steps_that_are_launched_one_by_one_are_not_delayed(there):
    before = StandIn.delays
    clock = Clock("cpu")
    of_clock = StandIn.delays - before
    assert of_clock and clock.pause >= StandIn.pause
    assert cost.measure("digits_mlp", "torch.Adam", seconds=0.1).seconds > 0
    assert StandIn.delays - before == 2 * of_clock  # to see how long one is, and what its marks take


def test_an_optimizer_that_refuses_to_be_captured_has_no_graph(there, monkeypatch):
    """As torch.Adam does unless it is told to be capturable: what is left of its step is no step."""
    step = torch.optim.Adam.step

    def careful(self, *arguments):
        if accelerator.accelerator("cpu").capturing():
            raise RuntimeError("Attempting CUDA graph capture of step() for an instance of Adam")
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", careful)
    assert cost.measure("digits_mlp", "torch.Adam", seconds=0.1).replayed is None


@pytest.mark.parametrize("batch", [1197, 598])
def test_a_replay_begins_no_epoch(there, batch):
    """Drawing its order takes memory of the processor to the device, which no graph can."""
    made = problem.build(problem.bind("digits_mlp"))
    stepper = cost.Stepper(made, parse(str(optimizer.bind("sgd"))), batch)
    stepper.take(3)
    pool = stepper.lanes.sampler._pool
    seen, filled = [], stepper.lanes.sampler._of_epoch
    stepper.lanes.sampler._of_epoch = lambda epoch: seen.append(epoch) or filled(epoch)
    for _ in range(3):
        stepper.again()
    assert not seen and stepper.lanes.sampler._pool is pool
    stepper.take(2)
    assert seen


def test_long_calls_are_few(there, monkeypatch):
    monkeypatch.setattr(machine, "LONG", 0.0)
    calls = []
    assert machine.device_seconds(lambda: calls.append(1), "cpu", 1e-9) > 0
    assert len(calls) <= 3 + round(2e-3 / 1e-7)  # one before, one to see how many, and those


def test_updates_are_timed_each_by_itself(there):
    found = updates.measure("adam", 1000, seconds=0.05, forms=("kernels", "foreach"))
    assert {each.form for each in found} == {"kernels", "foreach"} and all(each.ratio > 0 for each in found)


def test_the_command_tells_of_replays(there, tmp_path):
    done = CliRunner().invoke(cli, ["cost", "digits_mlp", "sgd", "--seconds", "0.1", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "replayed as a CUDA graph" in done.stdout
    (file,) = (tmp_path / "costs").glob("*.json")
    assert json.loads(file.read_text())["replayed"] > 0


def test_graphs_can_be_left_out(there):
    with graphs.used(False):
        _trained("adam")
    assert StandIn.captured == 0


class _Virtual(StandIn):
    """Its own time: each mark takes a while of it, and each of a step's actions as long as the test says."""

    now, cost = 0.0, 0.0

    def mark(self):
        _Virtual.now += _Virtual.cost
        return _Virtual.now

    def between(self, first, last):
        return last - first

    def delay(self):
        _Virtual.now += 0.005


def _lasting(action, seconds):
    """The action, which takes so much of that time."""

    def act(*arguments):
        _Virtual.now += seconds
        return action(*arguments)

    return act


@pytest.mark.parametrize("mark", [0.0, 1e-6, 1e-4])
def test_what_timing_takes_on_the_device_is_no_part_of_a_step(mark, monkeypatch):
    """Be it as long as a step or ten times that."""

    def slowly(*arguments):
        lanes = lanes_of(*arguments)
        lanes.step, lanes.sampler.fill = _lasting(lanes.step, 20e-6), _lasting(lanes.sampler.fill, 10e-6)
        return lanes

    monkeypatch.setitem(accelerator.KINDS, "cpu", _Virtual)
    monkeypatch.setattr(_Virtual, "cost", mark)
    monkeypatch.setattr(stepping, "lanes_of", slowly)
    monkeypatch.setattr(stepping.Stepper, "_note", _lasting(stepping.Stepper._note, 4e-6))
    made, spec = problem.build(problem.bind("digits_mlp")), parse(str(optimizer.bind("adam")))
    scout = stepping.Stepper(made, spec, 32, Clock("cpu"))
    scout.scout(0.01)
    stepper = scout.settled(scout)
    _, parts = stepper.parts(0.05, 0.4)
    wanted = dict.fromkeys(cost.PARTS, 0.0) | {"data": 10e-6, "update": 20e-6, "measurement": 4e-6}
    assert parts == pytest.approx(wanted, abs=1e-9 + 0.01 * mark)
    assert stepper.calls == {"gradient": 1.0} and stepper.flops > 0


def test_a_round_in_which_timing_seemed_to_take_nothing_spoils_no_later_one(monkeypatch):
    monkeypatch.setitem(accelerator.KINDS, "cpu", _Virtual)
    monkeypatch.setattr(_Virtual, "cost", 1e-6)
    clock = Clock("cpu")
    clock.timed("step", lambda: None)()
    clock.correct(timed=1.0, untimed=2.0)
    assert clock.inside == clock.around == 0.0
    clock.correct(timed=3.0, untimed=1.0)
    assert (clock.inside, clock.around) == pytest.approx((1.0, 1.0), rel=0.01)


@pytest.mark.parametrize("numbers", [1 << 26, 1 << 10], ids=["at once", "in chunks"])
def test_operations_are_counted_whatever_a_graph_replays(numbers, there, monkeypatch):
    """A chunk's kernels are captured within the first gradient, whose operations are counted."""
    monkeypatch.setattr(chunks, "FEWEST", 1)
    monkeypatch.setattr(chunks, "NUMBERS", numbers)
    found = cost.measure(TINY + "mlp", "sgd", batch_size=0, seconds=0.05)
    assert StandIn.captured
    with graphs.used(False):
        assert found.flops == cost.measure(TINY + "mlp", "sgd", batch_size=0, seconds=0.05).flops
