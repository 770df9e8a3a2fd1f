"""A lane does what the run alone does, whatever lanes are beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from problems.names import parse
from problems.problem import problem
from suite.lanes import Apart, Together, lanes_of
from suite.optimizers import optimizer

HERE = Path(__file__).parent
TINY = f"{HERE / 'tiny_problems.py'}:"
TORCH = ["torch.SGD(lr=0.1, momentum=0.9)", "torch.Adam(lr=0.01)", "torch.AdamW(lr=0.01)", "torch.LBFGS(lr=0.1)"]
MATRICES = ("kfac", "shampoo", "soap")  # decompositions in each of many lanes


def _bound(text, lr=None):
    spec = optimizer.bind(text)
    return parse(str(spec.replace(lr=lr) if lr is not None and "lr" in spec.options else spec))


def _starts(made, count, dtype):
    streams = [torch.Generator().manual_seed(seed) for seed in range(count)]
    return torch.stack([made.start(stream) for stream in streams]).to(dtype)


def _train(made, texts, lanes, dtype, steps, order="reshuffle", batch=None):
    """θ after some steps of the given lanes, each with its own rate, seed and start."""
    made = made.to("cpu", dtype)
    starts = _starts(made, max(lanes) + 1, dtype)
    specs = [_bound(texts, 0.01 * (1 + lane % 5)) for lane in lanes]
    batch = made.batch_size if batch is None else batch
    group = lanes_of(made, specs, starts[list(lanes)], [lane % 7 for lane in lanes], batch, order)
    for k in range(steps):
        group.step(k)
    assert not group.errors
    return group.theta.clone(), group


def _names():
    names = [e.name for e in optimizer if not any(p.required for p in e.parameters) and not e.meta.get("slow")]
    return [pytest.param(name, marks=pytest.mark.slow) if name in MATRICES else name for name in names]


@pytest.fixture(scope="module", params=["mlp", "cnn", "rnn"])
def tiny(request):
    return problem.build(problem.bind(TINY + request.param))


@pytest.mark.parametrize("name", [*_names(), *TORCH, "polyak(clip(adam, norm=0.5), decay=0.9)"])
def test_a_lane_among_many_is_the_run_alone(tiny, name):
    """To 1e-11 in float64 after 100 steps among 64, and to the bit in float32 after 20 among 12."""
    steps, width = (100, 64)
    if "LBFGS" in name:
        steps, width = 10, 8  # twenty evaluations a step, a lane at a time
    if name in MATRICES:
        steps, width = 25, 12
    many, _ = _train(tiny, name, range(width), torch.float64, steps)
    alone, _ = _train(tiny, name, [width // 2], torch.float64, steps)
    torch.testing.assert_close(many[width // 2], alone[0], rtol=1e-11, atol=1e-11)
    many, _ = _train(tiny, name, range(12), torch.float32, min(steps, 20))
    alone, _ = _train(tiny, name, [5], torch.float32, min(steps, 20))
    assert torch.equal(many[5], alone[0])


@pytest.mark.parametrize("text", ["sgd", "adam", "torch.Adam(lr=0.01)"])
@pytest.mark.parametrize("kind", ["foreign", "unlifted"])
def test_models_that_cannot_be_lifted_train_all_the_same(kind, text):
    made = problem.build(problem.bind(TINY + kind))
    before = _starts(made, 1, torch.float32)
    after, _ = _train(made, text, [0], torch.float32, 60)
    batch = made.train.tensors
    assert made.loss(after[0], batch) < made.loss(before[0], batch) - 0.03


def test_full_batches_are_shared_between_lanes():
    made = problem.build(problem.bind(TINY + "mlp"))
    many, group = _train(made, "momentum", range(5), torch.float32, 10, batch=0)
    assert group.sampler.batch[0].stride(0) == 0
    alone, _ = _train(made, "momentum", [3], torch.float32, 10, batch=0)
    assert torch.equal(many[3], alone[0])


@pytest.mark.parametrize("text", ["sgd", "torch.SGD(lr=0.1)"])
def test_a_schedule_gives_each_step_its_own_rate(text):
    """SGD under a schedule against the written-out loop."""
    made = problem.build(problem.bind(TINY + "mlp")).to("cpu", torch.float64)
    name = text.partition("(")[0]
    spec = parse(str(optimizer.bind(f"{name}(lr=linear(0.5, end=0.1, steps=8))")))
    theta = _starts(made, 1, torch.float64)
    group = lanes_of(made, [spec], theta, [0], 0, "sequential")
    expected = theta[0].clone()
    for k in range(12):
        group.step(k)
        leaf = expected.clone().requires_grad_()
        made.loss(leaf, made.train.tensors).backward()
        expected = expected - 0.5 * (1 - min(k / 8, 1) * 0.9) * leaf.grad
    torch.testing.assert_close(group.theta[0], expected, rtol=1e-12, atol=1e-12)


def test_rates_differ_between_lanes_and_evaluations_are_counted():
    made = problem.build(problem.bind(TINY + "mlp"))
    theta = _starts(made, 1, torch.float32).repeat(3, 1)
    specs = [_bound("nesterov", rate) for rate in (0.1, 0.01, 0.1)]
    group = lanes_of(made, specs, theta, [0, 0, 0], 16, "reshuffle")
    for k in range(7):
        group.step(k)
    assert isinstance(group, Together)
    assert torch.equal(group.theta[0], group.theta[2]) and not torch.equal(group.theta[0], group.theta[1])
    assert [dict(calls) for calls in group.calls()] == [{"gradient": 7}] * 3


def test_lanes_that_are_kept_go_on_as_before():
    made = problem.build(problem.bind(TINY + "mlp"))
    whole, _ = _train(made, "adam", range(6), torch.float32, 20)
    made32 = made.to("cpu", torch.float32)
    group = lanes_of(
        made32,
        [_bound("adam", 0.01 * (1 + lane % 5)) for lane in range(6)],
        _starts(made32, 6, torch.float32),
        list(range(6)),
        16,
        "reshuffle",
    )
    for k in range(8):
        group.step(k)
    kept = group.keep([1, 4])
    for k in range(8, 20):
        kept.step(k)
    assert torch.equal(kept.theta, whole[[1, 4]])
    assert [dict(calls) for calls in kept.calls()] == [{"gradient": 20}] * 2


def test_a_state_may_be_written_in_any_order():
    from suite import Optimizer

    @optimizer("orders")
    def orders(lr: float = 0.1) -> Optimizer:
        """Writes its state in another order than init did."""

        def step(oracle, state, theta):
            _, g = oracle.gradient(theta)
            return theta - lr * g, {"b": state["b"] + 1, "a": g}

        return Optimizer(lambda oracle, theta: {"a": theta.new_zeros(theta.shape), "b": 0.0}, step)

    try:
        made = problem.build(problem.bind(TINY + "mlp"))
        _, group = _train(made, "orders", range(2), torch.float32, 3)
        assert isinstance(group, Together)
        assert [tuple(t.shape) for t in group.state] == [(2, made.size), (2,)]
        assert group.state[1].tolist() == [3.0, 3.0]
    finally:
        del optimizer._entries["orders"]


def test_an_optimizer_that_raises_stops_only_its_lane():
    class Moody(torch.optim.SGD):
        def step(self, closure=None):
            if self.param_groups[0]["lr"] > 0.5:
                raise RuntimeError("too fast for me")
            return super().step(closure)

    made = problem.build(problem.bind(TINY + "mlp"))
    entry = optimizer._adopt(Moody, "moody")
    optimizer._entries["moody"] = entry
    try:
        specs = [parse(str(optimizer.bind(f"moody(lr={rate})"))) for rate in (0.1, 0.9)]
        group = lanes_of(made, specs, _starts(made, 2, torch.float32), [0, 1], 16, "reshuffle")
        for k in range(5):
            group.step(k)
    finally:
        del optimizer._entries["moody"]
    assert isinstance(group, Apart)
    assert set(group.errors) == {1}
    assert group.errors[1].startswith("RuntimeError: too fast for me") and "test_lanes.py, line" in group.errors[1]
    assert torch.equal(group.theta[1], _starts(made, 2, torch.float32)[1])
    assert not torch.equal(group.theta[0], _starts(made, 2, torch.float32)[0])


SCRIPT = """
import hashlib, sys
import torch
from problems.problem import problem
sys.path.insert(0, {here!r})
from test_lanes import TINY, _train
torch.set_num_threads(1)
theta, _ = _train(problem.build(problem.bind(TINY + {kind!r})), "adam", {lanes!r}, torch.float32, 30)
print(hashlib.sha256(theta[{lanes!r}.index(3)].contiguous().numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize("kind", ["mlp", "cnn", "rnn"])
def test_another_process_gives_the_same_bits(kind):
    def digest(lanes):
        script = SCRIPT.format(here=str(HERE), kind=kind, lanes=lanes)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[-1]

    assert digest([3]) == digest([0, 1, 2, 3, 4])
