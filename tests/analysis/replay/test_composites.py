"""Chains as fused operations against the recorded ones, with bounds of their rounding carried along in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from analysis.replay import composites, native
from analysis.replay.algebra import Algebra
from analysis.replay.tape import Tape

N = 300  # of which a part is 64, and the last one is no multiple of anything
ODD = [0.0, -0.0, float("inf"), -float("inf"), float("nan")]
UNIT = 2.0**-24


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Rows are long, and parts are short."""
    monkeypatch.setattr(composites, "LONG", 128)
    monkeypatch.setattr(composites, "PART", 256)


@dataclass
class Bounded:
    """An exact value, and how far what float32 makes of it may be off: Higham (2002), section 3.1, with slack."""

    value: Tensor
    error: Tensor | float = 0.0

    def _of(self, value, error):
        return Bounded(value, error + 4 * UNIT * value.abs())

    def __add__(self, other):
        other = _bounded(other)
        sizes = self.value.abs() + other.value.abs()
        return self._of(self.value + other.value, self.error + other.error + 4 * UNIT * sizes)

    def __mul__(self, other):
        other = _bounded(other)
        error = self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error
        return self._of(self.value * other.value, error)

    def reciprocal(self):
        least = self.value.abs() - self.error
        error = torch.where(least > 0, self.error / (least * self.value.abs()), float("inf"))
        return self._of(1 / self.value, error)

    def sqrt(self):
        least = self.value - self.error
        error = torch.where(least > 0, self.error / least.clamp_min(1e-300).sqrt(), float("inf"))
        return self._of(self.value.sqrt(), error)

    def rsqrt(self):
        return self.sqrt().reciprocal()

    def __neg__(self):
        return Bounded(-self.value, self.error)

    def abs(self):
        return Bounded(self.value.abs(), self.error)

    def __sub__(self, other):
        return self + -_bounded(other)

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        return self * _bounded(other).reciprocal()

    def __rtruediv__(self, other):
        return self.reciprocal() * other

    __radd__, __rmul__ = __add__, __mul__


def _bounded(other):
    if isinstance(other, Bounded):
        return other
    value = other.double() if isinstance(other, Tensor) else torch.tensor(other, dtype=torch.float64)
    return Bounded(value, UNIT * value.abs())


def _where(condition, a, b):
    if not isinstance(a, Bounded):
        return torch.where(condition, a, b)
    a, b = _bounded(a), _bounded(b)
    return Bounded(torch.where(condition, a.value, b.value), torch.where(condition, a.error, b.error))


OPS = [
    lambda a, b, c, rate, mask: rate * a + (1 - rate) * b,
    lambda a, b, c, rate, mask: rate * a + (1 - rate) * b * b,
    lambda a, b, c, rate, mask: a - rate * c,
    lambda a, b, c, rate, mask: c - rate * a / (1e-3 + b.abs().sqrt()),
    lambda a, b, c, rate, mask: a / (b.abs() / rate + 1e-6).sqrt() * c,
    lambda a, b, c, rate, mask: rate / (1.5 - a) - b,
    lambda a, b, c, rate, mask: (rate * b.abs()).rsqrt() * c + a / 3.0,
    lambda a, b, c, rate, mask: _where(mask, a, rate * c),
    lambda a, b, c, rate, mask: (-a * rate + b * b.abs()) * 0.5 + b.abs().sqrt() * a,
    lambda a, b, c, rate, mask: 1.0 / (b.abs().sqrt() / rate) + c * rate,
]


def _draw(rows, seed, n=N, odd=True):
    stream = np.random.default_rng(seed)
    drawn = stream.standard_normal((rows, n))
    if odd:
        drawn[:, : len(ODD)] = ODD
        drawn[:, -1] = 0
    return torch.from_numpy(drawn).float()


def _function(program, held, rate):
    mask = _value(held[0]) > 0.3
    values = list(held)
    for op, *which in program:
        values.append(OPS[op](*(values[i % len(values)] for i in which), rate, mask))
    return values[-2:]


