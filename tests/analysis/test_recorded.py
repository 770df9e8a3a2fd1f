"""Recorded products against those of the kernels that were recorded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from analysis.kernels import Retained, gauss_newton_kernel, hessian_kernel
from analysis.objective import of_function, of_module
from analysis.operators import hessian
from analysis.recorded import Recorded

torch.set_num_threads(1)


class Recurrent(nn.Module):
    """Eight steps of a plain recurrent cell."""

    def __init__(self):
        super().__init__()
        self.inward, self.hidden, self.out = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 4)

    def forward(self, x):
        state = x.new_zeros(len(x), 5)
        for t in range(x.shape[1]):
            state = torch.tanh(self.inward(x[:, t]) + torch.sigmoid(self.hidden(state)))
        return self.out(state)


MODELS = {
    "dense": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)), (23, 6)),
    "convolutional": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 4)),
        (9, 1, 6, 6),
    ),
    "recurrent": (Recurrent, (11, 8, 3)),
}


def objective(name, dtype=torch.float64):
    make, shape = MODELS[name]
    torch.manual_seed(0)
    return of_module(
        make().to(dtype), nn.CrossEntropyLoss(), (torch.randn(shape, dtype=dtype), torch.arange(shape[0]) % 4)
    )


def settled(kernel, parts, product):
    """The kernel after enough products to have been recorded and trusted."""
    for _ in range(300):
        product(parts)
        if any(form.trusted for form in kernel._forms.values()):
            return kernel
    raise AssertionError("never recorded")


@pytest.mark.parametrize("method", ["auto", "linearized", "gauss_newton"])
@pytest.mark.parametrize("name", MODELS)
def test_recorded_products_are_those_of_the_kernel(name, method):
    made = objective(name)
    build = gauss_newton_kernel(100, 1) if method == "gauss_newton" else hessian_kernel(method, 100, 1)
    kernel = build(made, made.chunks[0])
    for block in (0, 3):
        shape = (block,) if block else ()
        vectors = torch.randn(5, *shape, made.size, dtype=torch.float64)
        product = kernel.many if block else kernel.one
        plain = kernel.kernel.many if block else kernel.kernel.one
        settled(kernel, list(made.split(vectors[0]).values()), product)
        for vector in vectors:
            parts = list(made.split(vector).values())
            for ours, theirs in zip(product(parts), plain(parts), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
        kernel._forms.clear()


def test_a_matrix_is_the_same_before_and_after_it_is_recorded():
    made = objective("dense")
    matrix = hessian(made)
    before = matrix.dense()
    vector = torch.randn(made.size, dtype=torch.float64)
    for _ in range(100):
        torch.testing.assert_close(matrix @ vector, before @ vector, rtol=1e-12, atol=1e-14)


def test_pieces_without_curvature_have_zero_rows_when_replayed():
    made = of_function(lambda p: (p["a"] ** 3).sum() + p["b"].sum(), {"a": torch.ones(2), "b": torch.ones(3)})
    matrix = hessian(made)
    for k in range(50):
        assert (matrix @ torch.full((5,), float(k))).tolist() == [6.0 * k, 6.0 * k, 0, 0, 0]


class Odd:
    """A kernel that multiplies by two, and something else besides."""

    gradient = None

    def __init__(self, extra):
        self.extra, self.calls = extra, 0

    def one(self, parts):
        self.calls += 1
        return [self.extra(self, part * 2) for part in parts]

    def many(self, parts):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("extra", "want"),
    [
        (lambda kernel, out: out * (1 if out.sum().item() > 0 else -1), lambda k: 2.0),  # looks at values
        (lambda kernel, out: out * kernel.calls, lambda k: 2.0 * (k + 1)),  # is another at every call
    ],
)
def test_what_cannot_be_recorded_is_computed_as_it_was(extra, want):
    kernel = Recorded(Odd(extra), [], operations=0, seconds=0, expected=100)
    for k in range(6):
        (out,) = kernel.one([torch.ones(3)])
        assert out.tolist() == [want(k)] * 3
    assert kernel._forms[0].refused


def test_a_few_products_are_not_recorded():
    made = objective("recurrent")
    kernel = hessian_kernel("auto", 100, 1)(made, made.chunks[0])
    kernel.worth = 1e9  # as if recording took years
    for _ in range(10):
        kernel.one(list(made.leaves().values()))
    assert kernel._forms[0].tape is None


def test_a_point_that_was_changed_in_place_is_told():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    matrix = hessian(of_module(module, nn.CrossEntropyLoss(), (torch.randn(9, 6), torch.arange(9) % 4)))
    vector = torch.ones(matrix.size)
    for _ in range(60):
        matrix @ vector
    with torch.no_grad():
        module[2].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        matrix @ vector


def test_the_graph_is_measured():
    kernel = Retained(objective("convolutional"), objective("convolutional").chunks[0])
    assert kernel.convolves and kernel.operations > 10
    assert not Retained(objective("dense"), objective("dense").chunks[0]).convolves
