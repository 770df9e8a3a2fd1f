"""A GPU trains and measures as a processor does; skipped where there is none."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from analysis.gradients import noise
from analysis.objective import of_module
from analysis.operators import gauss_newton, hessian
from analysis.replay import graphs, native
from analysis.spectrum import spectrum
from problems.names import UsageError, parse
from problems.problem import problem
from suite import chunks, cost, estimate, updates
from suite.cli import cli
from suite.costs import kept, save
from suite.curvature import Seen
from suite.engine import train
from suite.initializers import initializer
from suite.lanes import lanes_of
from suite.optimizers import optimizer
from suite.spec import Result, Run
from suite.starting import start_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"
NAMES = [e.name for e in optimizer if not any(p.required for p in e.parameters)]
STRATEGIES = [
    "polyak(clip(adam))",
    "lookahead(momentum)",
    "sam(sgd)",
    "gradient_noise(sgd)",
    "sgd(lr=cosine(value=0.1, steps=40))",
]
DAMPED = ["newton(alpha=10)", "saddle_free_newton(alpha=1)"]


def _group(text, device, dtype, kind="mlp", lanes=3):
    made = problem.build(problem.bind(TINY + kind)).to(device, dtype)
    starts = [made.start(torch.Generator().manual_seed(seed)) for seed in range(lanes)]
    theta = torch.stack(starts).to(device, dtype)
    return lanes_of(made, [parse(str(optimizer.bind(text)))] * lanes, theta, list(range(lanes)), 16, "reshuffle")


def _path(group, steps):
    """θ after each of the steps."""
    found = []
    for k in range(steps):
        group.step(k)
        found.append(group.theta.cpu().clone())
    assert not group.errors
    return found


def _trained(text, steps, device, dtype, kind="mlp"):
    group = _group(text, device, dtype, kind)
    return _path(group, steps)[-1], group


@pytest.mark.parametrize("text", [*NAMES, *STRATEGIES, *DAMPED])
def test_steps_are_those_of_the_processor(text):
    """To rounding in float64, launched one by one, captured and replayed, while the rule itself keeps rounding small.

    Newton's step on a nearly singular Hessian does not, nor does a basis of a null space in SOAP: where one unit in
    the last place of the start moves the processor's own path, there is nothing to compare.
    """
    on_gpu, on_cpu = (_path(_group(text, device, torch.float64), 6) for device in ("cuda", "cpu"))
    moved = _group(text, "cpu", torch.float64)
    moved.theta.mul_(1 + 1e-15 * torch.randn(moved.theta.shape, generator=torch.Generator().manual_seed(9)).double())
    steady = [torch.allclose(a, b, rtol=1e-8, atol=1e-10) for a, b in zip(on_cpu, _path(moved, 6), strict=True)]
    assert steady[0]
    for k in range(steady.index(False) if False in steady else len(steady)):
        assert torch.allclose(on_gpu[k], on_cpu[k], rtol=1e-6, atol=1e-8), f"step {k + 1}"


@pytest.mark.parametrize("text", ["adam", "kfac(every=3)", "sophia", "hessian_free"])
def test_problems_whose_data_are_whole_numbers_train_there(text):
    """What they work with beside θ lies where the data do, in θ's type."""
    on_gpu, on_cpu = (_path(_group(text, device, torch.float64, "symbols"), 3)[-1] for device in ("cuda", "cpu"))
    assert torch.allclose(on_gpu, on_cpu, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "rnn"])
