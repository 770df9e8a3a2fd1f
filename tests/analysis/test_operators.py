"""Products against dense float64 matrices that ``torch.func.hessian`` or closed forms give."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import aslinearoperator, eigsh
from torch import nn

from analysis.objective import CurvatureError, Objective, of_function, of_module
from analysis.operators import Operator, gauss_newton, gradient_covariance, hessian, operator

torch.set_num_threads(1)


def net(kind: str = "mlp") -> nn.Module:
    torch.manual_seed(1)
    nets = {
        "mlp": lambda: nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3)),
        "relu": lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3)),
        "cnn": lambda: nn.Sequential(
            nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)
        ),
    }
    return nets[kind]().double()


def data(n: int = 23) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, 6, generator=generator).double(), torch.randint(3, (n,), generator=generator)


def dense(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    made = of_module(module, nn.CrossEntropyLoss(), (x, y))
    return torch.func.hessian(lambda theta: made.loss(made.split(theta), (x, y)))(made.theta)


@pytest.mark.parametrize("kind", ["mlp", "relu", "cnn"])
@pytest.mark.parametrize("method", ["retained", "linearized", "auto"])
def test_hessian_products_are_those_of_the_dense_hessian(kind, method):
    module, batch = net(kind), data()
    h = hessian(of_module(module, nn.CrossEntropyLoss(), batch), method=method)
    torch.testing.assert_close(h.dense(), dense(module, *batch), rtol=1e-10, atol=1e-12)
    assert h.products == h.size


@pytest.mark.parametrize("chunk", [1, 5, 22, 23, 100])
def test_chunks_of_any_size_give_the_same_matrix(chunk):
    module, batch = net(), data()
    made = of_module(module, nn.CrossEntropyLoss(), batch, chunk=chunk)
    for kind in (hessian, gauss_newton, gradient_covariance):
        torch.testing.assert_close(
            kind(made).dense(), kind(of_module(module, nn.CrossEntropyLoss(), batch)).dense(), rtol=1e-9, atol=1e-12
        )


def test_uneven_batches_from_a_loader_count_by_their_size():
    module, (x, y) = net(), data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=10)
    h = hessian(of_module(module, nn.CrossEntropyLoss(), loader))
    torch.testing.assert_close(h.dense(), dense(module, x, y), rtol=1e-10, atol=1e-12)


def test_a_summed_loss_is_n_times_the_mean():
    module, batch = net(), data()
    summed = hessian(of_module(module, nn.CrossEntropyLoss(reduction="sum"), batch, chunk=4))
    torch.testing.assert_close(summed.dense(), 23 * dense(module, *batch), rtol=1e-10, atol=1e-11)


def test_little_memory_changes_nothing():
    module, batch = net(), data()
    h = hessian(of_module(module, nn.CrossEntropyLoss(), batch, chunk=5), memory=1)
    assert "built anew" in h.notes[0]
    torch.testing.assert_close(h.dense(), dense(module, *batch), rtol=1e-10, atol=1e-12)


def test_gauss_newton_of_squared_error_is_the_closed_form():
    x, _ = data()
    theta = torch.randn(6, 2).double()
    target = torch.randn(23, 2).double()
    made = of_function(
        lambda w, b: (b[0] @ w - b[1]).square().sum(1).mean(),
        theta,
        (x, target),
        predict=lambda w, b: b[0] @ w,
        criterion=lambda out, b: (out - b[1]).square().sum(1).mean(),
        chunk=7,
    )
    closed = torch.kron(2 * x.T @ x / 23, torch.eye(2).double())
    torch.testing.assert_close(gauss_newton(made).dense(), closed)
    torch.testing.assert_close(hessian(made).dense(), closed)


def test_gradient_covariance_is_that_of_the_examples_gradients():
    module, (x, y) = net(), data()
    made = of_module(module, nn.CrossEntropyLoss(), (x, y))
    each = torch.stack(
        [of_module(module, nn.CrossEntropyLoss(), (x[i : i + 1], y[i : i + 1])).gradient() for i in range(23)]
    )
    second = each.T @ each / 23
    torch.testing.assert_close(gradient_covariance(made, centered=False).dense(), second, rtol=1e-10, atol=1e-13)
    centered = second - torch.outer(each.mean(0), each.mean(0))
    torch.testing.assert_close(gradient_covariance(made).dense(), centered, rtol=1e-9, atol=1e-13)


def test_a_block_is_the_block_of_the_hessian():
    module, batch = net(), data()
    made = of_module(module, nn.CrossEntropyLoss(), batch)
    block = hessian(made.block(["0.weight", "0.bias"])).dense()
    torch.testing.assert_close(block, dense(module, *batch)[:49, :49], rtol=1e-10, atol=1e-12)
    with pytest.raises(CurvatureError, match=r"no piece '9.weight'; known are 0.weight"):
        made.block(["9.weight"])


def test_the_callers_model_and_random_state_stay_as_they_were():
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3)).double().eval()
    module.train(False)
    module[0].weight.grad = torch.ones_like(module[0].weight)
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    hessian(of_module(module, nn.CrossEntropyLoss(), data())).dense()
    assert not module.training
    assert torch.equal(module[0].weight.grad, torch.ones_like(module[0].weight))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("part", "message"),
    [(nn.Dropout(0.5), "drops units at random"), (nn.BatchNorm1d(7), "normalizes by the batch")],
)
def test_layers_in_training_mode_that_make_the_loss_random_are_refused(part, message):
    module = nn.Sequential(nn.Linear(6, 7), part, nn.Linear(7, 3)).double().train()
    with pytest.raises(CurvatureError, match=message):
        of_module(module, nn.CrossEntropyLoss(), data())


def test_functional_dropout_is_refused():
    with pytest.raises(CurvatureError, match="random"):
        of_function(lambda theta: nn.functional.dropout(theta, 0.5).square().sum(), torch.ones(1000))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lstm_of_pytorch_works_with_a_note(dtype):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 3)

        def forward(self, x):
            return self.out(self.cell(x.unflatten(1, (3, 2)))[0][:, -1])

    torch.manual_seed(0)
    x, y = data()
    made = of_module(Net().to(dtype), nn.CrossEntropyLoss(), (x.to(dtype), y))
    matrix = hessian(made).dense()
    assert "cuDNN" in made.notes[0]
    step = 1e-2 if dtype == torch.float32 else 1e-5
    v = torch.ones(made.size, dtype=dtype) / made.size**0.5
    change = (made.at(made.theta + step * v).gradient() - made.at(made.theta - step * v).gradient()) / (2 * step)
    torch.testing.assert_close(matrix @ v, change, rtol=1e-2 if dtype == torch.float32 else 1e-6, atol=1e-4)


def test_scipy_in_and_out():
    module, batch = net(), data()
    h = hessian(of_module(module, nn.CrossEntropyLoss(), batch))
    truth = dense(module, *batch).numpy()
    found = eigsh(h.to_scipy(), k=3, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(found), np.linalg.eigvalsh(truth)[-3:], rtol=1e-9)
    back = operator(aslinearoperator(truth))
    torch.testing.assert_close(back.dense(), torch.from_numpy(truth))
    torch.testing.assert_close(
        h @ torch.eye(h.size).double()[:, :5], torch.from_numpy(truth[:, :5]), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("loss", "theta", "message"),
    [
        (lambda t: t.sum() * float("nan"), torch.ones(3), "the loss is nan"),
        (lambda t: t * 2, torch.ones(3), r"one number, got shape \(3,\)"),
        (lambda t: t.sum(), torch.ones(3, dtype=torch.long), "floating-point"),
        (lambda t: t.sqrt().sum(), torch.zeros(3), "not twice differentiable"),
    ],
)
def test_losses_without_curvature_are_told(loss, theta, message):
    with pytest.raises(CurvatureError, match=message):
        hessian(of_function(loss, theta)).dense()


def test_a_loss_that_is_linear_has_zero_curvature():
    h = hessian(
        of_function(lambda pieces: pieces["a"].sum() + 0 * pieces["b"].sum(), {"a": torch.ones(3), "b": torch.ones(())})
    )
    assert torch.equal(h.dense(), torch.zeros(4, 4))


def test_a_vector_of_the_wrong_length_and_a_matrix_that_is_not_symmetric():
    with pytest.raises(CurvatureError, match="must have 3 numbers"):
        Operator(lambda v: v, 3) @ torch.ones(4)
    with pytest.raises(CurvatureError, match="not symmetric"):
        operator(np.triu(np.ones((3, 3))))
    with pytest.raises(CurvatureError, match="two parts"):
        gauss_newton(of_function(lambda t: t.sum(), torch.ones(3)))
    with pytest.raises(CurvatureError, match="no parameters"):
        Objective(lambda pieces, chunk: torch.ones(()), {})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [hessian, gauss_newton, gradient_covariance])
def test_products_in_half_precision_are_refused(kind, dtype):
    """Their matrices are symmetric to a per cent, and a search among such vectors need not end."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(24, 6, generator=generator).to(dtype), torch.arange(24) % 3
    made = of_module(nn.Linear(6, 3).to(dtype), nn.CrossEntropyLoss(), data)
    told = rf"need float32 or float64, got {dtype}, .*convert the model \(module.float\(\)\)"
    with pytest.raises(CurvatureError, match=told):
        kind(made)
    with pytest.raises(CurvatureError, match=told):
        operator(torch.eye(3, dtype=dtype))
