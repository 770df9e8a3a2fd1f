"""Intervals, choices and tuning ranges."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import bounds
from problems.bounds import Bound, OneOf, linear_range, log_range
from problems.names import UsageError


def of(annotation):
    return annotation.__metadata__[0]


@pytest.mark.parametrize(
    ("bound", "text", "inside", "beyond"),
    [
        (of(bounds.Positive), "> 0", (1e-300, 1e300), (0, -1, math.inf, math.nan)),
        (of(bounds.NonNegative), ">= 0", (0, 5), (-1e-9, math.inf, math.nan)),
        (of(bounds.Fraction), "in [0, 1)", (0, 0.999), (-0.1, 1, 1.2)),
        (of(bounds.Unit), "in [0, 1]", (0, 1), (-0.1, 1.1)),
        (of(bounds.Real), "a finite number", (-1e9, 0, 1e9), (math.inf, -math.inf, math.nan)),
        (of(bounds.Count), ">= 1", (1, 10), (0,)),
        (of(bounds.Natural), ">= 0", (0,), (-1,)),
        (Bound(0, 1, open_low=True, open_high=True), "in (0, 1)", (0.5,), (0, 1)),
        (Bound(high=5), "<= 5", (5, -1e9), (6,)),
        (Bound(high=5, open_high=True), "< 5", (4.9,), (5,)),
        (OneOf(("a", "b")), "one of a, b", ("a",), ("c",)),
    ],
)
def test_what_is_inside(bound, text, inside, beyond):
    assert str(bound) == text
    assert all(value in bound for value in inside)
    assert not any(value in bound for value in beyond)


@given(st.floats(1e-12, 1e12), st.floats(1.001, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_a_range_runs_from_low_to_high(low, ratio, one, two):
    for span in (log_range(low, low * ratio), linear_range(low, low * ratio)):
        assert span.at(0) == pytest.approx(span.low)
        assert span.at(1) == pytest.approx(span.high)
        assert (span.at(one) <= span.at(two)) or one > two
    middle = log_range(low, low * ratio).at(0.5)
    assert middle == pytest.approx(math.sqrt(low * low * ratio))


@pytest.mark.parametrize("make", [lambda: log_range(0.0, 1.0), lambda: log_range(1.0, 0.1), lambda: linear_range(2, 2)])
def test_a_range_must_have_room(make):
    with pytest.raises(UsageError, match="tuning range: need low < high"):
        make()


def test_a_range_says_its_scale():
    assert str(log_range(1e-5, 1)) == "1e-05 to 1, log"
    assert str(linear_range(0, 1)) == "0 to 1"
