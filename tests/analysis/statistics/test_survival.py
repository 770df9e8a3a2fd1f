from __future__ import annotations

import math

import lifelines
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines.utils import median_survival_times

from analysis.statistics import kaplan_meier, time_to_target, times_to_target, with_clocks

RUNS = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=20)


@given(RUNS)
def test_survival_and_its_median_are_lifelines(runs: list[tuple[int, bool]]) -> None:
    times, reached = zip(*runs, strict=True)
    theirs = lifelines.KaplanMeierFitter().fit(times, reached)
    at, survival = kaplan_meier(times, reached)
    assert survival == pytest.approx(theirs.survival_function_at_times(at).to_numpy())
    ours = time_to_target(times, reached)
    if not np.isclose(survival, 0.5).any():  # where lifelines' rounding decides whether half is left
        assert ours.median == theirs.median_survival_time_
    assert (ours.reached, ours.n) == (sum(reached), len(reached))


@pytest.mark.parametrize("seed", range(6))
def test_the_median_s_interval_is_lifelines(seed: int) -> None:
    random = np.random.default_rng(seed)
    when, until = random.exponential(10, 30), random.exponential(30, 30)
    times, reached = np.minimum(when, until), when <= until
    bounds = median_survival_times(lifelines.KaplanMeierFitter().fit(times, reached).confidence_interval_).iloc[0]
    ours = time_to_target(times, reached)
    assert (ours.low, ours.high) == pytest.approx(tuple(bounds))


def test_by_hand() -> None:
    """Of five runs one is cut off at 20: S = 4/5 from 10 on, 4/5 · 2/3 from 30, 4/5 · 1/3 from 40."""
    at, survival = kaplan_meier([10, 20, 30, 40, 50], [True, False, True, True, False])
    assert at.tolist() == [10, 30, 40]
    assert survival == pytest.approx([4 / 5, 8 / 15, 4 / 15])
    assert time_to_target([10, 20, 30, 40, 50], [True, False, True, True, False]).median == 40


def test_what_half_of_the_runs_do_not_reach_is_not_reached() -> None:
    found = time_to_target([10.0, 20.0, math.inf, math.inf, math.inf], [True, True, False, False, False])
    assert (found.median, found.reached, found.n) == (math.inf, 2, 5)
    assert str(found) == "not reached (2/5)"
    assert str(time_to_target([10.0, 30.0], [True, True])) == "10"  # half is there by then
    nobody = time_to_target([40.0] * 6, [False] * 6)
    assert (nobody.median, nobody.low, nobody.high) == (math.inf, math.inf, math.inf)
    assert math.isnan(time_to_target([1.0, 2.0, 3.0], [True] * 3).low)
    for times, reached in (([1.0], [True, False]), ([1.0, math.nan], [True, True]), ([math.inf], [True])):
        with pytest.raises(ValueError, match="one entry per run"):
            time_to_target(times, reached)


@pytest.mark.parametrize("n", [10, 30])
def test_the_interval_covers(n: int) -> None:
    random = np.random.default_rng(n)
    drawn = random.exponential(size=(2000, n))
    found = [time_to_target(np.minimum(times, 1.5), times <= 1.5) for times in drawn]
    assert 0.93 <= np.mean([one.low <= math.log(2) <= one.high for one in found]) <= 0.98


# from traces ----------------------------------------------------------------------------


@pytest.fixture
def traces() -> pd.DataFrame:
    rows = [
        ("a", 0, 3.0), ("a", 20, 1.0), ("a", 10, 2.0), ("a", 30, 2.5), ("b", 0, 4.0), ("b", 10, 3.5), ("c", 0, 4.0),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["run", "step", "value"]).assign(measure="loss")


def test_times_are_first_arrivals_and_others_are_censored(traces: pd.DataFrame) -> None:
    found = times_to_target(traces.astype({"run": "category"}), "loss", 2.0, "lower", diverged=["c"])
    assert found["time"].to_dict() == {"a": 10.0, "b": 10.0, "c": math.inf}
    assert found["reached"].to_dict() == {"a": True, "b": False, "c": False}
    assert times_to_target(traces, "loss", 3.5, "higher").loc["a"].tolist() == [30.0, False]
    assert times_to_target(traces, "accuracy", 0.5, "higher").empty


def test_clocks(traces: pd.DataFrame) -> None:
    runs = pd.DataFrame(
        {
            "run": ["a", "b", "c"],
            "seed": 0,
            "last_step": [30, 10, 0],
            "gradient_calls": [60, 10, 0],
            "batch_size": [16, 0, 16],
            "grow_every": 0,
        }
    )
    timed = pd.DataFrame({"run": "a", "step": [0, 10, 20, 30], "value": [0.0, 1.0, 2.5, 3.0], "measure": "seconds"})
    clocks = with_clocks(pd.concat([traces, timed]), runs)
    a = clocks[(clocks["run"] == "a") & (clocks["step"] == 20)].iloc[0]
    assert (a["gradients"], a["examples"]) == (40, 640)
    assert a["measured_seconds"] == 2.5
    b = clocks[clocks["run"] == "b"].iloc[-1]
    assert b["gradients"] == 10
    assert math.isnan(b["examples"]) and math.isnan(b["measured_seconds"])  # it was not timed, and no size is known
    assert clocks[clocks["run"] == "c"]["gradients"].isna().all()
    known = with_clocks(traces, runs.assign(train_examples=[100, 50, 100]))
    assert known[known["run"] == "b"].iloc[-1]["examples"] == 500
    assert known[known["run"] == "b"].iloc[-1]["epochs"] == 10
    counted = pd.DataFrame({"run": "a", "step": [0, 10, 20, 30], "value": [1.0, 51, 61, 61], "measure": "evaluations"})
    others = runs.assign(train_examples=100, value_calls=[1, 0, 0], hvp_calls=[0, 20, 0])
    uneven = with_clocks(pd.concat([traces, counted]), others)
    a = uneven[(uneven["run"] == "a") & (uneven["step"] == 10) & (uneven["measure"] == "loss")].iloc[0]
    assert (a["gradients"], a["evaluations"], a["epochs"]) == (20, 51, pytest.approx(51 * 16 / 100))
    b = uneven[uneven["run"] == "b"].iloc[-1]
    assert (b["gradients"], b["evaluations"], b["epochs"]) == (10, 30, 30)
    diverged = with_clocks(traces, runs.assign(last_step=[20, 10, 0], steps_taken=[30, math.nan, 0]))
    a = diverged[(diverged["run"] == "a") & (diverged["step"] == 20)].iloc[0]
    assert a["gradients"] == 40  # its evaluations were counted until it was seen, ten steps past its last evaluation
    found = times_to_target(clocks, "loss", 2.0, "lower", clock="gradients")
    assert found["time"].to_dict() == {"a": 20.0, "b": 10.0}
    bare = with_clocks(traces, runs[["run", "seed", "batch_size"]])
    assert bare[["gradients", "examples", "measured_seconds"]].isna().all().all()
