"""Starts with a structure: orthogonal, sparse, identity, random walks, and the negative controls."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from problems import Data, Problem, problem
from problems.layers import conv2d
from problems.layout import Layout, conv, dense, recurrent
from problems.models import classifier, cnn_2c2d, mlp, regressor
from suite.initializers import NotApplicable, initializer
from suite.initializers.data_dependent import layers_of, look
from suite.initializers.spending import spending
from suite.lanes import lanes_of
from suite.optimizers import optimizer


def fake(*pieces, **fields):
    layout, data = Layout(pieces), Data((torch.zeros(4, 1),))
    return Problem("fake", layout, lambda pieces, batch: batch[0], lambda out, batch: out.sum(), data, **fields)


def drawn(spec, made, seed=0):
    return made.layout.split(initializer.build(initializer.bind(spec))(made, torch.Generator().manual_seed(seed)))


def small_side_gram(matrix):
    matrix = matrix.flatten(1).double()
    return matrix.T @ matrix if len(matrix) >= matrix.shape[1] else matrix @ matrix.T


@given(some.integers(1, 40), some.integers(1, 40), some.floats(0.1, 5.0))
def test_orthogonal_layers_keep_lengths(outputs, inputs, gain):
    (weight,) = drawn(f"orthogonal(gain={gain})", fake(*dense("layer", inputs, outputs, None))).values()
    gram = small_side_gram(weight)
    assert torch.allclose(
        gram, gain**2 * torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-6 * max(1, gain**2)
    )


@pytest.mark.parametrize("spec", ["orthogonal(gain=1.4)", "delta_orthogonal(gain=1.4)"])
def test_orthogonal_in_every_layer(spec):
    made = fake(
        *dense("wide", 300, 200),
        *dense("high", 200, 300),
        *conv("conv", 16, 32, 5),
        *recurrent("lstm", 40, 64, [0.0] * 4),
    )
    for name, weight in drawn(spec, made).items():
        for matrix in weight.chunk(made.layout.named(name).gates) if weight.dim() > 1 else ():
            gram = small_side_gram(matrix[:, :, 2, 2] if spec.startswith("delta") and matrix.dim() == 4 else matrix)
            torch.testing.assert_close(gram, 1.96 * torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-6)


def test_orthogonal_matrices_are_uniform():
    """The trace of a uniformly drawn orthogonal matrix has mean 0 and variance 1 (Diaconis & Shahshahani 1994)."""
    made = fake(*dense("layer", 5, 5, None))
    traces = torch.tensor([float(drawn("orthogonal", made, seed)["layer.weight"].trace()) for seed in range(2000)])
    assert abs(float(traces.mean())) < 0.1 and float(traces.var()) == pytest.approx(1, abs=0.15)


def test_a_delta_orthogonal_convolution_keeps_the_length_of_an_image():
    kernel = drawn("delta_orthogonal(gain=1.5)", fake(*conv("conv", 8, 16, 3)))["conv.weight"].double()
    x = torch.randn(2, 8, 7, 7, dtype=torch.float64)
    assert float(conv2d(x, kernel, padding=1).norm() / x.norm()) == pytest.approx(1.5, abs=1e-6)


def test_delta_orthogonal_says_where_it_cannot_be():
    with pytest.raises(NotApplicable, match="fake has no convolutions"):
        drawn("delta_orthogonal", fake(*dense("layer", 3, 3)))
    with pytest.raises(NotApplicable, match=r"conv.weight of fake has more inputs \(8\) than outputs \(4\)"):
        drawn("delta_orthogonal", fake(*conv("conv", 8, 4, 3)))


@given(some.integers(1, 30), some.integers(1, 50))
def test_sparse_leaves_exactly_k_inputs_of_each_unit(k, inputs):
    made = fake(*dense("layer", inputs, 7), *conv("conv", 3, 5, 3))
    pieces = drawn(f"sparse(k={k}, std=0.5)", made)
    assert ((pieces["layer.weight"] != 0).sum(1) == min(k, inputs)).all()
    assert ((pieces["conv.weight"].flatten(1) != 0).sum(1) == min(k, 27)).all()


def test_sparse_draws_inputs_evenly_and_weights_from_the_normal():
    weight = drawn("sparse(k=15, std=0.5)", fake(*dense("layer", 100, 4000)))["layer.weight"]
    taken = (weight != 0).sum(0)
    assert taken.float().mean() == 600 and float(taken.float().std()) == pytest.approx(
        math.sqrt(4000 * 0.15 * 0.85), rel=0.25
    )
    assert float(weight[weight != 0].std()) == pytest.approx(0.5, rel=0.02)


def test_identity_keeps_the_state_of_every_gate():
    made = problem.build(problem.bind("adding_lstm(length=8, sequences=64)"))
    pieces = drawn("identity(scale=0.5)", made)
    assert all(torch.equal(gate, 0.5 * torch.eye(32)) for gate in pieces["lstm1.hidden"].chunk(4))
    assert pieces["lstm1.bias"].view(4, 32)[:, 0].tolist() == [0, 1, 0, 0]
    with pytest.raises(NotApplicable, match="no recurrent layers"):
        drawn("identity", fake(*dense("layer", 3, 3)))


# signals through many layers -------------------------------------------------------------


def deep(depth, width, activation=None):
    """A net of equal layers on inputs that are white, and whose gradients at the outputs are."""
    x = math.sqrt(width) * torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(5)))[0]
    return regressor("deep", mlp([width] * (depth + 1), activation), (Data((x, x)), None, None))


def flow(made, spec, seed=0):
    """The mean square [layers] of every layer's sums, and of the gradients for them from the last to the first."""
    sums = []

    def between(name, x):
        sums.append(x)
        return x

    pieces = {name: piece.requires_grad_() for name, piece in drawn(spec, made, seed).items()}
    outputs = made.predict(pieces, made.train.tensors, between)
    gradients = torch.autograd.grad(outputs, sums, made.train.tensors[0])
    return tuple(torch.stack([t.detach().square().mean() for t in of]) for of in ([*sums, outputs], gradients[::-1]))


