"""Coordinate and block-coordinate descent, lookahead, SAM and weight decay."""

from __future__ import annotations

import itertools

import pytest
import torch
from oracles import PlainOracle, path, quadratic, rosenbrock

from problems.layout import Layout, Piece
from problems.names import UsageError
from suite.optimizers import optimizer

START = torch.tensor([-1.2, 1.0, 0.3, -0.4, 0.5, 0.9, 0.2, -0.7], dtype=torch.float64)
LAYOUT = Layout(
    (
        Piece("layer1.weight", (2, 2), "weight", 2, 2),
        Piece("layer1.bias", (2,), "bias"),
        Piece("layer2.weight", (1, 2), "weight", 2, 1),
    )
)


def made(spec):
    return optimizer.build(optimizer.bind(spec))


def points(spec, steps, loss=rosenbrock, layout=LAYOUT):
    return torch.stack(path(made(spec), PlainOracle(loss, layout), START, steps))


def moved(spec, steps):
    """Which coordinates each step changes."""
    found = points(spec, steps)
    return [(b != a).nonzero().flatten().tolist() for a, b in itertools.pairwise(found)]


def test_coordinate_descent_is_gauss_seidel():
    random = torch.Generator().manual_seed(0)
    a = torch.randn(8, 8, dtype=torch.float64, generator=random)
    matrix, minimum = a @ a.T + torch.eye(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64)
    found = points("coordinate_descent", 16, quadratic(matrix, minimum))
    theta, b = START.clone(), matrix @ minimum
    for _ in range(2):
        for i in range(8):
            theta[i] = (b[i] - matrix[i] @ theta + matrix[i, i] * theta[i]) / matrix[i, i]
    torch.testing.assert_close(found[-1], theta)


def test_coordinate_descent_leaves_flat_coordinates():
    found = points("coordinate_descent", 8, lambda theta: theta[0] ** 2 + theta[1])
    assert found.isfinite().all()
    assert found[-1, 0] == 0
    assert torch.equal(found[-1, 1:], START[1:])


def test_blocks_take_turns():
    assert moved("blocks(sgd)", 4) == [[0, 1, 2, 3, 4, 5], [6, 7], [0, 1, 2, 3, 4, 5], [6, 7]]
    assert moved("blocks(sgd, by='pieces')", 3) == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert moved("blocks(sgd, by='coordinates')", 9) == [[i % 8] for i in range(9)]
    assert moved("blocks(sgd, by='layer1.bias|layer1.weight + layer2', every=2)", 4) == [
        [4, 5], [4, 5], [0, 1, 2, 3, 6, 7], [0, 1, 2, 3, 6, 7]
    ]  # fmt: skip
    assert moved("blocks(sgd, by='layer1.bias')", 2) == [[4, 5]] * 2


def test_each_block_has_its_own_memory():
    """Blocks of a loss that does not couple them train as each would alone, every other step."""

    def apart(theta):
        return rosenbrock(theta[:6]) + rosenbrock(theta[6:])

    together = points("blocks(adam(lr=0.1, correct=False))", 10, apart)
    first = torch.stack(path(made("adam(lr=0.1, correct=False)"), PlainOracle(rosenbrock), START[:6], 5))
    second = torch.stack(path(made("adam(lr=0.1, correct=False)"), PlainOracle(rosenbrock), START[6:], 5))
    torch.testing.assert_close(together[::2, :6], first)
    torch.testing.assert_close(together[::2, 6:], second)


def test_unknown_blocks_are_named():
    with pytest.raises(UsageError, match=r"no layer or piece 'layer3'; known are layer1, layer2, layer1\.weight"):
        points("blocks(sgd, by='layer3')", 1)
    with pytest.raises(UsageError, match=r"layer2\.weight is in two blocks of 'layer2\|layer1\+layer2'"):
        points("blocks(sgd, by='layer2|layer1+layer2')", 1)


def test_lookahead_as_pytorch_optimizer():
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    theta = START.clone().requires_grad_()
    instance = zoo.Lookahead(torch.optim.SGD([theta], lr=0.001), k=3, alpha=0.4)
    hand = [START]
    for _ in range(12):
        instance.zero_grad()
        rosenbrock(theta).backward()
        instance.step()
        hand.append(theta.detach().clone())
    torch.testing.assert_close(points("lookahead(sgd(lr=0.001), k=3, alpha=0.4)", 12), torch.stack(hand))


def test_lookahead_evaluates_the_slow_weights():
    made_, oracle, theta = made("lookahead(sgd(lr=0.001), k=3)"), PlainOracle(rosenbrock), START
    state = made_.init(oracle, theta)
    for _ in range(2):
        theta, state = made_.step(oracle, state, theta)
    assert torch.equal(made_.readout(state, theta), START)
    theta, state = made_.step(oracle, state, theta)
    assert torch.equal(made_.readout(state, theta), theta)


def test_sam_written_out():
    theta, hand = START, [START]
    grad = torch.func.grad(rosenbrock)
    for _ in range(10):
        g = grad(theta)
        theta = theta - 0.001 * grad(theta + 0.05 * g / g.norm())
        hand.append(theta)
    torch.testing.assert_close(points("sam(sgd(lr=0.001), rho=0.05)", 10), torch.stack(hand))


def test_sam_counts_two_gradients():
    oracle = PlainOracle(rosenbrock)
    path(made("sam(sgd(lr=0.001))"), oracle, START, 5)
    assert oracle.calls["gradient"] == 10


def test_weight_decay_as_torch():
    theta = START.clone().requires_grad_()
    instance = torch.optim.Adam([theta], lr=0.05, weight_decay=0.1)
    hand = [START]
    for _ in range(15):
        instance.zero_grad()
        rosenbrock(theta).backward()
        instance.step()
        hand.append(theta.detach().clone())
    torch.testing.assert_close(points("weight_decay(adam(lr=0.05), decay=0.1)", 15), torch.stack(hand))
