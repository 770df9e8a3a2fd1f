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
from suite.optimizers.base import Optimizer

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
SEARCHES = ("bfgs", "conjugate_gradients", "gradient_descent")


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
        if outer == "decoupled_decay" and inner.startswith("schedule_free"):
            continue  # which is refused
        found = trained(optimizer.build(made), 4)[0]
        torch.testing.assert_close(
            found, plain, rtol=1e-9, atol=1e-11, msg=lambda said, outer=outer: f"{outer}: {said}"
        )


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