@pytest.mark.parametrize("spec", ["orthogonal", "glorot_uniform", "glorot_normal"])
def test_signals_keep_their_variance_through_fifty_linear_layers(spec):
    """Of a single draw the variance wanders by L/n or so after L layers of n units: 16 draws tell its mean to 5 %."""
    draws, width = (1, 64) if spec == "orthogonal" else (16, 300)
    made = deep(50, width)
    measured = [flow(made, spec, seed) for seed in range(draws)]
    for what, variances in zip(("activations", "gradients"), zip(*measured, strict=True), strict=True):
        mean = torch.stack(variances).mean(0)
        print(f"{spec}: variance of {what} after 1, 10, 25, 49 layers:", *(f"{mean[i]:.3f}" for i in (0, 9, 24, 48)))
        assert (mean - 1).abs().max() < (1e-4 if spec == "orthogonal" else 0.1)


@pytest.mark.parametrize("activation", ["relu", None])
def test_a_random_walk_has_no_drift(activation):
    """The mean over draws of log(gradient's length) after a hundred layers; without the correction it drifts."""
    made = deep(100, 16, activation)
    walked = torch.stack([flow(made, "random_walk", seed)[1][-1].log() for seed in range(40)])
    assert abs(float(walked.mean())) < 3 * float(walked.std()) / math.sqrt(len(walked))
    plain = torch.stack(
        [flow(made, f"random_walk(gain={2**0.5 if activation else 1})", s)[1][-1].log() for s in range(40)]
    )
    assert float(plain.mean()) < float(walked.mean()) - 4


