"""Chains over blocks against the same operations on whole tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.replay import blocks, native
from analysis.replay.tape import Tape

ODD = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, -3e38])


def _draw(rows, columns, seed, dtype=torch.float32):
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    at = torch.randint(rows * columns, (min(rows * columns, 20),), generator=torch.Generator().manual_seed(seed + 9))
    drawn.view(-1)[at] = ODD[at % len(ODD)].double()
    return drawn.to(dtype)


def _root(t):
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.sqrt(t.numpy()))  # PyTorch may round the last bit otherwise


OPS = [
    lambda a, b, c, rate: a * 0.9 + b,
    lambda a, b, c, rate: a - rate * c,
    lambda a, b, c, rate: 1.0 - a / (b.abs() + 1e-3),
    lambda a, b, c, rate: torch.where(a > b, a, rate * c),
    lambda a, b, c, rate: torch.where(a <= 0.5, b, 2.0),
    lambda a, b, c, rate: a.sign() * b.reciprocal(),
    lambda a, b, c, rate: -a + c / rate,
    lambda a, b, c, rate: torch.where(a >= b, torch.where(c < 0, a, b), a),
]


def _function(program, held, rate):
    values = list(held)
    for op, *which in program:
        values.append(OPS[op](*(values[i % len(values)] for i in which), rate))
    return values[-2:]


@settings(max_examples=60, deadline=None)
@given(
    program=st.lists(st.tuples(st.integers(0, len(OPS) - 1), *[st.integers(0, 20)] * 3), min_size=2, max_size=10),
    shape=st.sampled_from([(1, 9_000), (3, 9_000), (70, 130), (1, 5), (5, 1), (2, 4096)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    order=st.permutations([0, 1]),
)
def test_random_chains_have_the_bits_of_whole_kernels(program, shape, dtype, order):
    """Of odd numbers too, with results over inputs, lanes that fill no block, and lanes that fill several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "block_size", lambda vectors, itemsize: 4096)
        held = [_draw(*shape, seed=i, dtype=dtype) for i in range(3)]
        rate = torch.rand(shape[0], 1, generator=torch.Generator().manual_seed(5)).to(dtype)
        expected = [t.clone() for t in held]
        with native.used("uncompiled"):
            tape = Tape(lambda: _function(program, held, rate), [*held, rate], [held[i] for i in order])
        for _ in range(2):
            results = [r.clone() for r in _function(program, expected, rate)]
            for i, result in zip(order, results, strict=True):
                expected[i].copy_(result)
            tape()
            for mine, theirs in zip(held, expected, strict=True):
                assert torch.equal(mine.isnan(), theirs.isnan())
                assert torch.equal(torch.nan_to_num(mine), torch.nan_to_num(theirs))


def test_a_chain_is_one_call_and_what_passes_through_it_needs_no_vector():
    a, b = _draw(1, 200_000, 0), _draw(1, 200_000, 1)
    expected = a / (_root(b.abs()) + 1e-8)
    with native.used("uncompiled"):
        tape = Tape(lambda: [a / (b.abs().sqrt() + 1e-8)], [a, b], [a])
    assert len(tape.program) == 1
    tape()
    assert torch.equal(torch.nan_to_num(a), torch.nan_to_num(expected))


@pytest.mark.parametrize("function", [torch.sqrt, torch.rsqrt])
def test_square_roots_are_correctly_rounded(function):
    a = torch.rand(1, 10_000, generator=torch.Generator().manual_seed(1))
    exact = {torch.sqrt: _root, torch.rsqrt: lambda t: 1 / _root(t)}[function](a)
    with native.used("uncompiled"):
        Tape(lambda: [function(a) * 1.0], [a], [a])()
    assert torch.equal(a, exact)


@pytest.mark.parametrize(("vectors", "itemsize"), [(1, 4), (6, 4), (6, 8), (10_000, 8)])
def test_blocks_are_neither_tiny_nor_larger_than_the_cache_is_thought_to_be(vectors, itemsize):
    size = blocks.block_size(vectors, itemsize)
    assert blocks.LEAST <= size <= blocks.MOST and size % blocks.ALIGN == 0


def test_numbers_of_several_types_run_as_kernels():
    a = _draw(1, 5_000, 0)
    wide = torch.rand(1, 5_000, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = a * wide * 2.0
    with native.used("uncompiled"):
        tape = Tape(lambda: [a * wide * 2.0], [a, wide])
    tape()
    assert torch.equal(torch.nan_to_num(tape.outputs[0]), torch.nan_to_num(expected))


def test_blocks_have_a_size_where_the_system_tells_of_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sysconf_names")
    assert blocks.block_size(9, 4) >= blocks.LEAST
