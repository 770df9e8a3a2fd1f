"""Initialization by learning: what is learned, what stays as drawn, and what it is charged."""

from __future__ import annotations

import pytest
import torch

from problems import problem
from suite.initializers import NotApplicable, initializer
from suite.initializers.learning import activations
from suite.initializers.spending import spending

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


def test_transfer_copies_the_first_layers_and_no_others():
    on = made("digits_deep_mlp(depth=5, width=16)")
    source = "digits_deep_mlp(depth=3, width=16)"
    pieces, spent = drawn(f"transfer({source}, layers=2, steps=50)", on)
    plain, _ = drawn("default", on)
    alike = {name.partition(".")[0] for name in pieces if torch.equal(pieces[name], plain[name])}
    assert alike == {"layer3", "layer4", "layer5"} and spent.counts["steps"] == 50
    with pytest.raises(NotApplicable, match="the first 3 layers of digits_deep_mlp have shapes"):
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


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("place", PLACES)
def test_rehearsed_everywhere_they_apply_or_say_why_not(spec, place):
    on = made(place)
    try:
        pieces, spent = drawn(spec, on, rehearsed=True)
    except NotApplicable as error:
        reason = str(error)
        assert on.name in reason
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