def _value(x):
    return x.value if isinstance(x, Bounded) else x


programs = st.lists(st.tuples(st.integers(0, len(OPS) - 1), *[st.integers(0, 20)] * 3), min_size=2, max_size=6)


def _tape(program, held, rate, order, form="uncompiled"):
    with native.used(form):
        return Tape(lambda: _function(program, held, rate), [*held, rate], [held[i] for i in order])


@settings(max_examples=80, deadline=None)
@given(program=programs, rows=st.integers(1, 3), order=st.permutations([0, 1]), seed=st.integers(0, 99))
def test_random_chains_are_the_recorded_operations_but_for_rounding(program, rows, order, seed):
    """With results over inputs, numbers of each lane's own, zeros, infinities and numbers that are none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composites, "LONG", 128), patch.setattr(composites, "PART", 256)
        held = [_draw(rows, seed + i) for i in range(3)]
        rate = torch.linspace(0.1, 0.9, rows).view(rows, 1)
        exact = _function(program, [Bounded(t.double()) for t in held], rate)
        plain = [t.clone() for t in _function(program, held, rate)]
        _tape(program, held, rate, order)()
        for i, bounded, recorded in zip(order, exact, plain, strict=True):
            found = held[i]
            known = torch.isfinite(_value(bounded)) & torch.isfinite(_bounded(bounded).error)
            off = (found.double() - _value(bounded)).abs()
            assert (off[known] <= _bounded(bounded).error.expand_as(off)[known]).all()
            special = ~torch.isfinite(_value(bounded))
            assert torch.equal(found[special].isnan(), recorded[special].isnan())
            assert torch.equal(torch.nan_to_num(found[special]), torch.nan_to_num(recorded[special]))


@settings(max_examples=40, deadline=None)
@given(program=programs, order=st.permutations([0, 1]), rates=st.permutations([0.0, 0.3, -2.0, 1e-38, float("inf")]))
def test_a_lane_has_the_bits_that_it_has_alone(program, order, rates):
    """Beside lanes whose numbers fused operations would not do for, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composites, "LONG", 128), patch.setattr(composites, "PART", 256)
        held = [_draw(len(rates), i) for i in range(3)]
        rate = torch.tensor(rates).view(-1, 1)
        alone = [([t[i : i + 1].clone() for t in held], rate[i : i + 1].clone()) for i in range(len(rates))]
        _tape(program, held, rate, order)()
        for i, (own, number) in enumerate(alone):
            _tape(program, own, number, order)()
            for mine, together in zip(own, held, strict=True):
                assert torch.equal(_bits(mine), _bits(together[i : i + 1]))


def _bits(tensor):
    """Zeros have their signs; those of what is no number are nobody's."""
    return torch.where(tensor.isnan(), torch.nan, tensor).view(torch.int32)


def _rmsprop(theta, r, g, rate):
    r = 0.9 * r + (1 - 0.9) * g * g
    return [theta - rate * g / (1e-6 + r).sqrt(), r]


def test_numbers_that_change_are_read_at_each_step():
    theta, r, g = (_draw(2, i, odd=False).abs() for i in range(3))
    rate = torch.full((2, 1), 0.5)
    mine = [theta.clone(), r.clone()]
    with native.used("uncompiled"):
        tape = Tape(lambda: _rmsprop(mine[0], mine[1], g, rate), [*mine, g, rate], mine)
    for step in ([0.5, 0.1], [0.0, 2.0], [float("nan"), 1.0]):
        rate.copy_(torch.tensor(step).view(2, 1))
        theta, r = _rmsprop(theta, r, g, rate)
        tape()
        torch.testing.assert_close(mine[0], theta, rtol=1e-5, atol=1e-6, equal_nan=True)
        torch.testing.assert_close(mine[1], r, rtol=1e-5, atol=1e-7)


