"""A tape must do what the recorded function does, to the bit, for whatever its inputs come to hold."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.replay.recorder import Untraceable
from analysis.replay.tape import Tape

torch.set_num_threads(1)


def _draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _same(a, b):
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))


OPS = [
    lambda a, b, c: a * 0.9 + b,
    lambda a, b, c: a - b * c,
    lambda a, b, c: a / (b.abs() + 1e-3),
    lambda a, b, c: -a + c * b.sum(1, keepdim=True),
    lambda a, b, c: a * a.mean(1, keepdim=True),
    lambda a, b, c: torch.maximum(a, b),
    lambda a, b, c: (a @ b.t()) @ c,
    lambda a, b, c: torch.cat([a[:, :3], b[:, 3:]], 1),
    lambda a, b, c: a.exp().clamp(max=3.0),
    lambda a, b, c: a.t().contiguous().t() + b,
]
JUMPS = [lambda a, b, c: torch.where(a > b, a, c), lambda a, b, c: a.sign() * b]
ROOT = [lambda a, b, c: b.abs().sqrt()]  # a compiled chain may round it better than the library does


@settings(max_examples=200, deadline=None)
@given(
    ops=st.sampled_from([(OPS + JUMPS, True), (OPS + ROOT, False)]),  # what is off by a bit may fall beyond a jump
    program=st.lists(st.tuples(st.integers(0, 50), *[st.integers(0, 20)] * 3), min_size=1, max_size=12),
    ends=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    rows=st.sampled_from([1, 3]),
    order=st.permutations([0, 1]),
)
def test_random_programs_replay_as_they_run(ops, program, ends, rows, order):
    """Random programs that write two of their results over two of their inputs, replayed three times."""
    known, exact = ops
    held = [_draw(rows, 37, seed=i) for i in range(3)]

    def function(held):
        values = list(held)
        for op, *which in program:
            values.append(known[op % len(known)](*(values[i % len(values)] for i in which)))
        return [values[i % len(values)] for i in ends]

    expected = [t.clone() for t in held]
    tape = Tape(lambda: function(held), held, [held[i] for i in order])
    for _ in range(3):
        results = [r.clone() for r in function(expected)]
        for i, result in zip(order, results, strict=True):
            expected[i].copy_(result)
        tape()
        for mine, theirs in zip(held, expected, strict=True):
            assert not exact or _same(mine, theirs)
            torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=1e-4, equal_nan=True)
            theirs.copy_(mine)


def test_swapped_states_do_not_overwrite_each_other():
    a, b = _draw(2, 40), _draw(2, 40, seed=1)
    tape = Tape(lambda: [b * 1.0, a * 1.0], [a, b], [a, b])
    old_a, old_b = a.clone(), b.clone()
    tape()
    assert torch.equal(a, old_b) and torch.equal(b, old_a)
    swap = Tape(lambda: [b, a], [a, b], [a, b])
    swap()
    assert torch.equal(a, old_a) and torch.equal(b, old_b)


def test_gradients_through_autograd_and_vmap_replay_with_the_same_bits():
    w, x = _draw(4, 6, 5), _draw(4, 7, 5, seed=1)

    def function():
        leaf = w.detach().requires_grad_()
        loss = torch.vmap(lambda w, x: torch.tanh(x @ w.t()).square().mean())(leaf, x)
        return [loss.detach(), *torch.autograd.grad(loss.sum(), leaf)]

    tape = Tape(function, [w, x])
    w.mul_(1.5)
    x.add_(0.25)
    expected = function()
    tape()
    assert all(torch.equal(a, b) for a, b in zip(tape.outputs, expected, strict=True))


def test_constants_are_not_computed_again():
    x, big = _draw(3, 4), _draw(4, 4, seed=1)
    tape = Tape(lambda: [x @ (big @ big.t())], [x])
    assert len(tape.program) == 1


def test_values_that_are_looked_at_are_refused():
    x = _draw(3)
    with pytest.raises(Untraceable):
        Tape(lambda: [x * 2 if x.sum() > 0 else x], [x])


def test_in_place_operations_inside_are_replayed():
    x = _draw(2, 5)

    def function():
        total = torch.zeros(2, 5)
        for i in range(3):
            total.add_(x * i)
        return [total]

    tape = Tape(function, [x])
    for _ in range(2):
        x.mul_(2)
        expected = function()[0]
        tape()
        assert torch.equal(tape.outputs[0], expected)


def test_zeros_that_are_written_into_are_zeros_again_at_each_replay():
    x = _draw(4, 6)
    index = torch.tensor([[0, 2], [1, 1], [5, 4], [3, 0]])

    def function():
        top = x.gather(1, index)
        return [torch.zeros_like(x).scatter_add_(1, index, top), x.new_zeros(4, 3).index_add_(1, index[0], top)]

    tape = Tape(function, [x])
    for seed in range(3):
        x.copy_(_draw(4, 6, seed=seed))
        tape()
        assert all(_same(found, want) for found, want in zip(tape.outputs, function(), strict=True))


def test_long_recordings_hold_what_their_operations_hold_and_no_more():
    """A recurrent net of four times as many steps takes four times as much, not sixteen."""

    def held(steps):
        x, w = _draw(2, 8), _draw(8, 8, seed=1)

        def function():
            state = x
            for _ in range(steps):
                state = (state @ w).tanh() * 0.5 + x * state.sigmoid()
            return [state]

        tracemalloc.start()
        tape = Tape(function, [x], [None])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        expected = function()[0]
        tape()
        torch.testing.assert_close(tape.outputs[0], expected)
        return peak

    held(10)  # what is loaded and compiled once
    assert held(600) < 6 * held(150)


def test_idle_buffers_serve_again_by_their_size():
    """Matrices of three sizes by turns: as many buffers as are in use at once, of the sizes that they have."""
    sizes = (64, 128, 512)
    inputs = [_draw(64, size, seed=size) for size in sizes]

    def function():
        total = inputs[0].sum() * 0
        for i in range(60):
            x = inputs[i % 3] @ inputs[i % 3].t()  # [64, 64]
            y = x @ inputs[(i + 1) % 3]
            total = total + (y @ y.t()).mean()
        return [total]

    expected = function()[0]
    tape = Tape(function, inputs)
    tape()
    assert torch.equal(tape.outputs[0], expected)
    large = {s.untyped_storage()._cdata for s in (views[0] for views in tape._views.values()) if s.numel() >= 1024}
    assert len(large) <= 3 + 4 * len(sizes)
