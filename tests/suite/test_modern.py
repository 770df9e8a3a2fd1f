"""Modern first-order rules, step by step in float64 against torch.optim and pytorch_optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import PlainOracle, path, rosenbrock

from problems.layout import Layout, Piece
from suite.optimizers import optimizer
from suite.optimizers.layerwise import newton_schulz

START = torch.tensor([-1.2, 1.0, 0.3, -0.4, 0.5, 0.9, 0.2, -0.7], dtype=torch.float64)
LAYOUT = Layout((Piece("matrix", (3, 2), "weight", 2, 3), Piece("vector", (2,), "bias")))
MATRICES = Layout((Piece("one", (3, 2), "weight", 2, 3), Piece("two", (2, 1), "weight", 1, 2)))
STEPS = 25


def ours(spec, loss=rosenbrock, start=START, layout=LAYOUT, steps=STEPS):
    made = optimizer.build(optimizer.bind(spec))
    return torch.stack(path(made, PlainOracle(loss, layout), start, steps))


def theirs(make, loss=rosenbrock, start=START, layout=LAYOUT, steps=STEPS):
    """A class used by hand on the pieces."""
    views = [view.clone().requires_grad_() for view in layout.split(start).values()]
    instance = make(views)
    points = [start]
    for _ in range(steps):
        instance.zero_grad()
        loss(torch.cat([view.flatten() for view in views])).backward()
        instance.step()
        points.append(torch.cat([view.detach().flatten() for view in views]))
    return torch.stack(points)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("adamw(lr=0.05, decay=0.1)", lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1)),
        ("radam(lr=0.001, rho2=0.9)", lambda p: torch.optim.RAdam(p, lr=0.001, betas=(0.9, 0.9))),
        ("radam(lr=0.001, delta=0.1)", lambda p: torch.optim.RAdam(p, lr=0.001, eps=0.1)),
        ("adamax(lr=0.05)", lambda p: torch.optim.Adamax(p, lr=0.05)),
        ("adadelta(lr=5.0)", lambda p: torch.optim.Adadelta(p, lr=5.0)),
        ("rprop(lr=0.01)", lambda p: torch.optim.Rprop(p, lr=0.01)),
    ],
)
def test_as_torch(spec, make):
    close(ours(spec), theirs(make))


ZOO = {
    "lion(lr=0.01, decay=0.1)": lambda zoo, p: zoo.Lion(p, lr=0.01, weight_decay=0.1),
    "adan(lr=0.05)": lambda zoo, p: zoo.Adan(p, lr=0.05),
    "adan(lr=0.05, decay=0.1)": lambda zoo, p: zoo.Adan(p, lr=0.05, weight_decay=0.1),
    # that one leaves vectors alone
    "lars(lr=1.0, decay=0.1)": lambda zoo, p: zoo.LARS(p, lr=1.0, weight_decay=0.1, momentum=0.9),
}


@pytest.mark.parametrize("spec", ZOO)
def test_as_pytorch_optimizer(spec):
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    close(ours(spec, layout=MATRICES), theirs(lambda p: ZOO[spec](zoo, p), layout=MATRICES))


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("schedule_free_sgd(lr=0.001)", lambda zoo, p: zoo.ScheduleFreeSGD(p, lr=0.001)),
        ("schedule_free_adamw(lr=0.05)", lambda zoo, p: zoo.ScheduleFreeAdamW(p, lr=0.05)),
        ("schedule_free_adamw(lr=0.05, decay=0.1)", lambda zoo, p: zoo.ScheduleFreeAdamW(p, lr=0.05, weight_decay=0.1)),
    ],
)
def test_schedule_free_evaluates_where_theirs_does(spec, make):
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    theta = START.clone().requires_grad_()
    instance = make(zoo, [theta])
    instance.train()
    points = [START]
    for _ in range(STEPS):
        instance.zero_grad()
        rosenbrock(theta).backward()
        instance.step()
        instance.eval()
        points.append(theta.detach().clone())
        instance.train()
    close(ours(spec), torch.stack(points))


def test_nadam_is_torchs_whose_product_is_kept_in_float32():
    torch.testing.assert_close(
        ours("nadam(lr=0.05)"), theirs(lambda p: torch.optim.NAdam(p, lr=0.05)), rtol=1e-5, atol=1e-6
    )


def test_lamb_written_out():
    pieces, s, r = list(LAYOUT.split(START).values()), [0, 0], [0, 0]
    points = [START]
    for t in range(1, STEPS + 1):
        theta = torch.cat([piece.flatten() for piece in pieces])
        g = list(LAYOUT.split(torch.func.grad(rosenbrock)(theta)).values())
        for i, w in enumerate(pieces):
            s[i] = 0.9 * s[i] + 0.1 * g[i]
            r[i] = 0.99 * r[i] + 0.01 * g[i] ** 2
            d = (s[i] / (1 - 0.9**t)) / ((r[i] / (1 - 0.99**t)).sqrt() + 1e-6) + 0.1 * w
            pieces[i] = w - 0.05 * w.norm() / d.norm() * d
        points.append(torch.cat([piece.flatten() for piece in pieces]))
    close(ours("lamb(lr=0.05, rho2=0.99, decay=0.1)"), torch.stack(points))


def test_delta_bar_delta_written_out():
    theta, rate, mean = START.clone(), torch.full_like(START, 0.001), torch.zeros_like(START)
    points = [theta]
    for _ in range(STEPS):
        g = torch.func.grad(rosenbrock)(theta)
        for i in range(len(theta)):
            if mean[i] * g[i] > 0:
                rate[i] += 1e-4
            elif mean[i] * g[i] < 0:
                rate[i] *= 1 - 0.3
        theta = theta - rate * g
        mean = (1 - 0.6) * g + 0.6 * mean
        points.append(theta)
    close(ours("delta_bar_delta(lr=0.001, up=0.0001, down=0.3, memory=0.6)"), torch.stack(points))


def test_muon_on_a_matrix_is_torchs_but_for_bfloat16():
    def loss(theta):
        return (
            theta.view(4, 6) @ torch.linspace(-1, 1, 6, dtype=theta.dtype) - 1
        ).square().sum() + theta.square().sum()

    start = torch.randn(24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layout = Layout((Piece("matrix", (4, 6), "weight", 6, 4),))
    mine = ours("muon(lr=0.05)", loss, start, layout, 10)
    torchs = theirs(
        lambda p: torch.optim.Muon(p, lr=0.05, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        loss,
        start,
        layout,
        10,
    )
    step = (mine[1] - mine[0]).norm()
    assert (mine - torchs).norm(dim=1).max() < 0.05 * step * 10
    assert (mine[-1] - torchs[-1]).norm() < 0.05 * (mine[-1] - mine[0]).norm()


def test_muon_written_out():
    """On a tall matrix and on a kernel, taken as [outputs, all others], with decay beside; Jordan's polynomial."""
    layout = Layout((Piece("tall", (5, 2), "weight", 2, 5), Piece("kernel", (2, 1, 2, 2), "weight", 4, 2)))
    start = torch.linspace(-1.2, 1.0, 18, dtype=torch.float64)
    pieces = [w.numpy().copy() for w in layout.split(start).values()]
    momentum, points = [0, 0], [start.numpy()]
    for _ in range(8):
        theta = torch.from_numpy(np.concatenate([w.ravel() for w in pieces]))
        g = [x.numpy() for x in layout.split(torch.func.grad(rosenbrock)(theta)).values()]
        for i, w in enumerate(pieces):
            momentum[i] = 0.9 * momentum[i] + 0.1 * g[i]
            flat = (0.9 * momentum[i] + 0.1 * g[i]).reshape(len(w), -1)
            x = (flat if len(flat) <= flat.shape[1] else flat.T) / np.linalg.norm(flat)
            for _ in range(5):
                a = x @ x.T
                x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
            x = x if len(flat) <= flat.shape[1] else x.T
            pieces[i] = (1 - 0.05 * 0.1) * w - 0.05 * 0.2 * max(flat.shape) ** 0.5 * x.reshape(w.shape)
        points.append(np.concatenate([w.ravel() for w in pieces]))
    mine = ours("muon(lr=0.05, alpha=0.9, decay=0.1)", start=start, layout=layout, steps=8)
    np.testing.assert_allclose(mine.numpy(), points, rtol=1e-8, atol=1e-10)


def test_muon_is_adamw_on_vectors():
    close(ours("muon(lr=0.05, decay=0.1)", layout=None), ours("adamw(lr=0.05, decay=0.1)"))


def test_newton_schulz_turns_a_matrix_into_a_rotation():
    matrix = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(newton_schulz(matrix, 5))
    assert values.min() > 0.6
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    turned = newton_schulz(matrix, 5)
    assert ((u.mT @ turned @ vh.mT).diagonal() - values.flip(0)).abs().max() < 0.7  # same singular vectors
    assert (turned - u @ (u.mT @ turned @ vh.mT).diagonal().diag() @ vh).norm() < 1e-10


def test_lamb_and_lars_take_the_plain_step_from_zero():
    for spec in ("lamb(lr=0.1)", "lars(lr=1.0, trust=0.1)"):
        points = ours(spec, lambda theta: theta.sum(), torch.zeros(8, dtype=torch.float64), steps=1)
        assert points[1].isfinite().all()
        assert (points[1] < 0).all()
