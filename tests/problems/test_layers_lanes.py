"""The layers' promise: a lane's bits do not depend on its neighbours, for every shape and offset."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from problems import layers

LANES = 19
small = st.integers(1, 40)


def rows(count: int, size: int, like: Tensor | None = None) -> Tensor:
    """Rows of θ on multiples of 64 bytes, as the runner keeps them."""
    matrix = torch.zeros(count, -(-size // 16) * 16)[:, :size]
    return matrix.normal_(generator=torch.Generator().manual_seed(size)) if like is None else matrix.copy_(like)


def pieces(theta: Tensor, at: int, outputs: int, inputs: int) -> list[Tensor]:
    end = at + outputs * inputs
    return [theta[:, at:end].view(-1, outputs, inputs), theta[:, end:]]


def value_and_gradients(x: Tensor, theta: Tensor, at: int, outputs: int) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in (x, *pieces(theta, at, outputs, x.shape[2]))]
    y = torch.vmap(layers.linear)(*leaves)
    losses = y.square().sum((1, 2))
    return [y.detach(), *torch.autograd.grad(losses, leaves, torch.ones_like(losses))]


def product(x: Tensor, theta: Tensor, at: int, outputs: int) -> list[Tensor]:
    """The Hessian's with θ, by two passes back."""
    leaves = [t.detach().requires_grad_() for t in (x, *pieces(theta, at, outputs, x.shape[2]))]
    losses = torch.vmap(layers.linear)(*leaves).pow(3).sum((1, 2))
    grads = torch.autograd.grad(losses, leaves, torch.ones_like(losses), create_graph=True)
    return list(torch.autograd.grad(grads, leaves, [x, *pieces(theta, at, outputs, x.shape[2])]))


@settings(deadline=None, max_examples=60)
@given(batch=small, inputs=small, outputs=small, at=small)
def test_linear_has_the_same_bits_alone_and_among_others(batch: int, inputs: int, outputs: int, at: int) -> None:
    x = torch.randn(LANES, batch, inputs, generator=torch.Generator().manual_seed(batch))
    theta = rows(LANES, at + outputs * inputs + outputs)
    for compute in (value_and_gradients, product):
        together = compute(x, theta, at, outputs)
        for lane in (0, 1, 7, LANES - 1):
            only = slice(lane, lane + 1)
            alone = compute(x[only].clone(), rows(1, theta.shape[1], theta[only]), at, outputs)
            for a, b in zip(together, alone, strict=True):
                assert torch.equal(a[lane], b[0])


@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(5, 3, 4), (1, 7, 2), (6, 1, 5), (4, 5, 1), (16, 16, 16)])
def test_linear_is_torchs_with_both_derivatives(batch: int, inputs: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, inputs), (outputs, inputs), (outputs,)]
    args = [torch.randn(*s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.allclose(layers.linear(*args), torch.nn.functional.linear(*args), atol=1e-13)
    assert torch.autograd.gradcheck(layers.linear, args)
    assert torch.autograd.gradgradcheck(layers.linear, args)
