"""Kernels as graphs, on a processor that stands in for an accelerator, and what is done where no graph can be had."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from stand_in import StandIn

from analysis.replay import accelerator, graphs, native
from analysis.replay.loops import repeat
from analysis.replay.recorder import Recorder
from analysis.replay.tape import Tape


@pytest.fixture
def means(monkeypatch):
    monkeypatch.setitem(accelerator.KINDS, "cpu", StandIn)
    return accelerator.accelerator("cpu")


def _moving(x, v):
    """Kernels with results in place, results of their own, and results that are adopted."""
    v = 0.9 * v + torch.cat([x[:, 1:], x[:, :1]], 1).tanh()
    x, order = (x - 0.1 * v).sort(dim=1)
    return [x + order.to(x.dtype) / 100, v]


def _trained(steps):
    x, v = torch.linspace(-1, 1, 3000).reshape(3, 1000), torch.zeros(3, 1000)
    tape = Tape(lambda: _moving(x, v), [x, v], [x, v])
    for _ in range(steps):
        tape()
    return tape, x, v


def test_a_tape_is_captured_at_its_third_replay_and_has_the_same_bits(means):
    with native.used("kernels"):
        tape, x, v = _trained(8)
        with graphs.used(False):
            plain, *wanted = _trained(8)
    (stretch,) = tape.program
    assert isinstance(stretch, graphs.Captured) and stretch.graph.replays == 8 - graphs.WARM
    assert len(plain.program) > 1
    assert torch.equal(x, wanted[0]) and torch.equal(v, wanted[1])


def _through_an_action(x, seen):
    """A result that is adopted, alone between two actions or among other kernels, and read behind an action."""
    recorder = Recorder.current
    recorder.call([x], lambda t: ((lambda: seen.append(1)), []))
    back = x.flip(1)
    recorder.call([x], lambda t: ((lambda: seen.append(2)), []))
    rolled = (2 * x).roll(3, 1)
    recorder.call([x], lambda t: ((lambda: seen.append(3)), []))
    return [(x + 0.01 * back - 0.1 * rolled).sin()]


def test_what_is_read_beyond_a_graph_lies_where_it_lay(means):
    def trained():
        x, seen = torch.linspace(-1, 1, 300, dtype=torch.float64).reshape(3, 100), []
        tape = Tape(lambda: _through_an_action(x, seen), [x], [x])
        for _ in range(9):
            tape()
        assert seen == [1, 2, 3] * 9
        return x

    with native.used("kernels"):
        found = trained()
        with graphs.used(False):
            assert torch.equal(found, trained())


def test_a_round_of_a_loop_is_a_graph_before_what_it_reads_is_one(means):
    """Its third round may be within the first replay of the tape around it, whose results are adopted anew then."""

    def rounds(x, seen):
        back = (2 * x).flip(1)

        def body(state, active):
            value, k = state
            value = torch.where(active, value + 0.1 * back.roll(1, 1), value)
            return (value, k + 1), active & (k < seen)

        value, _ = repeat(body, (x, torch.zeros(len(x), 1)), torch.ones(len(x), 1, dtype=torch.bool), 9)
        return [(value + back).sin()]

    def trained():
        x, most = torch.linspace(-1, 1, 300, dtype=torch.float64).reshape(3, 100), torch.full((3, 1), 4.0)
        tape = Tape(lambda: rounds(x, most), [x, most], [x])
        for k in range(9):
            most.fill_(3.0 + k % 3)
            tape()
        return x

    with native.used("kernels"):
        before = StandIn.captured
        found = trained()
        assert StandIn.captured > before
        with graphs.used(False):
            assert torch.equal(found, trained())


def test_actions_stand_between_graphs(means):
    x, seen = torch.zeros(4), []
    action = lambda: seen.append(x.sum().item())  # noqa: E731  # it is compared by identity
    add = [lambda: x.add_(1.0), lambda: x.mul_(1.0)]
    program = graphs.stretches([*add, action, *add], [action], x.device)
    assert [type(part) is graphs.Captured for part in program] == [True, False, True]
    for _ in range(5):
        for part in program:
            part()
    assert seen == [4.0, 12.0, 20.0, 28.0, 36.0] and x.tolist() == [10.0] * 4
    assert all(part.graph.replays == 3 for part in program[::2])


def test_kernels_that_look_at_values_are_launched_one_by_one(means):
    x, seen = torch.zeros(4), []
    (stretch,) = graphs.stretches([lambda: x.add_(1.0), lambda: seen.append(x.sum().item())], [], x.device)
    failed = StandIn.failed
    for _ in range(5):
        stretch()
    assert seen == [4.0, 8.0, 12.0, 16.0, 20.0] and stretch.graph is None
    assert StandIn.failed == failed + 1  # it is tried once


def test_a_graph_is_not_captured_within_another(means):
    x = torch.zeros(4)
    (inner,) = graphs.stretches([lambda: x.add_(1.0), lambda: x.add_(1.0)], [], x.device)
    inner(), inner()
    outer = means.capture([inner], means.pool())
    assert inner.graph is None and x.tolist() == [4.0] * 4
    outer.replay()
    inner()
    assert inner.graph is not None and x.tolist() == [8.0] * 4


class _Asked:
    """A CUDA device on which every capture fails; keeps in which order what was asked of it."""

    def __init__(self, monkeypatch):
        self.done = []
        generator = type("Generator", (), {"clone_state": lambda _: "before"})()
        generator.graphsafe_set_state = lambda state: self.done.append(("random", state))
        stream = type("Stream", (), {"wait_stream": lambda *_: None})
        stubs = {
            "CUDAGraph": lambda: self, "default_generators": (None, generator), "Stream": lambda device: stream(),
            "current_stream": lambda device: stream(), "stream": lambda side: nullcontext(),
            "synchronize": lambda device: self.done.append(("wait", device.index)),
        }  # fmt: skip
        for name, stub in stubs.items():
            monkeypatch.setattr(torch.cuda, name, stub)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_pool)

    def end_pool(self, index, pool):
        self.done.append(("pool", index, pool))
        raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    def capture_begin(self, pool, capture_error_mode):
        self.done.append(("begin", pool, capture_error_mode))

    def capture_end(self):
        self.done.append("end")
        raise RuntimeError("operation failed due to a previous error during capture")


def test_what_a_failed_capture_leaves_behind_is_undone(monkeypatch):
    asked = _Asked(monkeypatch)
    means = accelerator.Cuda(torch.device("cuda", 1))
    assert means.capture([lambda: asked.done.append("kernel")], "pool") is None
    kept = [("begin", "pool", "thread_local"), "kernel", "end", ("wait", 1), ("random", "before"), ("pool", 1, "pool")]
    assert asked.done == kept


def test_what_is_asked_of_torch_is_there():
    """On a build with CUDA, whether or not there is a device."""
    if torch.version.cuda is None:
        pytest.skip("this PyTorch is built without CUDA")
    assert all(hasattr(torch._C, name) for name in ("_cuda_endAllocateToPool", "_cuda_sleep"))
    assert all(hasattr(torch.Generator, name) for name in ("clone_state", "graphsafe_set_state"))
    assert hasattr(torch._C._CudaDeviceProperties, "L2_cache_size")