@pytest.mark.parametrize("text", ["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "lbfgs", *STRATEGIES])
def test_captured_and_compiled_kernels_have_the_bits_of_the_kernels(text, kind, monkeypatch):
    captured, capture = [], graphs.Captured._capture
    monkeypatch.setattr(graphs.Captured, "_capture", lambda self: captured.append(capture(self)) or captured[-1])
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        quick, _ = _trained(text, 12, "cuda", torch.float32, kind)
        assert captured and all(captured)
        again, _ = _trained(text, 12, "cuda", torch.float32, kind)
        with graphs.used(False):
            launched, _ = _trained(text, 12, "cuda", torch.float32, kind)
        with native.used("kernels"):
            kernels, _ = _trained(text, 12, "cuda", torch.float32, kind)
    forms = {"again": again, "launched": launched, "kernels": kernels}
    assert {form: (theta - quick).abs().max().item() for form, theta in forms.items()} == dict.fromkeys(forms, 0.0)


def test_a_chain_is_one_kernel():
    x, y = (torch.rand(3, 1000, device="cuda") for _ in range(2))
    from analysis.replay.tape import Tape

    tape = Tape(lambda: [(x * 0.9 + y.sqrt() / 3.0) / (y + 1e-8)], [x, y], [x])
    assert len(tape.program) == 1


def test_kernels_that_wait_for_the_device_are_launched_one_by_one():
    x, seen = torch.zeros(4, device="cuda"), []
    program = [partial(x.add_, 1.0), lambda: seen.append(x.sum().item())]
    (stretch,) = graphs.stretches(program, [], x.device)
    for _ in range(5):
        stretch()
    assert seen[-1] == 20.0 and x.tolist() == [5.0] * 4 and stretch.graph is None
    assert torch.rand(3, device="cuda").isfinite().all()  # what was captured in vain has left nothing behind


def test_random_numbers_go_on_after_a_capture_that_failed():
    """Those of one seed, launched or replayed, and new ones at each replay of a graph that is captured later."""
    x = torch.zeros(1000, device="cuda")

    def numbers(captured):
        torch.cuda.manual_seed(7)
        with graphs.used(captured):
            draw = graphs.stretches([x.normal_, lambda: x.mul_(2.0)], [], x.device)
        found = []
        for _ in range(6):
            for kernel in draw:
                kernel()
            found.append(x.clone())
        return torch.stack(found)

    before = numbers(True)
    (looks,) = graphs.stretches([x.zero_, lambda: x.sum().item()], [], x.device)
    for _ in range(4):
        looks()
    assert looks.graph is None
    after = numbers(True)
    assert torch.equal(after, before) and torch.equal(numbers(False), before)
    assert len({row.sum().item() for row in after}) == 6


LONG = {"mnist_pixels_lstm"}  # 784 steps of a recurrence, whose recording takes minutes


@pytest.mark.parametrize("name", [e.name for e in problem if not any(p.required for p in e.parameters)])
def test_each_problem_trains(name):
    if name in LONG:
        pytest.skip("takes minutes")
    try:
        made = problem.build(problem.bind(name))
    except UsageError as missing:
        pytest.skip(str(missing))
    found = {}
    for device in ("cpu", "cuda"):
        run = Run(str(problem.bind(name)), str(optimizer.bind("adam")), steps=3, eval_every=3, device=device,
                  batch_size=min(made.batch_size, 16))  # fmt: skip
        train([run], on_result=lambda result: found.update({result.run.device: result}))
    assert found["cuda"].status == found["cpu"].status == "done", found["cuda"].detail
    for measure in ("final_train_loss", "final_valid_loss"):
        if measure in found["cpu"].summary:
            assert found["cuda"].summary[measure] == pytest.approx(found["cpu"].summary[measure], rel=2e-2, abs=1e-4)


def test_the_cost_of_a_step_has_parts_and_a_replay():
    found = cost.measure("digits_mlp", "adam", device="cuda", seconds=0.5)
    assert set(found.parts) == set(cost.PARTS) and all(v >= 0 for v in found.parts.values())
    assert found.replayed is not None and found.replayed > 0 and found.memory
    assert found.environment["device"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("text", ["adam", "torch.Adam", "lbfgs", "sophia", "kfac"])
def test_the_parts_of_a_step_add_up_to_about_a_step(text, tmp_path):
    """No delay is in them (five milliseconds), whether steps are recorded, launched one by one or looked at."""
    found = cost.measure("digits_mlp", text, device="cuda", seconds=0.5)
    assert 0.2 * found.seconds < sum(found.parts.values()) < 3 * found.seconds
    assert (found.replayed is None) == (text != "adam")  # the others look at values, or will not be captured
    save(found, tmp_path)
    of = found.problem, found.optimizer, found.batch_size, found.dtype, found.device
    assert kept(*of, tmp_path).to_dict() == found.to_dict()


@pytest.mark.parametrize("text", ["lbfgs", "conjugate_gradients", "hessian_free", "kfac(samples=0)"])
def test_all_examples_go_through_in_chunks(text, monkeypatch):
    """Whose kernels are captured: steps of all of them at once on the processor."""
    monkeypatch.setattr(chunks, "FEWEST", 1)
    found = {}
    for device, numbers in (("cpu", 1 << 26), ("cuda", 1 << 12)):
        monkeypatch.setattr(chunks, "NUMBERS", numbers)
        made = problem.build(problem.bind(TINY + "mlp")).to(device, torch.float64)
        theta = torch.stack([made.start(torch.Generator().manual_seed(seed)) for seed in range(2)]).to(made.like)
        group = lanes_of(made, [parse(str(optimizer.bind(text)))] * 2, theta, [0, 1], 0, "reshuffle")
        assert (len(made.train) > chunks.at_once(made, device)) == (device == "cuda")
        found[device] = _path(group, 3)[-1]
    assert torch.allclose(found["cuda"], found["cpu"], rtol=1e-6, atol=1e-8)


def test_products_are_recorded_and_captured(monkeypatch):
    """Hessian and Gauss-Newton products of a net, one vector and eight at a time, are those of the processor."""
    captured, capture = [], graphs.Captured._capture
    monkeypatch.setattr(graphs.Captured, "_capture", lambda self: captured.append(capture(self)) or captured[-1])
    made, found = problem.build(problem.bind(TINY + "mlp")), {}
    theta = made.start(torch.Generator().manual_seed(0)).double()
    vectors = torch.randn(12, 8, made.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for device in ("cpu", "cuda"):
        moved = made.to(device, torch.float64)
        for matrix in (hessian, gauss_newton):
            operator = matrix(Seen().objective(moved, theta.to(device)), expected=100_000)
            blocks = [operator.apply(v.to(device)).clone().cpu() for v in vectors]
            ones = [operator.apply(v[:1].to(device)).clone().cpu() for v in vectors]
            found[device, matrix] = torch.cat([*blocks, *ones])
    assert captured and all(captured)
    for matrix in (hessian, gauss_newton):
        assert torch.allclose(found["cuda", matrix], found["cpu", matrix], rtol=1e-6, atol=1e-9)


def _own(device):
    """A convolutional net of one's own there, and a loader that leaves its batches where they were read."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3)
    net, loss = nn.Sequential(*layers).double().to(device), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]).double())
    x, y = torch.randn(40, 1, 8, 8).double(), torch.arange(40) % 3
    return of_module(net, loss.to(device), DataLoader(TensorDataset(x, y), batch_size=16))


def test_curvature_and_noise_of_a_module_are_those_of_the_processor():
    found = {}
    for device in ("cpu", "cuda"):
        made = _own(device)
        spread = noise(made)
        top = spectrum(hessian(made), top=3, tol=1e-8).top.values
        found[device] = torch.tensor([*map(float, top), spread.variance, spread.squared])
    assert torch.allclose(found["cuda"], found["cpu"], rtol=1e-6)


def test_how_long_a_comparison_takes_is_tried_there(monkeypatch, tmp_path):
    """Steps and evaluations, the device waited for."""
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    run = Run(str(problem.bind(TINY + "mlp")), str(optimizer.bind("adam")), steps=1000, device="cuda", batch_size=16)
    first, each = estimate.step_seconds(run, 8)
    assert first > each > 0 and estimate.evaluation_seconds(run, 8) > 0


STARTS = [e.name for e in initializer if not any(p.required for p in e.parameters)]


@pytest.mark.parametrize("name", STARTS)
def test_starts_are_those_of_the_processor(name):
    """To rounding; what is trained to get there goes its own way after some steps."""
    whole = {"problem": str(problem.bind("digits_mlp")), "optimizer": str(optimizer.bind("sgd")), "batch_size": 32}
    runs = {d: Run(**whole, initializer=str(initializer.bind(name)), steps=1, device=d) for d in ("cpu", "cuda")}
    points = {}
    for device, run in runs.items():
        made = problem.build(problem.bind("digits_mlp")).to(device, torch.float32)
        start = start_of(run, made, {})
        points[device] = start if isinstance(start, Result) else start[0]
    if isinstance(points["cpu"], Result):
        assert points["cuda"].detail == points["cpu"].detail
        return
    assert points["cuda"].device.type == "cpu"
    assert torch.allclose(points["cuda"], points["cpu"], rtol=1e-2, atol=1e-3)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device alone")
def test_another_device_than_the_first_is_used_and_timed():
    on_second, group = _trained("adam", 6, "cuda:1", torch.float64)
    on_cpu, _ = _trained("adam", 6, "cpu", torch.float64)
    assert group.theta.device.index == 1 and torch.allclose(on_second, on_cpu, rtol=1e-6, atol=1e-8)
    found = cost.measure("mnist_mlp", "adam", device="cuda:1", seconds=0.5)
    assert found.seconds > 5e-5 and found.peak > 1e13


def test_updates_are_measured_in_every_form():
    found = updates.measure("adam", 10_000, device="cuda", seconds=0.1)
    assert {each.form for each in found} == set(updates.FORMS)


@pytest.mark.parametrize(
    "command",
    [
        ["spectrum", TINY + "mlp", "adam", "--at", "0,5", "--top", "3", "--bottom", "2", "--density"],
        ["trace", TINY + "mlp", "adam", "--steps", "20"],
        ["run", TINY + "rnn", "adam", "--steps", "20", "--timed"],
        ["compare", "--problems", TINY + "mlp", "--optimizers", "adam", "--steps", "20", "--trials", "2"],
        ["landscape", "line", TINY + "mlp", "adam", "--steps", "10"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_commands_work_there(command, tmp_path):
    options = ["--device", "cuda", "--json", "--quiet", "--results", str(tmp_path)]
    done = CliRunner().invoke(cli, [*command, *options])
    assert done.exit_code == 0, done.output + str(done.exception)
    assert json.loads(done.stdout)
