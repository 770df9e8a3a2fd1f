"""A loop on a tape takes each lane where a loop of its own, in Python, would."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.replay.loops import repeat
from analysis.replay.tape import Tape

torch.set_num_threads(1)
MOST = 30


def _draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def halved(x, limit):
    """x/2, x/4, … until its norm is below the limit: the end, the points passed, and the rounds."""

    def body(state, active):
        halves = torch.where(active, state["x"] / 2, state["x"])
        state = {
            "rounds": state["rounds"] + active,
            "passed": torch.where(active, state["passed"] + state["x"], state["passed"]),
            "x": halves,
        }
        return state, active & (halves.norm() > limit)

    start = {"x": x, "passed": torch.zeros_like(x), "rounds": torch.zeros((), dtype=torch.int64)}
    return repeat(body, start, x.norm() > limit, MOST)


def alone(x, limit):
    passed, rounds = torch.zeros_like(x), 0
    while x.norm() > limit and rounds < MOST:
        passed, x, rounds = passed + x, x / 2, rounds + 1
    return x, passed, rounds


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 12), st.integers(0, 9)), min_size=1, max_size=5), st.booleans())
def test_each_lane_ends_where_it_would_alone(lanes, recorded):
    """Some begin below the limit, some end after other rounds, and one has no number; for several replays."""
    x = torch.stack([2.0**size * _draw(7, seed=seed) for size, seed in lanes] + [torch.full((7,), torch.nan)])
    limit = torch.ones(len(x), dtype=torch.float64)

    def function():
        found = torch.vmap(halved)(x * 1.0, limit)
        return [found[key] for key in ("x", "passed", "rounds")]

    run = Tape(function, [x, limit]) if recorded else None
    for factor in (1.0, 40.0, 1e-3):
        x.mul_(factor)
        if run is not None:
            run()
        ends, passed, rounds = function() if run is None else run.outputs
        for lane in range(len(x)):
            end, sum_, count = alone(x[lane], limit[lane])
            assert torch.equal(ends[lane], end) or end.isnan().all()
            assert torch.equal(passed[lane], sum_)
            assert rounds[lane] == count


def test_loops_within_loops_and_what_is_replaced_at_each_replay():
    """The largest entries, which come in a new tensor each time, are reduced in rounds of rounds."""
    x = _draw(3, 50).abs() + 0.5

    def function():
        def one(x):
            top = torch.topk(x, 4).values  # has no form that writes into one tensor

            def outer(state, active):
                total, factor = state

                def inner(value, active):
                    value = torch.where(active, value * 0.9, value)
                    return value, active & (value > 0.2)

                inside = repeat(inner, (top * factor).sum(), active, 5)
                total = torch.where(active, total + inside, total)
                factor = torch.where(active, factor / 2, factor)
                return (total, factor), active & (factor * top[0] > 0.3)

            return repeat(outer, (top[0] * 0, torch.ones_like(top[0])), top[0] > 0, 9)[0]

        return [torch.vmap(one)(x)]

    tape = Tape(function, [x])
    assert tape.varies
    for factor in (1.0, 3.0, 0.5):
        x.mul_(factor)
        tape()
        torch.testing.assert_close(tape.outputs[0], function()[0], rtol=0, atol=0)


def test_states_that_change_places():
    x, y = _draw(2, 5), _draw(2, 5, seed=1)

    def function():
        def one(x, y):
            start = (x, y, torch.zeros((), dtype=torch.float64))
            return repeat(lambda s, a: ((s[1], s[0], s[2] + 1), a & (s[2] < 2)), start, x[0] == x[0], 9)

        return list(torch.vmap(one)(x, y))

    tape = Tape(function, [x, y])
    tape()
    assert torch.equal(tape.outputs[0], y) and torch.equal(tape.outputs[1], x)
    assert (tape.outputs[2] == 3).all()


def test_a_state_of_another_form_is_refused():
    x = _draw(2)
    with pytest.raises(TypeError, match="of the form that it was given"):
        Tape(lambda: [repeat(lambda s, a: ((s, s), a), x, x[0] > 0, 3)], [x])
