"""Initialization by learning: what is learned, what stays as drawn, and what it is charged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from problems import Data, problem
from problems.data.splits import Splits
from problems.layout import Layout
from problems.models import classifier, cnn_2c2d
from problems.starts import he_normal, lecun_uniform, start
from problems.ways import trunk
from suite.initializers import NotApplicable, initializer
from suite.initializers.learned import denoising
from suite.initializers.learning import activations, trained
from suite.initializers.spending import spending
from suite.optimizers import optimizer
from suite.runner import train_group
from suite.sampler import Sampler
from suite.spec import Run

NETS = Path(__file__).parents[1] / "problems/transforms/nets.py"

DEEP = "digits_deep_mlp(depth=4)"


def made(spec):
    return problem.build(problem.bind(spec))


def drawn(spec, on, seed=0, rehearsed=False):
    with spending(rehearsed) as spent:
        theta = initializer.build(initializer.bind(spec))(on, torch.Generator().manual_seed(seed))
    return on.layout.split(theta), spent


def linear_probe(on, pieces, layer):
    """The mean squared error of the best linear map from a layer's activations to the inputs."""
    x = on.train.tensors[0]
    h = activations(on, pieces, on.train.tensors, layer)
    h = torch.cat([h, torch.ones(len(h), 1)], 1)
    return float((h @ torch.linalg.lstsq(h, x, driver="gelsd").solution - x).square().sum(1).mean())


def test_pretrained_layers_keep_more_of_the_inputs():
    on = made(DEEP)
    plain, _ = drawn("default", on)
    pieces, spent = drawn("pretraining(steps=300)", on)
    assert linear_probe(on, pieces, "layer3") < 0.8 * linear_probe(on, plain, "layer3")
    assert torch.equal(pieces["layer4.weight"], plain["layer4.weight"])  # no labels
    assert spent.summary()["start_steps"] == 900 == spent.summary()["start_gradient_calls"]
    assert spent.summary()["start_seconds"] > 0


def test_greedy_supervised_layers_solve_the_task_one_by_one():
    on = made(DEEP)
    pieces, spent = drawn("greedy_supervised(steps=300)", on)
    found = on.measure(on.layout.join(pieces), on.train.tensors)
    assert (
        float(found["accuracy"]) > 0.85
    )  # without a step of training the whole net: the last layer's own outputs are the net's
    assert spent.counts["steps"] == 900


def images():
    """A small 2c2d on the digits as images, whose layers pool."""
    digits = made("digits_mlp")
    train, valid, test = (
        Data((split.tensors[0].view(-1, 1, 8, 8), split.tensors[1])) for split in digits.splits.values()
    )
    model = cnn_2c2d(1, 8, 10)
    begin = start(model.layout, he_normal)
    return classifier("images", model, Splits(train, valid, test), start=begin, batch_size=32)


def reconstruction(on, theta, layer, before):
    """The mean loss of a layer's denoising autoencoder with the best decoder that 300 steps find."""
    small = denoising(on, theta, layer, before, 0.25)
    only_decoder = [piece for piece in small.layout if piece.name.startswith("decoder")]
    fixed = {name: value for name, value in on.layout.split(theta).items() if name in small.layout.spans}
    part = dataclasses.replace(small, layout=Layout(tuple(only_decoder)), fixed={**small.fixed, **fixed})
    generator = torch.Generator().manual_seed(1)
    begin = start(part.layout, lecun_uniform)(generator)
    learned = trained(part, optimizer.bind("adam(lr=0.003)"), begin, 300, generator)
    return float(part.loss(learned, part.train.tensors))


def test_convolutional_denoising_autoencoders_learn_layer_by_layer():
    on = images()
    pieces, spent = drawn("pretraining(steps=200)", on)
    plain, _ = drawn("default", on)
    theta = on.layout.join(pieces)
    for before, layer in (("", "conv1"), ("conv1", "conv2")):
        mixed = {**pieces, **{name: plain[name] for name in plain if name.startswith(layer)}}
        as_drawn = reconstruction(on, on.layout.join(mixed), layer, before)
        assert reconstruction(on, theta, layer, before) < 0.96 * as_drawn
    assert torch.equal(pieces["layer2.weight"], plain["layer2.weight"])
    assert spent.summary()["start_steps"] == 600 == spent.summary()["start_gradient_calls"]


