"""Shampoo and SOAP step by step in float64, against pytorch_optimizer and written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import rosenbrock
from test_modern import close, ours, theirs

from problems.layout import Layout, Piece
from problems.names import parse
from problems.problem import problem
from suite.lanes import Together, lanes_of
from suite.optimizers import optimizer
from suite.optimizers._occasional import when

START = torch.linspace(-1.2, 1.0, 30, dtype=torch.float64)
LAYOUT = Layout(
    (
        Piece("matrix", (3, 3), "weight", 3, 3),  # square: the null space of a first gradient is up to rounding
        Piece("vector", (5,), "bias"),
        Piece("kernel", (2, 2, 2, 2), "weight", 8, 2),
    )
)


def zoo():
    return pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_shampoo_as_pytorch_optimizer(epsilon):
    package = zoo()
    mine = ours(f"shampoo(lr=0.05, every=1, epsilon={epsilon})", start=START, layout=LAYOUT)
    close(mine, theirs(lambda p: package.Shampoo(p, lr=0.05, matrix_eps=epsilon), start=START, layout=LAYOUT))


def test_soap_as_pytorch_optimizer(monkeypatch):
    package = zoo()
    to = torch.Tensor.to  # that one computes its bases in float32
    double = {torch.float32: torch.float64}
    monkeypatch.setattr(torch.Tensor, "to", lambda t, *args, **how: to(t, *(double.get(a, a) for a in args), **how))
    mine = ours("soap(lr=0.01, decay=0.1, delta=0.001, every=4)", start=START, layout=LAYOUT)
    their = theirs(
        lambda p: package.SOAP(p, lr=0.01, weight_decay=0.1, precondition_frequency=4, eps=0.001),
        start=START,
        layout=LAYOUT,
    )
    close(mine, their)


def _power(matrix, power):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**power) @ vectors.T


def test_shampoo_follows_the_papers_algorithm():
    """On a matrix, with roots of every third step, momentum, and a diagonal for the longer side."""
    target = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layout = Layout((Piece("matrix", (3, 5), "weight", 5, 3),))

    def loss(theta):
        return 0.25 * (theta.view(3, 5) - target).pow(4).sum()

    start = torch.zeros(15, dtype=torch.float64)
    mine = ours("shampoo(lr=0.1, epsilon=0.01, every=3, alpha=0.5, most=4)", loss, start, layout, 12)
    w, y = np.zeros((3, 5)), target.numpy()
    left, right, v = 0.01 * np.eye(3), 0.01 * np.ones(5), 0
    for t in range(12):
        g = (w - y) ** 3
        left, right = left + g @ g.T, right + (g**2).sum(0)
        if t % 3 == 0:
            root, scale = _power(left, -1 / 4), right ** (-1 / 4)
        v = 0.5 * v + root @ g * scale
        w = w - 0.1 * v
        np.testing.assert_allclose(mine[t + 1].view(3, 5).numpy(), w, rtol=1e-8, atol=1e-10)


def test_shampoo_on_a_vector_is_full_matrix_adagrad():
    layout = Layout((Piece("vector", (6,), "bias"),))
    mine = ours("shampoo(lr=0.1, epsilon=0.01, every=1)", start=START[:6], layout=layout, steps=10)
    theta, total = START[:6].clone(), 0.01 * np.eye(6)
    for t in range(10):
        g = torch.func.grad(rosenbrock)(theta)
        total = total + np.outer(g, g)
        theta = theta - 0.1 * torch.from_numpy(_power(total, -1 / 2)) @ g
        torch.testing.assert_close(mine[t + 1], theta, rtol=1e-8, atol=1e-10)


def test_soap_follows_the_papers_algorithm():
    """Adam in the bases of L and R: on a matrix, with one power iteration at every second step.

    δ is large, for in its own basis a gradient is diagonal, and what is beside it is rounding.
    """
    target = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layout = Layout((Piece("matrix", (3, 3), "weight", 3, 3),))

    def loss(theta):
        return 0.25 * (theta.view(3, 3) - target).pow(4).sum()

    mine = ours(
        "soap(lr=0.05, beta1=0.9, beta2=0.8, delta=0.001, every=2)",
        loss,
        torch.zeros(9, dtype=torch.float64),
        layout,
        11,
    )
    w, y = np.zeros((3, 3)), target.numpy()
    g = (w - y) ** 3
    left, right = 0.2 * g @ g.T, 0.2 * g.T @ g
    bases = [np.linalg.eigh(x)[1][:, ::-1] for x in (left, right)]
    m = v = 0
    for t in range(1, 11):
        g = (w - y) ** 3
        ql, qr = bases
        m, v = 0.9 * m + 0.1 * g, 0.8 * v + 0.2 * (ql.T @ g @ qr) ** 2
        step = ql @ ((ql.T @ m @ qr) / (np.sqrt(v) + 1e-3)) @ qr.T
        w = w - 0.05 * np.sqrt(1 - 0.8**t) / (1 - 0.9**t) * step
        left, right = 0.8 * left + 0.2 * g @ g.T, 0.8 * right + 0.2 * g.T @ g
        if t % 2 == 0:
            for i, mean in enumerate((left, right)):
                product = mean @ bases[i]
                order = np.argsort(-(bases[i] * product).sum(0))
                v = np.take(v, order, i)
                bases[i] = np.linalg.qr(product[:, order])[0]
        np.testing.assert_allclose(mine[t + 1].view(3, 3).numpy(), w, rtol=1e-8, atol=1e-10)


def test_soap_on_vectors_and_long_sides_is_adam():
    mine = ours("soap(lr=0.05, most=1)", start=START, layout=LAYOUT)
    adam = ours("adam(lr=0.05, rho1=0.95, rho2=0.95, delta=1e-300)", start=START, layout=LAYOUT)
    torch.testing.assert_close(mine[1:], adam[:-1], rtol=1e-6, atol=1e-6)


def test_work_is_done_for_those_lanes_only_that_are_due():
    seen = []

    def compute(x):
        seen.append(float(x[0]))
        return [2 * x, x + 1]

    x = torch.arange(4.0)[:, None].expand(4, 3)
    due = torch.tensor([False, True, False, True])
    before = [torch.zeros(4, 3), torch.ones(4, 3)]
    one, two = torch.vmap(lambda d, b, c, x: tuple(when(d, compute, [b, c], x)))(due, *before, x)
    assert seen == [1.0, 3.0]
    assert one[:, 0].tolist() == [0, 2, 0, 6]
    assert two[:, 0].tolist() == [1, 2, 1, 4]
    assert when(due[1], compute, [b[0] for b in before], x[2])[0].tolist() == [4.0] * 3


@pytest.mark.parametrize("spec", ["shampoo(lr={}, every=3)", "soap(lr={}, every=3)"])
def test_a_lane_that_diverges_beside_them_changes_nothing(spec):
    """In float32, to the bit, on a net: one lane's θ is infinite from the start."""
    from test_lanes import TINY, _starts

    made = problem.build(problem.bind(TINY + "cnn"))
    starts = _starts(made, 3, torch.float32)
    specs = [parse(str(optimizer.bind(spec.format(rate)))) for rate in (0.01, 0.02, 0.03)]

    def end(lanes, theta):
        group = lanes_of(made, [specs[lane] for lane in lanes], theta, lanes, 16, "reshuffle")
        assert isinstance(group, Together)
        for k in range(7):
            group.step(k)
        return group.theta

    broken = starts.clone()
    broken[1] = torch.inf
    together = end([0, 1, 2], broken)
    assert not together[1].isfinite().all()
    for lane in (0, 2):
        assert torch.equal(together[lane], end([lane], starts[[lane]])[0])
