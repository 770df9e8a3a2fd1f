"""Values, gradients and products of a group of lanes against functorch's dense ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from analysis.replay.tape import Tape
from problems.names import UsageError
from problems.problem import problem
from suite.objective import DENSE, ROWS, Objective, rows
from suite.sampler import Sampler, generator

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"


def _lanes(kind, taped=True):
    made = problem.build(problem.bind(kind)).to("cpu", torch.float64)
    theta = rows(3, made.size, torch.zeros(0, dtype=torch.float64))
    for lane in range(3):
        theta[lane] = made.start(generator(lane, "start")).double()
    sampler = Sampler(made.train, [0, 1, 2], 8, "reshuffle")
    sampler.fill(0)
    return made, theta, sampler.batch, Objective(made, 3, sampler.batch, taped=taped)


def _dense_ggn(made, theta, batch):
    """JᵀH_L J by columns, with the Jacobian and the criterion's Hessian each dense."""

    def outputs(at):
        return made.outputs(made.layout.split(at), batch).flatten()

    shape = made.outputs(made.layout.split(theta), batch).shape
    jacobian = torch.autograd.functional.jacobian(outputs, theta)
    bent = torch.autograd.functional.hessian(lambda out: made.criterion(out.view(shape), batch), outputs(theta))
    dense = jacobian.t() @ bent @ jacobian
    if made.penalty is not None:
        dense = dense + torch.autograd.functional.hessian(lambda at: made.penalty(made.layout.split(at)), theta)
    return dense


@pytest.mark.parametrize("kind", ["linear_regression", "digits_logistic(decay=0.1)", TINY + "rnn", TINY + "cnn"])
def test_products_agree_with_dense_matrices(kind):
    made, theta, batch, objective = _lanes(kind)
    v = torch.randn(3, made.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hvp, ggn = objective.hvp(theta, v), objective.ggn(theta, v)
    for lane in range(2) if made.size > 500 else range(3):
        of_lane = tuple(t[lane] for t in batch)
        row = theta[lane].clone()
        leaf = row.clone().requires_grad_()
        (g,) = torch.autograd.grad(made.loss(leaf, of_lane), leaf, create_graph=True)
        (expected,) = torch.autograd.grad(g, leaf, v[lane])
        torch.testing.assert_close(hvp[lane], expected, rtol=1e-9, atol=1e-10)
        if made.size <= 1000:
            torch.testing.assert_close(ggn[lane], _dense_ggn(made, row, of_lane) @ v[lane], rtol=1e-9, atol=1e-10)
    assert dict(objective.calls) == {"hvp": 1, "ggn": 1}


def test_of_a_convex_criterion_the_gauss_newton_matrix_has_no_negative_curvature():
    made, theta, _, objective = _lanes(TINY + "mlp")
    stream = torch.Generator().manual_seed(1)
    for _ in range(10):
        v = torch.randn(3, made.size, dtype=torch.float64, generator=stream)
        assert (v * objective.ggn(theta, v)).sum(1).min() >= -1e-12


def test_the_dense_hessian_is_symmetric_and_gives_the_products():
    made, theta, _, objective = _lanes("linear_regression")
    dense = objective.hessian(theta)
    v = torch.randn(3, made.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(dense, dense.transpose(1, 2))
    torch.testing.assert_close((dense @ v.unsqueeze(2)).squeeze(2), objective.hvp(theta, v))
    assert objective.calls["hvp"] == made.size + 1


def test_a_recorded_hessian_is_made_of_some_rows_after_others():
    """On one tape, which follows θ; the rows are no multiple of those that are made at once."""
    made, theta, _, objective = _lanes(TINY + "rnn")
    assert made.size > ROWS and made.size % ROWS
    action, (dense,) = objective.bind("hessian", theta)
    theta.mul_(0.5)
    action()
    v = torch.randn(3, made.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close((dense @ v.unsqueeze(2)).squeeze(2), objective.hvp(theta, v), rtol=1e-9, atol=1e-10)


def test_a_hessian_that_is_too_large_is_refused():
    made, theta, batch, _ = _lanes("digits_mlp(hidden=(80,))")
    assert made.size > DENSE
    with pytest.raises(UsageError, match="too large"):
        Objective(made, 3, batch).hessian(theta)


@pytest.mark.parametrize("kind", ["value", "gradient", "hvp", "ggn"])
def test_a_recorded_evaluation_follows_its_inputs(kind):
    made, theta, _, objective = _lanes(TINY + "mlp")
    v = theta.clone()
    operands = [theta] if kind in ("value", "gradient") else [theta, v]
    outputs = None

    def function():
        nonlocal outputs
        outputs = getattr(objective, kind)(*operands)
        return [out * 1.0 for out in (outputs if isinstance(outputs, tuple) else (outputs,))]

    tape = Tape(function, operands)
    theta.mul_(1.1)
    v.add_(0.5)
    tape()
    fresh = getattr(Objective(made, 3, objective.batch, taped=False), kind)(*operands)
    for mine, expected in zip(tape.outputs, fresh if isinstance(fresh, tuple) else (fresh,), strict=True):
        assert torch.equal(mine, expected)


def test_gauss_newton_products_know_the_tensors_that_are_not_trained():
    """The outputs of the quadratic are its loss already, so the Gauss-Newton matrix vanishes."""
    made, theta, _, objective = _lanes("quadratic_deep")
    assert made.fixed and objective.ggn(theta, torch.ones_like(theta)).count_nonzero() == 0