def test_the_loss_of_a_convolutional_denoising_autoencoder_falls():
    on = images()
    small = denoising(on, on.start(torch.Generator().manual_seed(0)), "conv1", "", 0.25)
    begin = start(small.layout, lecun_uniform)(torch.Generator().manual_seed(0))
    ended = trained(small, optimizer.bind("adam(lr=0.003)"), begin, 200, torch.Generator().manual_seed(0))
    sampler = Sampler(small.train, [0], 32, "reshuffle", course=small.course)
    sampler.fill(0)
    batch = tuple(t[0] for t in sampler.batch)
    assert 0.2 < float((batch[-1] == 0).float().mean()) < 0.3
    assert float(small.loss(ended, batch)) < 0.2 * float(small.loss(begin, batch))


def test_a_denoising_loss_is_that_of_a_net_written_out():
    on = images().to("cpu", torch.float64)
    small = denoising(on, on.start(torch.Generator().manual_seed(0)), "conv2", "conv1", 0.25)
    w = small.layout.split(torch.randn(small.size, generator=torch.Generator().manual_seed(1)).double())
    assert set(w) == {"conv2.weight", "conv2.bias", "decoder.weight", "decoder.bias"}
    x, y = (t[:7] for t in small.train.tensors)
    below = small.fixed
    clean = torch.relu(max_pool2d(conv2d(x, below["conv1.weight"], below["conv1.bias"], padding=2), 2))
    mask = (torch.rand(clean.shape, generator=torch.Generator().manual_seed(2)) > 0.5).double()
    coded = torch.relu(max_pool2d(conv2d(clean * mask, w["conv2.weight"], w["conv2.bias"], padding=2), 2))
    back = conv2d(
        coded.repeat_interleave(2, 2).repeat_interleave(2, 3), w["decoder.weight"], w["decoder.bias"], padding=2
    )
    expected = float((back - clean).square().sum((1, 2, 3)).mean())
    assert float(small.loss_of(w, (x, y, mask))) == pytest.approx(expected, rel=1e-12)


def test_greedy_supervised_convolutions_solve_the_task_one_by_one():
    on = images()
    pieces, spent = drawn("greedy_supervised(steps=100)", on)
    assert float(on.measure(on.layout.join(pieces), on.valid.tensors)["accuracy"]) > 0.85
    assert spent.counts["steps"] == 300


@pytest.mark.parametrize(
    "net", ["residual", "residual(skip=False)", "stacked_lstm(carry=True)", "stacked_rnn", "branched"]
)
@pytest.mark.parametrize("spec", ["pretraining(steps=2)", "greedy_supervised(steps=2)"])
def test_every_kind_of_net_is_trained_layer_by_layer_or_says_why_not(net, spec):
    on = made(f"{NETS}:{net}")
    if spec.startswith("pretraining") and net in ("residual", "branched"):
        with pytest.raises(NotApplicable, match=r"there are ways around (stem|second) of"):
            drawn(spec, on)
        return
    (pieces, spent), (plain, _) = drawn(spec, on), drawn("default", on)
    layers = on.units if spec.startswith("pretraining") else trunk(on)
    assert spent.counts["steps"] == 2 * len(layers)
    moved = {name for name in pieces if not torch.equal(pieces[name], plain[name])}
    assert {on.layout.weight_of(layer).name for layer in layers} <= moved
    assert (on.layout[-2].name in moved) is spec.startswith("greedy")  # the weight of the outputs


def test_residual_branches_are_trained_as_a_whole():
    on = made(f"{NETS}:residual")
    (pieces, _), (plain, _) = drawn("greedy_supervised(steps=2)", on), drawn("default", on)
    assert all(not torch.equal(pieces[name], plain[name]) for name in pieces)


def test_hints_go_from_images_to_images_and_from_steps_to_steps():
    lstm, conv = made(f"{NETS}:stacked_lstm"), made(f"{NETS}:residual")
    for on, teacher in ((lstm, "stacked_lstm(carry=True)"), (conv, "residual(skip=False)")):
        pieces, spent = drawn(f"hints(teacher={NETS}:{teacher}, teacher_steps=2, steps=2, guided=1, hint=1)", on)
        plain, _ = drawn("default", on)
        moved = {name.rpartition(".")[0] for name in pieces if not torch.equal(pieces[name], plain[name])}
        assert moved == {on.units[0]} and spent.counts["steps"] == 4


