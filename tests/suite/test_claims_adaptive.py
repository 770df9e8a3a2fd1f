"""Claims of section 8.5: those without training, and what the others measure with."""

from __future__ import annotations

import math

import pytest
import torch

from suite.claims import claim
from suite.claims.carrying import carry_out
from suite.claims.choosing import _best
from suite.claims.lab import ExperimentError, Lab
from suite.claims.paths import answers
from suite.claims.tuning import OWN, changed, chosen, late, named, numbers, short, tuned

EXACT = ("rmsprop_forgets", "adam_first_step", "adam_may_climb", "rmsprop_biased_early(seeds=10)")


@pytest.mark.parametrize("text", [*EXACT, "decay_is_not_l2(problem=linear_regression, steps=20)"])
def test_claims_without_chance_hold_and_their_controls_do_not(text, tmp_path) -> None:
    found = carry_out(claim.bind(text), str(tmp_path), controls=True)
    assert found["verdict"] == "holds", found
    assert found["control"]["verdict"] == "does not hold", found


def test_the_uncorrected_first_step_of_adam_is_as_long_as_the_formula_says() -> None:
    [[step]] = answers("adam(lr=1, rho1=0.9, rho2=0.999, correct=False)", torch.tensor([[2.0]]))
    assert float(step) == pytest.approx(-(1 - 0.9) / math.sqrt(1 - 0.999), rel=1e-6)


def test_the_steps_that_given_gradients_get_are_those_of_torch() -> None:
    given = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theta = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    peer, points = torch.optim.Adagrad([theta], lr=0.1, eps=1e-7), [torch.zeros(3, dtype=torch.float64)]
    for g in given:
        theta.grad = g.clone()
        peer.step()
        points.append(theta.detach().clone())
    torch.testing.assert_close(answers("adagrad(lr=0.1)", given), torch.stack(points).diff(dim=0))


def test_adam_with_the_mean_of_all_squares_is_adagrad_with_a_rate_that_grows_as_the_root() -> None:
    given = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    growing = torch.arange(1, 51, dtype=torch.float64).sqrt()[:, None] * answers("adagrad(lr=0.1)", given)
    torch.testing.assert_close(answers("adam(lr=0.1, rho1=0, rho2=0.9999999)", given), growing, rtol=1e-4, atol=0)


def test_the_late_loss_is_the_mean_of_the_last_quarter_and_infinite_where_it_diverged(tmp_path) -> None:
    lab = Lab(str(tmp_path))
    found = lab.train({lr: short("linear_regression", f"sgd(lr={lr})", 40) for lr in (0.01, 1e6)}, 2)
    for value, course in zip(late(found[0.01]), found[0.01].course("minibatch_loss"), strict=True):
        assert value == pytest.approx(sum(loss for _, loss in course[30:]) / 10)
    assert late(found[1e6]) == [math.inf] * 2


def test_an_arm_is_reported_on_seeds_that_did_not_choose_its_setting(tmp_path) -> None:
    lab = Lab(str(tmp_path))
    rates = [short("linear_regression", f"sgd(lr={lr})", 20) for lr in (1e-6, 0.05, 1e6)]
    found = chosen(lab, {"": rates}, 3)[""]
    assert [each.run.seed for each in found] == [OWN, OWN + 1, OWN + 2]
    assert {each.run.optimizer for each in found} == {"sgd(lr=0.05)"}
    with pytest.raises(ExperimentError, match=r"sgd\(lr=1000000.0\) on linear_regression diverged"):
        chosen(lab, {"": rates[2:]}, 3)
    [best] = {each.run.optimizer for each in tuned(lab, {"": short("linear_regression", "sgd", 20)}, 2)[""]}
    assert best in ("sgd(lr=0.1)", "sgd(lr=0.03162)")


def test_settings_are_changed_on_their_scale() -> None:
    assert numbers("adam") == ["lr", "rho1", "rho2", "delta"]
    assert changed("adam", "lr", 0.5, 10) == (5.0, 0.05)
    assert changed("adam", "rho1", 0.9, 10) == pytest.approx((0.99, 0.0))  # memories of 100 and of 1
    assert changed("adam", "rho1", 0.5, 10) == pytest.approx((0.95, 0.0))
    assert named("digits_mlp, linear_regression(noise=1)") == ["digits_mlp", "linear_regression(noise=1.0)"]


def test_the_best_are_those_that_none_is_told_to_be_better_than() -> None:
    low, high = [1 + 0.01 * i for i in range(12)], [2 + 0.01 * i for i in range(12)]
    same = [value + 0.1 * (-1) ** i for i, value in enumerate(low)]
    assert _best({"a": low, "b": high, "c": same}) == ["a", "c"]
    assert _best({"a": high}) == ["a"]
