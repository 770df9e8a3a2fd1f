"""Every strategy around every optimizer, and around every strategy: it composes, or says why not."""

from __future__ import annotations

import pytest
import torch

from problems.names import Spec, UsageError
from suite.checks import bowl, example, start, tuned
from suite.lane_oracle import LaneOracle
from suite.lanes import Together
from suite.objective import Objective
from suite.optimizers import optimizer
from suite.optimizers.base import Needs, Optimizer, Oracle
from suite.strategies.noise import normal

ENTRIES = list(optimizer)
STRATEGIES = [entry for entry in ENTRIES if entry.wraps]
PAIRS = [(outer.name, inner.name) for outer in STRATEGIES for inner in ENTRIES]


def composed(outer: str, inner: str) -> Spec | None:
    """The strategy around the optimizer at sensible settings; None where it is refused with a reason."""
    spec = tuned(example(optimizer.find(inner)), 0.3)
    try:
        made = optimizer.bind(Spec(outer, (spec,)))
        optimizer.build(made)
    except UsageError as refusal:
        told = str(refusal)
    else:
        return made
    assert told.startswith(f"{outer}: ") and len(told) > 30, told
    return None


def trained(made: Optimizer, steps: int = 3) -> torch.Tensor:
    problem = bowl()
    oracle = LaneOracle(Objective(problem, 1, tuple(t[None] for t in problem.train.tensors), taped=False))
    theta = start()
    state = made.init(oracle, theta)
    for _ in range(steps):
        theta, state = made.step(oracle, state, theta)
    return torch.stack([theta, made.readout(state, theta)])


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_composes_or_says_why_not(outer: str, inner: str) -> None:
    spec = composed(outer, inner)
    if spec is None:
        return
    found = trained(optimizer.build(spec))
    assert bool(torch.isfinite(found).all())
    assert found.shape == (2, len(start()))
    plain = trained(optimizer.build(spec.options["optimizer"]))
    assert not torch.equal(found[0], start()) or torch.equal(plain[0], start())  # it moves where the inner one does


REGRADE = ("clip", "clip_value", "sam")  # change gradients alone
NEUTRAL = {
    "clip": {"norm": 1e30},
    "clip_value": {"value": 1e30},
    "weight_decay": {"decay": 0.0},
    "decoupled_decay": {"decay": 0.0},
    "gradient_noise": {"eta": 1e-300},
    "blocks": {"by": "+".join(piece.name for piece in bowl().layout)},
    "polyak": {},
    "lookahead": {"k": 1000},
    "sam": {"rho": 1e-300},
}
SEARCHES = ("bfgs", "conjugate_gradients", "gradient_descent", "lbfgs")
WEIGH = {*SEARCHES, "scaled_conjugate_gradients", "hessian_free"}  # losses against slopes


@pytest.mark.parametrize("inner", [entry.name for entry in ENTRIES if not entry.wraps])
def test_strategies_that_do_nothing_change_nothing(inner: str) -> None:
    """At settings at which they are neutral, θ goes the inner optimizer's way."""
    spec = tuned(example(optimizer.find(inner)), 0.3)
    plain = trained(optimizer.build(spec), 4)[0]
    assert set(NEUTRAL) == {entry.name for entry in STRATEGIES}
    for outer, settings in NEUTRAL.items():
        made = optimizer.bind(Spec(outer, (spec,), tuple(settings.items())))
        if inner in SEARCHES and outer in ("blocks", "gradient_noise"):
            continue  # which begin each search as if it were the first, for the loss may be another
        if (outer == "decoupled_decay" and inner.startswith("schedule_free")) or (outer in REGRADE and inner in WEIGH):
            continue  # which is refused
        found = trained(optimizer.build(made), 4)[0]
        torch.testing.assert_close(
            found, plain, rtol=1e-9, atol=1e-11, msg=lambda said, outer=outer: f"{outer}: {said}"
        )


@pytest.mark.parametrize("inner", [*sorted(WEIGH), "kfac(rescale=True)", "torch.LBFGS(line_search_fn='strong_wolfe')"])
def test_rules_that_weigh_losses_against_slopes_get_those_of_one_function(inner: str) -> None:
    """Along any line the slope that they see is the derivative of the value that they see, or it is refused."""
    assert optimizer.build(optimizer.bind(inner)).needs.searches
    for entry in STRATEGIES:
        text = f"polyak({entry.name}(lookahead({inner})))"  # what is around and inside does not hide it
        if entry.name in REGRADE:
            with pytest.raises(
                UsageError, match=rf"^{entry.name}: .* losses against slopes .* as in {entry.name}\(sgd\)"
            ):
                optimizer.build(optimizer.bind(text))
        else:
            assert optimizer.build(optimizer.bind(text)).needs.searches


@pytest.mark.parametrize("outer", [entry.name for entry in STRATEGIES if entry.name not in REGRADE])
def test_what_a_strategy_shows_a_search_is_one_function(outer: str) -> None:
    seen: list[tuple[float, float, float]] = []

    def step(oracle: Oracle, state: object, theta: torch.Tensor) -> tuple[torch.Tensor, object]:
        value, g = oracle.gradient(theta)
        d = torch.linspace(-1, 1, len(theta), dtype=theta.dtype) * (g != 0)  # within what the step may move
        ahead, behind = oracle.value(theta + 1e-5 * d), oracle.value(theta - 1e-5 * d)
        seen.append((float(value), float((ahead - behind) / 2e-5 - g @ d), float(oracle.value(theta) - value)))
        return theta - 0.01 * g, state

    inner = Optimizer(lambda oracle, theta: {"x": theta.new_zeros(())}, step, needs=Needs(searches=True))
    trained(optimizer.find(outer).factory(inner))
    assert len(seen) >= 3
    assert all(abs(slope) < 1e-8 and abs(value) < 1e-12 for _, slope, value in seen)


@pytest.mark.parametrize("inner", ["gradient_descent", "lbfgs", "bfgs"])
def test_noise_around_a_search_leads_to_the_minimum_of_what_it_tilts(inner: str) -> None:
    """With the same noise n at every step L(θ) + nᵀθ has its minimum where ∇L = −n, and the search finds it."""
    made = optimizer.build(optimizer.bind(f"gradient_noise({inner}, eta=0.01, gamma=0.0)"))
    problem = bowl()
    oracle = LaneOracle(Objective(problem, 1, tuple(t[None] for t in problem.train.tensors), taped=False))
    theta = start()
    state = made.init(oracle, theta)
    for _ in range(60):
        theta, state = made.step(oracle, {**state, "t": 0.0}, theta)
    slope = oracle.gradient(theta)[1]
    assert float(slope.norm()) > 1e-3
    noise = 0.1 * normal(state["key"], 0.0, len(theta)).to(slope.dtype)
    torch.testing.assert_close(slope, -noise, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_lanes_of_the_composed_equal_the_run_alone(outer: str, inner: str) -> None:
    spec = composed(outer, inner)
    if spec is None or not optimizer.build(spec).needs.vmap:
        return
    size = 0 if optimizer.build(spec).needs.full_batch else 8
    together = Together(bowl(), [spec, spec], start().expand(2, -1).clone(), [0, 1], size, "reshuffle")
    alone = Together(bowl(), [spec], start()[None].clone(), [1], size, "reshuffle")
    for k in range(4):
        together.step(k)
        alone.step(k)
    torch.testing.assert_close(together.readout()[1], alone.readout()[0], rtol=1e-9, atol=1e-11)
