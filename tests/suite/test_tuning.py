from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.bounds import Count, Fraction, Positive, linear_range, log_range
from problems.names import UsageError, parse
from suite.optimizers import Optimizer, first_order, optimizer
from suite.tuning import free_settings, trials


@pytest.fixture(scope="module", autouse=True)
def three_settings():
    """An optimizer with three settings to tune, one of them whole."""

    def three(lr: Positive = 0.1, rho: Fraction = 0.9, memory: Count = 5) -> Optimizer:
        """A stand-in that is never run."""
        return first_order(lambda theta: {}, lambda g, state, theta: (theta - lr * g, state))

    ranges = {"lr": log_range(1e-3, 1.0), "rho": linear_range(0.5, 0.99999), "memory": linear_range(1, 20)}
    optimizer.add(optimizer.entry(three, "three_settings", tune=ranges))
    yield
    del optimizer._entries["three_settings"]


def names(text: str) -> list[str]:
    return [free.name for free in free_settings(parse(text))]


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("adam", ["lr"]),
        ("adam()", ["lr"]),
        ("adam(lr=0.1)", []),
        ("adam(0.1)", []),
        ("clip(adam)", ["optimizer.lr"]),
        ("polyak(clip(sgd, norm=2.0))", ["optimizer.optimizer.lr"]),
        ("polyak(clip(sgd(0.1)))", []),
        ("sgd(lr=cosine(steps=50))", ["lr.value"]),
        ("sgd(lr=cosine(0.1, 50))", []),
        ("clip(optimizer=sgd(cosine(steps=50)))", ["optimizer.lr.value"]),
        ("three_settings(rho=0.5)", ["lr", "memory"]),
    ],
)
def test_what_is_written_is_fixed_and_the_rest_is_free(text: str, free: list[str]) -> None:
    assert names(text) == free
    for trial in trials(parse(text), 3):
        assert optimizer.bind(trial.spec) == trial.spec
    assert len(trials(parse(text), 3)) == (3 if free else 1)


def test_one_setting_is_a_grid_on_its_scale() -> None:
    low, high = 1e-5, 1.0
    found = [dict(t.spec.kwargs)["lr"] for t in trials(parse("adam"), 6)]
    assert found == pytest.approx([10.0**k for k in range(-5, 1)], rel=1e-3)
    assert found[0] == low
    assert found[-1] == high
    assert dict(trials(parse("adam"), 1)[0].spec.kwargs)["lr"] == pytest.approx(math.sqrt(low * high), rel=1e-3)


def test_the_rate_of_a_schedule_and_inside_a_strategy_is_set() -> None:
    (low, _) = trials(parse("clip(sgd(cosine(steps=50)))"), 2)
    assert str(low.spec) == "clip(optimizer=sgd(lr=cosine(value=0.0001, steps=50, end=0.0)), norm=1.0)"
    assert low.edge == ("optimizer.lr.value low",)


@given(st.integers(1, 40))
def test_several_settings_fill_their_box(count: int) -> None:
    found = trials(parse("three_settings"), count)
    assert len(found) == count
    for trial in found:
        settings = dict(trial.spec.kwargs)
        assert 1e-3 <= settings["lr"] <= 1.0
        assert 0.5 <= settings["rho"] < 1.0
        assert isinstance(settings["memory"], int)
        assert 1 <= settings["memory"] <= 20
    if count >= 8:  # each half of each range gets its share
        for setting in range(3):
            low = sum(trial.fractions[setting] < 0.5 for trial in found)
            assert abs(low - count / 2) <= 2
    assert found == trials(parse("three_settings"), count)


def test_edges_are_the_ends_of_the_range() -> None:
    assert [t.edge for t in trials(parse("adam"), 4)] == [("lr low",), (), (), ("lr high",)]
    assert trials(parse("adam(lr=1.0)"), 4)[0].edge == ()


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("adam", 0, "trials must be >= 1, got 0"),
        ("adamm", 3, "unknown optimizer 'adamm'; did you mean adam"),
        ("clip(adam(rate=1))", 3, "adam: unknown setting 'rate'"),
        ("adam(lr=-1)", 3, "adam: lr must be > 0, got -1"),
        ("sgd(lr=cosine(stepz=5))", 3, "cosine: unknown setting 'stepz'; did you mean steps"),
        ("clip(3)", 3, "clip: optimizer must be an optimizer such as"),
    ],
)
def test_mistakes_are_told(text: str, count: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trials(parse(text), count)
