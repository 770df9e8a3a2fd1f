"""Claims of section 8.7: the exact ones hold and their controls do not, and the problems that they are tried on."""

from __future__ import annotations

import math

import pytest
import torch

from problems import problem
from suite.claims import claim
from suite.claims.carrying import carry_out
from suite.claims.lab import Lab, arm, slope
from suite.claims.strategies import least_excess

EXACT = [
    "higher_order_terms",
    "lower_layers_harmless",
    "same_functions",
    "single_examples",
    "convex_blocks",
    "averages_across_valleys",
]


@pytest.mark.parametrize("name", EXACT)
def test_what_has_no_error_of_sampling_holds_and_its_control_does_not(name, tmp_path) -> None:
    found = carry_out(claim.bind(name), str(tmp_path), controls=True)
    assert found["verdict"] == "holds", found
    assert found["control"]["verdict"] == "does not hold"


def test_a_chain_is_off_by_what_the_binomial_says(tmp_path) -> None:
    """½((1 + ε)^l − 2)² after a step from a product of 1, against ½ − lε and ½ − lε + ½lε²."""
    found = carry_out(claim.bind("higher_order_terms(depth=20, lr=0.1)"), str(tmp_path))["observations"]
    change = 0.5 * (1.1**20 - 2) ** 2 - 0.5
    assert [each["value"] for each in found] == pytest.approx([abs(change + 2) / 2, abs(change + 2 - 0.1) / 2])


def test_coordinates_take_as_many_steps_as_the_pull_says(tmp_path) -> None:
    """By turns xᵢ ← xⱼ/(1 + α) from (1, 1), until (x₁ − x₂)² + α(x₁² + x₂²) is a millionth of 2α."""

    def steps(alpha: float) -> int:
        x, k = [1.0, 1.0], 0
        while (x[0] - x[1]) ** 2 + alpha * (x[0] ** 2 + x[1] ** 2) > 2e-6 * alpha:
            x[k % 2] = x[1 - k % 2] / (1 + alpha)
            k += 1
        return k

    found = carry_out(claim.bind("pulling_coordinates(least=0.03)"), str(tmp_path), controls=True)
    assert found["verdict"] == "holds" and found["control"]["verdict"] == "does not hold"
    alphas = (0.3, 0.09, 0.03)
    assert found["observations"][0]["value"] == pytest.approx(slope(alphas, map(steps, alphas)), abs=0.01)


def test_the_least_excess_of_least_squares() -> None:
    """Of least squares, whose errors hardly depend on x, S = 2σ²H and so σ²D/m."""
    noise, batch, features = 0.5, 16, 20
    made = problem.build(problem.bind(f"linear_regression(features={features}, noise={noise})"))
    assert least_excess("linear_regression", batch) == pytest.approx(
        made.minimum.loss * (features + 1) / batch, rel=0.1
    )


def test_a_dictionary_alone_goes_to_0_while_codes_are_0() -> None:
    """So that turns begin with the codes: there the gradient is decay·W."""
    net = problem.build(problem.bind("digits_sparse_coding(decay=0.01)"))
    theta = net.start(torch.Generator().manual_seed(0))
    found = net.layout.split(torch.func.grad(net.loss)(theta, net.train.tensors))
    torch.testing.assert_close(found["dictionary"], 0.01 * net.layout.split(theta)["dictionary"])


@pytest.mark.parametrize(
    ("text", "least"), [("rastrigin", 0.0), ("plain_bowl", 0.0), ("plateau", 0.0), ("narrow_and_wide", None)]
)
def test_surfaces_start_in_reach_and_have_the_minimum_that_they_tell(text, least) -> None:
    made = problem.build(problem.bind(f"suite.claims._tasks:{text}"))
    begun = [made.start(torch.Generator().manual_seed(seed)) for seed in range(3)]
    assert not torch.equal(begun[0], begun[1])
    if least is not None:
        assert float(made.loss(torch.zeros(made.size), made.train.tensors)) == pytest.approx(least)
        assert all(float(made.loss(theta, made.train.tensors)) > least for theta in begun)


def test_blurring_takes_the_ripples_off_rastrigins_function() -> None:
    """E f(θ + σε) = Σ θ² + σ² + 10(1 − e^(−2π²σ²) cos 2πθ), by 200 000 draws at σ = ½."""
    made = problem.build(problem.bind("suite.claims._tasks:rastrigin(size=1)"))
    draws = 0.7 + 0.5 * torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.vmap(lambda theta: made.loss(theta, made.train.tensors))(draws).mean()
    wanted = 0.49 + 0.25 + 10 * (1 - math.exp(-2 * math.pi**2 / 4) * math.cos(1.4 * math.pi))
    assert float(found) == pytest.approx(wanted, abs=0.05)


def test_each_half_of_the_digits_has_its_own_labels() -> None:
    low, high = (problem.build(problem.bind(f"suite.claims._tasks:digits_from(first={first})")) for first in (0, 5))
    assert len(low.train) + len(high.train) == 1197
    assert {*low.train.tensors[1].tolist()} == {*high.train.tensors[1].tolist()} == set(range(5))


def test_these_problems_are_not_among_those_that_are_listed() -> None:
    assert not {"rastrigin", "plain_bowl", "linear_chain", "deep_net", "digits_from"} & set(problem.names())


@pytest.mark.slow
def test_a_deep_net_trains_with_normalization_alone(tmp_path) -> None:
    found = carry_out(claim.bind("normalized_trains(steps=400, seeds=8)"), str(tmp_path), controls=True)
    assert found["verdict"] == "holds", found
    assert found["control"]["verdict"] == "does not hold"


def test_what_depth_does_to_a_gain_is_a_ratio_of_ratios(tmp_path) -> None:
    text = "normalized_depth(problem='digits_deep_mlp(width=4)', deep={}, shallow=2, steps=5, seeds=2)"
    two, three = (carry_out(claim.bind(text.format(deep)), str(tmp_path))["observations"][0] for deep in (2, 3))
    assert two["values"] == [1, 1]
    lab, losses = Lab(tmp_path), {}
    for depth in (2, 3):
        plain = f"digits_deep_mlp(width=4, depth={depth})"
        for net in (plain, f"batch_norm({plain})"):
            losses[net] = lab.tune({"": arm(net, "sgd", steps=5)}, 2)[""].final("train_loss")
    (n2, b2), (n3, b3) = (
        (losses[plain], losses[f"batch_norm({plain})"])
        for plain in (f"digits_deep_mlp(width=4, depth={depth})" for depth in (2, 3))
    )
    assert three["values"] == pytest.approx([(b3[i] / n3[i]) / (b2[i] / n2[i]) for i in range(2)])
