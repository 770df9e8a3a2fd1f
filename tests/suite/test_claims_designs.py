"""Claims of sections 8.7.4 to 8.7.6: a quick one holds and its control does not, and what the others train."""

from __future__ import annotations

import pytest
import torch

from problems import problem
from suite.claims import claim
from suite.claims.carrying import carry_out
from suite.claims.continuation import ADDING, blurred, taught
from suite.claims.designs import MEAN, THIN, gradient_of
from suite.claims.lab import Lab


def test_a_blur_leads_off_a_plateau_and_a_narrow_one_does_not(tmp_path) -> None:
    found = carry_out(claim.bind("continuation_off_plateaus(seeds=8)"), str(tmp_path), controls=True)
    assert found["verdict"] == "holds" and found["control"]["verdict"] == "does not hold"
    assert [each["value"] for each in found["observations"]] == [1, 0]


def test_the_first_layer_of_a_thin_deep_net_hears_of_the_loss_by_heads_in_proportion_to_their_weight(tmp_path) -> None:
    lab = Lab(tmp_path)
    nets = [THIN, *(f"auxiliary_heads({THIN}, weight={weight})" for weight in (0, 0.3, 0.6))]
    plain, none, some, twice = (gradient_of(lab, net, "layer1.weight", 2, "glorot_uniform") for net in nets)
    assert none == pytest.approx(plain, rel=1e-4)
    assert twice == pytest.approx([2 * each for each in some], rel=0.1)
    assert all(low < high for low, high in zip(plain, some, strict=True))


def test_no_curriculum_is_the_problem_itself() -> None:
    assert taught(ADDING, "stochastic", 0) == ADDING
    made = problem.build(problem.bind(taught(ADDING, "deterministic", 300)))
    lengths = (made.train.tensors[0] != 0).any(2).sum(1)
    assert int(lengths.min()) == 4 and int(lengths.max()) == 20


def test_always_answering_the_mean_of_sums_costs_what_is_said() -> None:
    """Of any length, as X₁ and X₂ of ½ + (X₁ + X₂)/4 are independent U(−1, 1) but for a first element, which is 0."""
    sums = problem.build(problem.bind("adding_rnn(length=30, sequences=8192)")).train.tensors[1]
    assert float(sums.var()) == pytest.approx(MEAN, rel=0.1)


def test_over_short_spans_a_plain_net_learns_too(tmp_path) -> None:
    """So that the experiment can tell that it does: the control, with fewer weights and seeds."""
    found = carry_out(claim.bind("gates_carry_further(length=4, hidden=4, plain_hidden=8, seeds=8)"), str(tmp_path))
    assert found["verdict"] == "does not hold", found
    assert [each["value"] for each in found["observations"][:2]] == [1, 1]


def test_a_blur_is_gone_when_it_says() -> None:
    made = problem.build(problem.bind(blurred("suite.claims._tasks:plateau", sigma=3, steps=100)))
    shift = made.course.pieces["continuation.shift"]
    streams = (lambda seed=seed: torch.Generator().manual_seed(seed) for seed in range(2))
    assert float(shift(0, next(streams)).abs().sum()) > 0
    assert float(shift(100, next(streams)).abs().sum()) == 0
