"""``reduce_on_plateau`` against torch.optim's, and that each lane's value hears of its own losses alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems import problem
from suite.lanes import Lanes, lanes_of
from suite.optimizers import optimizer
from suite.schedules import schedule
from suite.settings import Settings

LOSSES = st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60)


@given(
    losses=LOSSES,
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.2]),
    cooldown=st.integers(0, 4),
    end=st.sampled_from([0.0, 0.3]),
)
def test_as_torch(losses, factor, patience, threshold, cooldown, end):
    spec = f"reduce_on_plateau(0.5, {factor}, {patience}, {threshold}, every=1, cooldown={cooldown}, end={end})"
    ours = schedule.build(schedule.bind(spec))
    instance = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        instance, "min", factor, patience, threshold, "rel", cooldown, min_lr=end * 0.5, eps=0.0
    )
    for k, loss in enumerate(losses):
        ours.hear(torch.tensor([loss], dtype=torch.float64))
        theirs.step(loss)
        assert float(ours(k)) == pytest.approx(instance.param_groups[0]["lr"], rel=1e-12)


@given(LOSSES, st.integers(1, 7))
def test_a_look_is_the_mean_of_so_many_losses(losses, every):
    many = schedule.build(schedule.bind(f"reduce_on_plateau(1.0, 0.5, patience=1, every={every})"))
    one = schedule.build(schedule.bind("reduce_on_plateau(1.0, 0.5, patience=1, every=1)"))
    for i in range(0, len(losses) - every + 1, every):
        for loss in losses[i : i + every]:
            many.hear(torch.tensor([loss], dtype=torch.float64))
        one.hear(torch.tensor([sum(losses[i : i + every]) / every], dtype=torch.float64))
        assert float(many(0)) == float(one(0))


def test_a_loss_that_is_no_number_is_no_improvement():
    made = schedule.build(schedule.bind("reduce_on_plateau(1.0, 0.5, patience=0, every=1)"))
    for loss in (1.0, float("nan"), float("inf")):
        made.hear(torch.tensor([loss]))
    assert float(made(3)) == 0.25


SPECS = {
    "together": "momentum(lr=reduce_on_plateau({}, 0.5, patience=1, threshold=0.05, every=4), alpha=0.5)",
    "apart": "torch.SGD(lr=reduce_on_plateau({}, 0.5, patience=1, threshold=0.05, every=4))",
    "inside": "polyak(sgd(lr=reduce_on_plateau({}, 0.5, patience=1, threshold=0.05, every=4)))",
}


def trained(specs: list[str], keep: tuple[int, ...] = (), steps: int = 300) -> tuple[Lanes, list[list[float]]]:
    """Lanes on one problem after so many steps, of which after a half only some are kept; their rates by step."""
    made = problem.build(problem.bind("digits_mlp(hidden=(8,))"))
    bound = [optimizer.bind(spec) for spec in specs]
    theta = torch.randn(made.size, generator=torch.Generator().manual_seed(0)).mul(0.3).expand(len(specs), -1)
    lanes: Lanes = lanes_of(made, bound, theta, [0] * len(specs), 32, "reshuffle")
    rates = []
    for step in range(steps):
        lanes.step(step)
        rates.append(lanes.settings.rate.tolist())
        if keep and step == steps // 2:
            lanes = lanes.keep(keep)
    return lanes, rates


@pytest.mark.parametrize("kind", SPECS)
def test_rates_fall_by_each_lanes_own_losses(kind):
    high, low = (SPECS[kind].format(rate) for rate in (3.0, 0.1))
    both, rates = trained([high, low])
    for lane, spec in enumerate((high, low)):
        alone, own = trained([spec])
        assert torch.equal(alone.theta[0], both.theta[lane])
        assert [r[0] for r in own] == [r[lane] for r in rates]
        assert rates[0][lane] > rates[-1][lane] >= 0.0
    falls = [[k for k, (a, b) in enumerate(itertools.pairwise(rates)) if b[lane] < a[lane]] for lane in (0, 1)]
    assert falls[0] != falls[1]


def test_what_is_kept_goes_on_from_where_it_stood():
    high, low = (SPECS["together"].format(rate) for rate in (3.0, 0.1))
    kept, _ = trained([high, low], keep=(1,))
    whole, _ = trained([high, low])
    assert torch.equal(kept.theta[0], whole.theta[1])
    assert torch.equal(kept.settings.rate, whole.settings.rate[1:])


def test_other_schedules_hear_nothing():
    settings = Settings([optimizer.bind("sgd(lr=linear(0.1, steps=10))")])
    settings.hear(torch.tensor([1.0]))
    settings.refresh(5)
    assert float(settings.rate) == pytest.approx(0.0505)