def test_random_walk_says_where_it_cannot_be():
    with pytest.raises(NotApplicable, match="recurrent"):
        drawn("random_walk", problem.build(problem.bind("adding_rnn(length=8, sequences=64)")))
    made = problem.build(problem.bind("digits_denoising"))
    with pytest.raises(NotApplicable, match=r"layer1\.weight of digits_denoising is drawn with a length of 0"):
        drawn("random_walk(initializer=zeros)", made)
    assert float(drawn("random_walk(gain=2)", made)["layer1.weight"].std()) == pytest.approx(2 / 8, rel=0.05)


@pytest.mark.parametrize("inner", [None, "orthogonal"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_a_walk_whose_gain_is_not_known_is_measured(activation, inner):
    """The gradient for the sums of the first hidden layer is as long as that for those of the last."""
    made = deep(60, 32, activation)
    with spending() as spent:
        pieces = drawn(f"random_walk(initializer={inner})", made)
    known = inner is None and activation == "relu"
    assert (spent.counts["gradient"] > 0) is not known
    if not known:
        _, gradients = look(made, pieces, made.train.tensors, layers_of(made))
        assert float(gradients[0].norm() / gradients[-2].norm()) == pytest.approx(1, abs=0.06)
    g = {"relu": (1.4, 1.6), "tanh": (1.0, 1.3), "sigmoid": (4.0, 20.0)}[activation]
    assert g[0] < float(pieces["layer30.weight"].norm()) / math.sqrt(32) < g[1]


def test_a_gain_is_found_though_signals_leave_the_numbers_there_are_on_both_sides_of_it():
    """Through 700 layers 1.4 against √2 is a thousandth, and 1 no more than float32 can tell from 0."""
    made = deep(700, 32, "relu")
    pieces = drawn("random_walk(initializer=orthogonal)", made)
    _, gradients = look(made, pieces, made.train.tensors, layers_of(made))
    assert float(gradients[0].norm() / gradients[-2].norm()) == pytest.approx(1, abs=0.06)


def test_where_no_gain_brings_a_balance_a_walk_says_so():
    with pytest.raises(NotApplicable, match="in balance at no gain"):  # all units are dead after so many layers of 8
        drawn("random_walk(initializer=orthogonal)", deep(700, 8, "relu"))


def test_a_walk_scales_what_another_initializer_draws():
    made = deep(4, 24, "tanh")
    pieces = drawn("random_walk(initializer=orthogonal, gain=1.5)", made)
    assert torch.allclose(pieces["layer2.weight"].T @ pieces["layer2.weight"], 2.25 * torch.eye(24), atol=1e-5)
    kernel = drawn("random_walk(initializer=glorot_uniform, gain=2)", fake(*conv("layer", 3, 8, 5)))["layer.weight"]
    assert float(kernel.norm()) == pytest.approx(2 * math.sqrt(8), rel=1e-5)  # as Gaussian ones of variance g²/m
    assert float(kernel.abs().max()) == pytest.approx(2 * math.sqrt(3 / 75), rel=0.02)


# negative controls -----------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["symmetric", "constant(value=0.1)", "zeros"])
@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_without_asymmetry_units_stay_alike(spec, net):
    generator = torch.Generator().manual_seed(0)
    side = {"mlp": (12,), "cnn": (1, 8, 8)}[net]
    data = Data((torch.randn(64, *side, generator=generator), torch.randint(3, (64,), generator=generator)))
    model = mlp((12, 8, 8, 3)) if net == "mlp" else cnn_2c2d(1, 8, 3)
    made = classifier("small", model, (data, None, None))
    theta = torch.cat([p.flatten() for p in drawn(spec, made).values()])
    lanes = lanes_of(made, [optimizer.bind("adam(lr=0.01)")], theta[None], [0], 16, "reshuffle")
    for step in range(10):
        lanes.step(step)
    pieces = made.layout.split(lanes.theta[0])
    assert float(lanes.theta[0].std()) > 0 and not torch.equal(lanes.theta[0], theta)
    for name in made.hidden:
        units = pieces[f"{name}.weight"]
        torch.testing.assert_close(units, units[:1].expand_as(units), rtol=0, atol=1e-6)