def test_what_a_start_of_convolutions_spent_is_stored():
    run = Run.make(f"{NETS}:convolutional", "sgd(lr=0.01)", "pretraining(steps=3)", steps=2, batch_size=8)
    results = []
    train_group([run], results.append)
    assert results[0].status == "done", results[0].detail
    assert results[0].summary["start_steps"] == 9 == results[0].summary["start_gradient_calls"]


def test_transfer_copies_the_first_layers_and_no_others():
    on = made("digits_deep_mlp(depth=5, width=16)")
    source = "digits_deep_mlp(depth=3, width=16)"
    pieces, spent = drawn(f"transfer({source}, layers=2, steps=50)", on)
    plain, _ = drawn("default", on)
    alike = {name.partition(".")[0] for name in pieces if torch.equal(pieces[name], plain[name])}
    assert alike == {"layer3", "layer4", "layer5"} and spent.counts["steps"] == 50
    with pytest.raises(
        NotApplicable, match=r"the first 3 of digits_deep_mlp's layers have shapes .* take fewer layers"
    ):
        drawn(f"transfer({source}, layers=3)", on)


def test_hints_teach_the_lower_half():
    on, teacher = made("digits_deep_mlp(depth=6, width=24)"), "digits_mlp(hidden=(64,))"
    pieces, spent = drawn(f"hints({teacher}, teacher_steps=200, steps=300)", on)
    plain, _ = drawn("default", on)
    alike = {name.partition(".")[0] for name in pieces if torch.equal(pieces[name], plain[name])}
    assert alike == {"layer4", "layer5", "layer6"} and spent.counts["steps"] == 500
    assert linear_probe(on, pieces, "layer3") < linear_probe(on, plain, "layer3")
    with pytest.raises(NotApplicable, match="5 hidden layers, not 9"):
        drawn(f"hints({teacher}, guided=9)", on, rehearsed=True)


SPECS = ["pretraining", "greedy_supervised", f"transfer({DEEP})", "hints(digits_mlp)"]
PLACES = ["digits_mlp", "digits_denoising", "linear_net", "adding_rnn(length=8, sequences=64)", "rosenbrock"]


TRANSFORMS = [entry.name for entry in problem if entry.wraps]
CHANGED = ("auxiliary_heads", "batch_norm", "skip_connections")  # have further pieces


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "spec", ["pretraining(steps=2)", "greedy_supervised(steps=2)", "lsuv(default)", "biased(default, marginal)"]
)
def test_starts_are_those_of_the_net_whatever_training_adds_to_it(transform, spec):
    on = made(f"{transform}({NETS}:perceptron)")
    if (transform, spec) == ("batch_norm", "lsuv(default)"):
        with pytest.raises(NotApplicable, match="normalizes its sums at every step"):
            drawn(spec, on)
        return
    (pieces, spent), (plain, _) = drawn(spec, on), drawn("default", on)
    assert spent.counts["steps"] == (6 if "steps" in spec else 0)
    moved = {name for name in pieces if not torch.equal(pieces[name], plain[name])}
    assert moved and not any(".head." in name for name in moved)
    if transform not in CHANGED:
        alone, _ = drawn(spec, made(f"{NETS}:perceptron"))
        assert all(torch.equal(pieces[name], alone[name]) for name in alone)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("place", PLACES)
def test_rehearsed_everywhere_they_apply_or_say_why_not(spec, place):
    on = made(place)
    try:
        pieces, spent = drawn(spec, on, rehearsed=True)
    except NotApplicable as error:
        reason = str(error)
        assert on.name in reason and ";" in reason  # what to do
        return
    assert not spent.counts and all(piece.isfinite().all() for piece in pieces.values())


@pytest.mark.parametrize("spec", ["pretraining(steps=20)", "hints(digits_mlp, teacher_steps=20, steps=20)"])
def test_the_seed_decides(spec):
    on = made("digits_mlp")
    one, again, other = (on.layout.join(drawn(spec, on, seed)[0]) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_training_that_fails_says_so():
    with pytest.raises(NotApplicable, match=r"training layer1 of digits_mlp with sgd failed"):
        drawn("pretraining(optimizer=sgd(lr=1e6), steps=50)", made("digits_mlp"))
