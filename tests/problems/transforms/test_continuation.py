"""Blurred objectives against their closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from problems import Problem, UsageError, problem
from problems.course import progress
from problems.families.surfaces import surface
from problems.transforms.continuation import SHIFT, continuation
from suite.runner import train_group
from suite.sampler import Sampler
from suite.spec import Result, Run


def at_step(p: Problem, theta: Tensor, k: int, seed: int = 0) -> Tensor:
    """The loss of one θ in training at step k, on the minibatch that a run of the seed gets."""
    sampler = Sampler(p.train, [seed], 1, "reshuffle", course=p.course)
    sampler.fill(k)
    return p.loss(theta, tuple(t[0] for t in sampler.batch))


def double_well() -> Problem:
    """(x² − 1)² with a barrier of height 1 at 0; blurred, E = x⁴ + (6σ² − 2)x² + 3σ⁴ − 2σ² + 1."""
    return surface("double_well", lambda x: (x[0].square() - 1).square(), (0.0,)).to("cpu", torch.float64)


def bowl() -> Problem:
    scales = torch.tensor([1.0, 4.0, 9.0])
    return surface("bowl", lambda x: 0.5 * (scales.to(x) * x.square()).sum(), (1.0, 1.0, 1.0)).to("cpu", torch.float64)


def test_a_quadratic_gains_a_constant() -> None:
    """½σ² tr H, everywhere alike; and its gradient is that of the loss but for noise σHε of mean 0."""
    p = continuation(bowl(), sigma=0.5, samples=20000)
    for theta in (torch.zeros(3), torch.tensor([1.0, -2.0, 0.5])):
        gain = at_step(p, theta.double(), 0) - bowl().loss(theta.double(), bowl().train.tensors)
        assert float(gain) == pytest.approx(0.5 * 0.25 * 14, rel=0.1)


@pytest.mark.parametrize(("sigma", "barrier"), [(0.3, True), (0.8, False)])
def test_a_double_well_loses_its_barrier_where_the_blur_is_wide(sigma: float, barrier: bool) -> None:
    """The curvature at 0 is 12σ² − 4: the barrier goes at σ = 1/√3."""
    p = continuation(double_well(), sigma=sigma, samples=40000)
    middle, side = (float(at_step(p, torch.tensor([x], dtype=torch.float64), 0)) for x in (0.0, 0.5))
    exact = {x: x**4 + (6 * sigma**2 - 2) * x**2 + 3 * sigma**4 - 2 * sigma**2 + 1 for x in (0.0, 0.5)}
    assert middle == pytest.approx(exact[0.0], rel=0.05)
    assert side == pytest.approx(exact[0.5], rel=0.05)
    assert (middle > side) is barrier


def test_the_stages_go_down_to_the_loss_itself() -> None:
    p = continuation(bowl(), sigma=0.4, steps=100, stages=4, samples=500)
    assert p.course is not None
    spreads = [float(p.course.pieces[SHIFT](k, torch.Generator).std()) for k in (0, 24, 25, 50, 75, 99, 100, 10**6)]
    wanted = [0.4, 0.4, 0.3, 0.2, 0.1, 0.1, 0.0, 0.0]
    assert spreads == pytest.approx(wanted, rel=0.05)
    theta = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert float(at_step(p, theta, 100)) == pytest.approx(float(bowl().loss(theta, bowl().train.tensors)), rel=1e-14)


def test_a_stage_lasts_its_share_of_the_steps() -> None:
    found = [progress(k, 10, 3) for k in range(12)]
    assert found == [0, 0, 0, 0, *[1 / 3] * 3, *[2 / 3] * 3, 1, 1]


def test_noise_depends_on_the_seed_and_the_step_alone() -> None:
    p = continuation(bowl(), sigma=1.0)
    theta = torch.zeros(3, dtype=torch.float64)
    assert at_step(p, theta, 3) == at_step(p, theta, 3)
    assert len({float(at_step(p, theta, k, seed)) for k in (3, 4) for seed in (0, 1)}) == 4


def test_evaluation_sees_the_loss_itself() -> None:
    p = continuation(bowl(), sigma=10.0)
    theta = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert float(p.measure(theta, p.train.tensors)["loss"]) == float(bowl().loss(theta, p.train.tensors))
    assert float(p.loss(theta, p.train.tensors)) == float(bowl().loss(theta, p.train.tensors))


def test_descent_on_the_series_finds_the_lower_of_two_wells() -> None:
    """x⁴ − 2x² + 0.3x has its lower well at the left; plain descent from the right stays at the right."""
    well = surface("tilted", lambda x: x[0] ** 4 - 2 * x[0].square() + 0.3 * x[0], (0.9,)).to("cpu", torch.float64)

    def descend(p: Problem) -> float:
        theta = torch.tensor([0.9], dtype=torch.float64)
        for k in range(600):
            leaf = theta.clone().requires_grad_()
            theta = theta - 0.02 * torch.autograd.grad(at_step(p, leaf, k), leaf)[0]
        return float(theta)

    assert descend(well) > 0.8
    assert descend(continuation(well, sigma=1.0, steps=500, samples=50)) < -0.9


def test_runs_in_lanes_as_alone_and_ends_at_the_true_loss() -> None:
    text = "continuation(digits_mlp(hidden=(8,)), sigma=0.1, steps=40, stages=4)"
    runs = [
        Run.make(text, "momentum(lr=0.05)", seed=seed, steps=60, eval_every=20, batch_size=32, dtype="float64")
        for seed in (0, 1, 0)
    ]
    together: list[Result] = []
    train_group(runs, together.append)
    for run, result in zip(runs, together, strict=True):
        alone: list[Result] = []
        train_group([run], alone.append)
        assert alone[0].trace == result.trace
    assert together[0].trace == together[2].trace != together[1].trace


def test_is_not_blurred_twice() -> None:
    with pytest.raises(UsageError, match="blurred already"):
        problem.build(problem.bind("continuation(continuation(rosenbrock))"))
