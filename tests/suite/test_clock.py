"""Stretches of time against a clock whose every reading takes known time."""

from __future__ import annotations

import pytest

from suite.clock import Clock


class _Hands:
    """A clock that each reading moves on by ``cost``, and work by what it is told."""

    def __init__(self, cost: float) -> None:
        self.time, self.cost = 0.0, cost

    def __call__(self) -> float:
        self.time += self.cost
        return self.time

    def work(self, seconds: float) -> None:
        self.time += seconds


@pytest.mark.parametrize("cost", [0.0, 0.5, 3.0])
def test_a_stretch_is_as_long_as_its_work_however_slow_the_clock(cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    hands = _Hands(cost)
    monkeypatch.setattr("time.perf_counter", hands)
    clock = Clock("cpu")
    work = clock.timed("work", hands.work)

    def outer() -> None:
        hands.work(5.0)
        work(20.0)
        work(10.0)

    step = clock.timed("step", outer)
    for _ in range(3):
        step()
    inner, count = clock.take("work")
    whole, times = clock.take("step")
    assert (count, times) == (6, 3)
    assert inner == pytest.approx(90.0)
    assert whole - inner - count * (clock.inside + clock.around) == pytest.approx(
        15.0, abs=0.1
    )  # one more reading in 200
    assert clock.take("work") == (0.0, 0)
