"""Layers of PyTorch that curvature is not to be had of as they are, against differences of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from analysis.objective import CurvatureError, of_function, of_module
from analysis.operators import gauss_newton, hessian

torch.set_num_threads(1)


def after(*layers):
    return nn.Sequential(*layers, nn.Tanh(), nn.Linear(8, 4))


def embedded(**options):
    return nn.Sequential(nn.Embedding(12, 2, **options), nn.Flatten(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))


MODULES = {
    "weight norm": lambda: after(parametrizations.weight_norm(nn.Linear(5, 8))),
    "weight norm by columns": lambda: after(parametrizations.weight_norm(nn.Linear(5, 8), dim=1)),
    "weight norm of old": lambda: after(weight_norm(nn.Linear(5, 8))),
    "hardsigmoid": lambda: after(nn.Linear(5, 8), nn.Hardsigmoid()),
    "max_norm": lambda: embedded(max_norm=0.8),
    "scale_grad_by_freq": lambda: embedded(scale_grad_by_freq=True),
    "sparse": lambda: embedded(sparse=True),
}


def drawn(name):
    torch.manual_seed(0)
    module = MODULES[name]().double().eval()
    x = torch.randint(12, (9, 4)) if isinstance(module[0], nn.Embedding) else torch.randn(9, 5).double()
    return module, (x, torch.arange(9) % 4)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("name", MODULES)
def test_gradients_are_those_of_the_loss_and_products_theirs(name):
    module, data = drawn(name)
    before = {key: t.clone() for key, t in module.state_dict().items()}
    made = of_module(module, nn.CrossEntropyLoss(), data)
    matrix = hessian(made)
    v = torch.randn(made.size, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-5
    up, down = made.at(made.theta + step * v), made.at(made.theta - step * v)
    assert float(made.gradient() @ v) == pytest.approx((up.value() - down.value()) / (2 * step), rel=1e-7)
    torch.testing.assert_close(matrix @ v, (up.gradient() - down.gradient()) / (2 * step), rtol=1e-5, atol=1e-7)
    matrix.dense()
    assert all(torch.equal(t, before[key]) for key, t in module.state_dict().items())


def test_a_function_may_attend():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 4, 8, generator=generator).double(), torch.arange(3) % 2

    def loss(theta, batch):
        q, k, v = (batch[0] @ theta).chunk(3, -1)
        return nn.functional.cross_entropy(
            nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[:, -1], batch[1]
        )

    made = of_function(loss, torch.randn(8, 24, generator=generator).double(), (x, y))
    v = torch.ones(made.size).double()
    change = (made.at(made.theta + 1e-5 * v).gradient() - made.at(made.theta - 1e-5 * v).gradient()) / 2e-5
    torch.testing.assert_close(hessian(made) @ v, change, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_module_runs_uncompiled_with_a_note(whole):
    module, data = drawn("hardsigmoid")
    truth = hessian(of_module(module, nn.CrossEntropyLoss(), data)).dense()
    if whole:
        module = torch.compile(module, backend="aot_eager")
    else:
        module[0].compile(backend="aot_eager")
    made = of_module(module, nn.CrossEntropyLoss(), data)
    assert made.notes == ("compiled layers run uncompiled, since torch.compile does not differentiate twice",)
    torch.testing.assert_close(hessian(made).dense(), truth)


def test_a_layer_without_second_derivative_is_told():
    module = nn.Sequential(nn.EmbeddingBag(12, 4), nn.Tanh(), nn.Linear(4, 3))
    made = of_module(module, nn.CrossEntropyLoss(), (torch.randint(12, (6, 5)), torch.arange(6) % 3))
    with pytest.raises(CurvatureError, match=r"differentiate the loss twice: .*_embedding_bag_backward"):
        hessian(made).dense()


class Skewed(torch.autograd.Function):
    """x² whose gradient's own derivative is wrong."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * (x + (x - x.detach()).cumsum(0))


def test_a_wrong_second_derivative_is_not_made_symmetric_silently():
    with pytest.raises(CurvatureError, match=r"not symmetric, .* torch.autograd.gradgradcheck"):
        hessian(of_function(lambda t: Skewed.apply(t).sum(), torch.ones(4).double())).dense()


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, spectral_norm])
def test_a_spectral_norm_that_goes_on_iterating_is_refused(norm):
    module = after(norm(nn.Linear(5, 8))).train()
    data = torch.randn(9, 5), torch.arange(9) % 4
    with pytest.raises(CurvatureError, match=r"iterating .* call module.eval\(\) first"):
        of_module(module, nn.CrossEntropyLoss(), data)
    hessian(of_module(module.eval(), nn.CrossEntropyLoss(), data))


def test_buffers_stay_as_they_were():
    module = nn.Sequential(
        nn.Unflatten(1, (1, 5)),
        nn.InstanceNorm1d(1, affine=True, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(5, 4),
    )
    before = {name: b.clone() for name, b in module.named_buffers()}
    hessian(of_module(module, nn.CrossEntropyLoss(), (torch.randn(9, 5), torch.arange(9) % 4))).dense()
    assert module.training
    assert all(torch.equal(b, before[name]) for name, b in module.named_buffers())


def test_outputs_that_are_no_tensor_have_a_hessian_alone():
    class Two(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    data = torch.randn(9, 5), torch.arange(9) % 4
    made = of_module(Two(5, 4), lambda outputs, y: nn.functional.cross_entropy(outputs[0], y), data)
    hessian(made).dense()
    with pytest.raises(CurvatureError, match="a model that returns one tensor, got tuple; wrap it"):
        gauss_newton(made)