def test_numbers_that_nothing_may_be_divided_by_leave_the_lane_to_the_recorded_operations():
    """x / 0 and rate · |x| + 1, where the one has no reciprocal and the other no common factor."""
    a, b = _draw(3, 0), _draw(3, 1)
    rate = torch.tensor([[0.5], [0.0], [float("inf")]])
    expected = [a / rate + b, (b.abs() * rate + 1.0) * a]
    with native.used("uncompiled"):
        Tape(lambda: [a / rate + b, (b.abs() * rate + 1.0) * a], [a, b, rate], [a, b])()
    for found, wanted in zip((a, b), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6, equal_nan=True)
        assert torch.equal(found[1:].nan_to_num(), wanted[1:].nan_to_num())


def test_an_operation_without_a_rule_takes_each_lane_s_own_number():
    a, b = (_draw(3, i, odd=False) for i in range(2))
    floor, chosen = torch.tensor([[-0.5], [0.0], [0.5]]), torch.tensor([[True], [False], [True]])

    def function():
        g = torch.where(chosen, a, (b > floor) * a) + b
        return _rmsprop(a, b.abs(), g, floor)

    (chain,) = _chain_of(function, [a, b, floor, chosen], [a, b])
    assert composites.composed(chain) is not None
    expected = function()
    with native.used("uncompiled"):
        Tape(function, [a, b, floor, chosen], [a, b])()
    torch.testing.assert_close([a, b], expected, rtol=1e-6, atol=1e-6)


def _chain_of(function, inputs, into):
    chains = []
    with pytest.MonkeyPatch.context() as patch, native.used("uncompiled"):
        patch.setattr(native, "composed", chains.append)
        Tape(function, inputs, into)
    return chains


def test_a_chain_takes_as_few_passes_as_fused_operations_allow():
    """Of RMSProp's nine: ρr, + (1−ρ)g², + δ, the root's reciprocal, and θ − η of the product, in one scratch vector."""
    theta, r, g = (_draw(1, i) for i in range(3))
    rate = torch.full((1, 1), 0.5)
    (chain,) = _chain_of(lambda: _rmsprop(theta, r, g, rate), [theta, r, g, rate], [theta, r])
    algebra = Algebra(chain, torch.float32)
    homes = composites._Homes(algebra)
    assert len(chain.ops) == 9 and len(algebra.instructions) == 5
    assert not homes.late and len({*homes.scratch.values()}) == 1


def test_what_is_read_after_its_place_is_written_is_copied_there_at_the_end():
    """The recorded 0.1 a is a vector before a is replaced; as a factor of a sum, it is read then."""
    a, b, c = (_draw(1, i, odd=False) for i in range(3))

    def function():
        step = a * 0.1
        return [a * 0.5 + b, c - step]

    expected = function()
    (chain,) = _chain_of(function, [a, b, c], [a, c])
    assert len(composites._Homes(Algebra(chain, torch.float32)).late) == 1
    with native.used("uncompiled"):
        Tape(function, [a, b, c], [a, c])()
    torch.testing.assert_close([a, c], expected, rtol=1e-6, atol=1e-6)


def test_short_rows_keep_the_bits_of_the_recorded_operations(monkeypatch):
    """However many lanes there are: what counts is the length."""
    monkeypatch.setattr(composites, "LONG", N + 1)
    theta, r, g = (_draw(7, i, odd=False).abs() for i in range(3))
    rate = torch.full((7, 1), 0.5)
    expected = (0.9 * r + (1 - 0.9) * g * g) * rate
    with native.used("uncompiled"):
        Tape(lambda: [(0.9 * r + (1 - 0.9) * g * g) * rate], [r, g, rate], [theta])()
    assert torch.equal(theta, expected)


@pytest.mark.parametrize("tiny", [1e-38, 1e-40, 1e-44])
def test_roots_of_subnormal_numbers_are_right(tiny):
    a, b = torch.full((1, N), tiny), torch.zeros(1, N)
    exact = a.double().sqrt() + 1e-25
    with native.used("uncompiled"):
        Tape(lambda: [b + (a.sqrt() + 1e-25) * 1.0], [a], [b])()
    torch.testing.assert_close(b.double(), exact, rtol=1e-6, atol=0)
