"""Starts that look at a minibatch, and what they are charged."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from problems import Data, Problem, problem
from problems.models import classifier, resnet
from suite.initializers import NotApplicable, initializer
from suite.initializers.data_dependent import layers_of, look
from suite.initializers.spending import spending

NETS = Path(__file__).parents[1] / "problems/transforms/nets.py"
OTHERS = [
    f"{NETS}:{net}" for net in ("residual", "stacked_lstm", "stacked_lstm(carry=True)", "stacked_rnn", "branched")
]
DEEP = ["digits_mlp", "digits_deep_mlp(depth=19)", "digits_denoising", "linear_net(depth=30)", *OTHERS]


def made(spec):
    return problem.build(problem.bind(spec))


def drawn(spec, on, seed=0):
    return on.layout.split(initializer.build(initializer.bind(spec))(on, torch.Generator().manual_seed(seed)))


def whole(on, pieces):
    """The standard deviations of sums and of gradients over the whole training split."""
    found = look(on, pieces, on.train.tensors, layers_of(on))
    return tuple([float(t.std()) for t in of] for of in found)


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("inner", ["orthogonal", "gaussian(std=0.3)"])
def test_lsuv_gives_every_layer_unit_variance(name, inner):
    on = made(name)
    with spending() as spent:
        pieces = drawn(f"lsuv({inner}, tol=0.02, examples=10000)", on)
    assert [std**2 for std in whole(on, pieces)[0]] == pytest.approx([1] * len(layers_of(on)), abs=0.02)
    assert dict(spent.counts) == {"value": 1}
    plain = drawn(inner, on)
    for layer in layers_of(on):  # each is the draw times a number
        weight = on.layout.weight_of(layer).name
        ratio = pieces[weight] / plain[weight]
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-3, atol=0)


def test_lsuv_of_recurrent_layers_is_over_all_steps_and_leaves_their_own_matrices():
    on = made("adding_lstm(length=8, sequences=256)")
    pieces, plain = drawn("lsuv(gaussian(std=3), tol=0.01, examples=256)", on), drawn("gaussian(std=3)", on)
    x = on.train.tensors[0]
    sums = torch.nn.functional.linear(x, pieces["lstm1.input"], pieces["lstm1.bias"])
    assert float(sums.var()) == pytest.approx(1, abs=0.01)
    assert torch.equal(pieces["lstm1.hidden"], plain["lstm1.hidden"])
    assert float(on.outputs(pieces, on.train.tensors).var()) == pytest.approx(1, abs=0.01)
    assert layers_of(made("copy_rnn(delay=2, symbols=2, sequences=64)")) == ["rnn1", "layer1"]


def test_by_hand_recurrent_layers_come_within_the_band():
    on = made(f"{NETS}:stacked_rnn")
    before, after = (whole(on, drawn(spec, on))[0] for spec in ("gaussian(std=5)", "scaled_by_hand(gaussian(std=5))"))
    assert max(before) > 2 and all(0.5 <= std <= 2 for std in after)


def test_lsuv_of_ones_own_module():
    x, y = torch.randn(64, 1, 8, 8), torch.randint(3, (64,))
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    on = Problem.from_module(net, torch.nn.functional.cross_entropy, (x, y))
    assert whole(on, drawn("lsuv(tol=0.01)", on))[0] == pytest.approx([1, 1], abs=0.01)


@pytest.mark.parametrize("inner", ["gaussian(std=0.01)", "gaussian(std=1)", "lecun_uniform"])
def test_by_hand_all_activations_come_within_the_band_and_gradients_as_far_as_these_allow(inner):
    on = made("digits_deep_mlp(depth=19)")
    with spending() as spent:
        activations, gradients = whole(on, drawn(f"scaled_by_hand({inner}, examples=10000)", on))
    assert all(0.5 <= std <= 2 for std in activations)
    ratios = [a / b for a, b in pairwise(gradients)]
    before = whole(on, drawn(inner, on))
    assert not all(0.5 <= std <= 2 for std in before[0])
    assert all(0.4 < ratio < 2.5 for ratio in ratios)
    assert spent.counts["gradient"] >= 2


def test_by_hand_leaves_what_is_well_scaled():
    on = made("digits_deep_mlp(depth=5)")
    unit, again = drawn("lsuv(tol=0.01)", on), drawn("scaled_by_hand(lsuv(tol=0.01), low=0.2, high=5)", on)
    assert all(torch.equal(unit[name], again[name]) for name in unit)


def test_fixup_begins_residual_branches_at_zero():
    generator = torch.Generator().manual_seed(0)
    data = Data((torch.randn(8, 3, 32, 32, generator=generator), torch.randint(5, (8,), generator=generator)))
    on = classifier("small", resnet(5, 2, (4, 8)), (data, None, None))
    pieces, plain = drawn("fixup", on), drawn("he_normal", on)
    branches = [p.name.rpartition(".")[0] for p in on.layout if p.role == "scale"]
    for name in branches:  # L = 4 branches of m = 2 layers
        assert not pieces[f"{name}.conv2.weight"].any() and pieces[f"{name}.scale"].item() == 1
        torch.testing.assert_close(pieces[f"{name}.conv1.weight"], plain[f"{name}.conv1.weight"] / 2)
    assert float(on.loss(on.layout.join(pieces), data.tensors)) == pytest.approx(math.log(5), abs=1e-5)
    assert torch.equal(pieces["stem.weight"], plain["stem.weight"])


@pytest.mark.parametrize(
    ("spec", "on", "reason"),
    [
        ("lsuv", "digits_logistic", "digits_logistic has no hidden layers whose sums could be scaled"),
        ("lsuv", "batch_norm(digits_mlp)", "normalizes its sums at every step"),
        ("lsuv(zeros)", "digits_mlp", "variance of 0"),
        ("scaled_by_hand", "batch_norm(digits_mlp)", "normalizes its sums at every step"),
        ("fixup", "digits_mlp", "no residual branches of several layers"),
        ("fixup", "skip_connections(digits_deep_mlp)", "no residual branches of several layers"),
    ],
)
def test_where_one_makes_no_sense(spec, on, reason):
    with pytest.raises(NotApplicable, match=reason):
        drawn(spec, made(on))
