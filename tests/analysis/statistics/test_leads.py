from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from analysis.statistics import expected_best, vanishing_advantages
from analysis.statistics.leads import _judged

STEADY, FUSSY = [2.0, 2.1, 1.9, 2.0] * 5, [10.0] * 16 + [1.0] * 4


def test_an_advantage_that_is_gone_with_fair_tuning() -> None:
    (row,) = vanishing_advantages({"steady": STEADY, "fussy": FUSSY}, "lower").itertuples()
    assert (row.a, row.b) == ("steady", "fussy")
    assert row.lead == pytest.approx(np.mean(FUSSY) - np.mean(STEADY))
    assert 3 <= row.trials <= 12
    assert row.left == pytest.approx(expected_best(FUSSY, "lower")[-1] - expected_best(STEADY, "lower")[-1])
    assert not row.reversed  # that four good ones of forty are all of one contestant may be luck: p > 0.1
    (row,) = vanishing_advantages(
        {"fussy": [-50.0] * 10 + [-1.0] * 10, "steady": [-x for x in STEADY]}, "higher"
    ).itertuples()
    assert (row.a, row.b) == ("steady", "fussy")
    assert row.left < 0 and row.reversed
    assert vanishing_advantages({"a": [1.0] * 9, "b": [2.0] * 9}, "lower").empty  # it stays
    same = np.random.default_rng(0).normal(size=20)
    assert vanishing_advantages({"a": same, "b": same}, "lower").empty  # there never was one
    assert vanishing_advantages({"a": [1.0] * 6, "b": [1.0] * 6}, "lower").empty


def test_one_that_has_fewer_trials_is_held_against_as_many_of_the_other() -> None:
    (row,) = (
        vanishing_advantages({"steady": STEADY[:12], "fussy": FUSSY, "other": STEADY[:12]}, "lower")
        .head(1)
        .itertuples()
    )
    most = 12
    assert (row.a, row.b) == ("steady", "fussy")
    assert row.left == pytest.approx(expected_best(FUSSY, "lower")[most - 1] - expected_best(STEADY[:12], "lower")[-1])
    assert row.trials <= most


def test_p_is_that_of_all_ways_to_deal() -> None:
    """Of four and three trials: 35 ways, each as often as another; the statistic is worked out for each."""
    a, b = np.array([3.0, 5.0, 8.0, 1.0]), np.array([2.0, 9.0, 4.0])
    pooled, deals = np.concatenate([a, b]), []
    for chosen in itertools.combinations(range(7), 4):
        rest = [i for i in range(7) if i not in chosen]
        deals.append(expected_best(pooled[list(chosen)], "higher")[:3] - expected_best(pooled[rest], "higher"))
    spread = np.std(deals, axis=0)
    lead = expected_best(a, "higher")[:3] - expected_best(b, "higher")
    furthest = (np.abs(deals) / spread).max(axis=1)
    leads, p = _judged(a[None], b[None], 20_000, 0)
    assert leads[0] == pytest.approx(lead)
    assert p[0] == pytest.approx([(furthest >= far - 1e-9).mean() for far in np.abs(lead) / spread], abs=0.03)


def test_p_is_never_less_than_one_deal_of_all() -> None:
    _, p = _judged(np.zeros((1, 12)), np.ones((1, 12)), 0, 0)
    assert p.min() == pytest.approx(1 / 1000)  # of 999 deals and that which was made


def test_a_lead_is_told_from_where_it_is_first_sure_to_where_it_is_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = np.array([[-1.0, 3.0, 2.0, 1.0, -2.0]]), np.array([[0.9, 0.01, 0.01, 0.9, 0.01]])
    monkeypatch.setattr("analysis.statistics.leads._judged", lambda *given: made)
    found = vanishing_advantages({"a": [1.0] * 5, "b": [2.0] * 5}, "higher")
    assert found.to_numpy().tolist() == [["a", "b", 3.0, 4, -2.0, True]]
    made[1][0, -1] = 0.06
    assert not vanishing_advantages({"a": [1.0] * 5, "b": [2.0] * 5}, "higher")["reversed"].item()
    made[1][0, 1:4], made[0][0, -1] = 0.04, 1.0  # one that is ahead to the end beyond doubt but for the last
    assert vanishing_advantages({"a": [1.0] * 5, "b": [2.0] * 5}, "higher")["trials"].item() == 5


@pytest.mark.parametrize(("contestants", "samples"), [(2, 300), (8, 60)])
def test_no_lead_is_named_where_nothing_differs(contestants: int, samples: int) -> None:
    """Trials as a search makes them: good near some rate, diverged beyond another."""
    random, false = np.random.default_rng(0), 0
    for i in range(samples):
        rates = random.random((contestants, 11))
        values = np.where(rates > 0.85, math.inf, 8 * (rates - 0.6) ** 2 + 0.05 * random.exponential(size=rates.shape))
        false += len(vanishing_advantages(dict(enumerate(values)), "lower", seed=i)) > 0
    assert false / samples <= 0.05 + 1.64 * math.sqrt(0.05 * 0.95 / samples)
