"""Line searches and second-order methods on a net, lane by lane and beside lanes that fail."""

from __future__ import annotations

import pytest
import torch

from analysis.replay.tape import Tape
from problems.data.splits import Splits
from problems.models import mlp, regressor
from problems.names import parse
from problems.problem import Data, problem
from suite.lanes import Together, lanes_of
from suite.optimizers import optimizer

FAST = ["newton", "saddle_free_newton(krylov=4)", "hessian_free", "cg", "scg", "bfgs", "lbfgs(minibatch=2)"]
FURTHER = [
    "newton(grow=True)",
    "saddle_free_newton",
    "hessian_free(matrix='hessian')",
    "cg(beta='fletcher_reeves', search='exact')",
    "cg(minibatch=2)",
    "bfgs(search='armijo')",
    "lbfgs(memory=3)",
    "gradient_descent",
    "gradient_descent(search='armijo')",
    "coordinate_descent",
    "kfac(rescale=True)",
]
STEPS = 8


@pytest.fixture(scope="module")
def net():
    """Two layers with tanh between them and a squared loss: Hessians that are indefinite at most starts."""
    stream = torch.Generator().manual_seed(0)
    x, y = (torch.randn(24, width, generator=stream) for width in (3, 2))
    model = mlp((3, 4, 2), "tanh")
    return regressor("a net", model, Splits(Data((x, y)), None, None)).to("cpu", torch.float64)


def starts(size):
    """Three starts; beside them one that is infinite, one whose loss overflows, and one with a number that is none."""
    stream = torch.Generator().manual_seed(1)
    good = torch.randn(3, size, dtype=torch.float64, generator=stream)
    bad = torch.stack([torch.full_like(good[0], value) for value in (torch.inf, 1e200, 1.0)])
    bad[2, 1] = torch.nan
    return torch.cat([good, bad])


def trained(net, spec, theta, seeds):
    size = 0 if optimizer.build(optimizer.bind(spec)).needs.full_batch else 8
    specs = [parse(str(optimizer.bind(spec)))] * len(theta)
    group = lanes_of(net, specs, theta, seeds, size, "reshuffle")
    assert isinstance(group, Together)
    assert isinstance(group._run, Tape)  # what looks at values would run eagerly
    for k in range(STEPS):
        group.step(k)
    assert not group.errors
    return group.theta.clone(), group.calls()


@pytest.mark.parametrize("spec", [*FAST, *(pytest.param(spec, marks=pytest.mark.slow) for spec in FURTHER)])
def test_a_lane_is_the_run_alone_beside_lanes_that_fail(net, spec):
    """θ to 1e-11 in float64, with as many evaluations; what fails raises nothing."""
    theta = starts(net.size)
    many, calls = trained(net, spec, theta, [0, 1, 2, 3, 4, 5])
    for lane in range(3):
        alone, own = trained(net, spec, theta[[lane]], [lane])
        torch.testing.assert_close(many[lane], alone[0], rtol=1e-11, atol=1e-11)
        assert calls[lane] == own[0]
        assert not torch.equal(many[lane], theta[lane])
    assert not many[[3, 5]].isfinite().all(dim=1).any()


@pytest.mark.parametrize("spec", ["hessian_free(rounds=3)", "scg", "saddle_free_newton(krylov=3)", "sophia"])
def test_products_have_the_bits_of_the_lane_alone(spec):
    """In float32, with vectors from loops and sums, whose rows of 650 numbers do not all start on one alignment."""
    made = problem.build(problem.bind("digits_logistic")).to("cpu", torch.float32)
    stream, spec = torch.Generator().manual_seed(0), parse(str(optimizer.bind(spec)))
    theta = 0.1 * torch.randn(4, made.size, generator=stream)
    many = lanes_of(made, [spec] * 4, theta, [0, 1, 2, 3], 8, "reshuffle")
    alone = [lanes_of(made, [spec], theta[[lane]], [lane], 8, "reshuffle") for lane in range(4)]
    for k in range(3):
        for group in (many, *alone):
            group.step(k)
        for lane, own in enumerate(alone):
            assert torch.equal(many.theta[lane], own.theta[0])
