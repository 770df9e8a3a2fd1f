"""Claims of section 8.4: those that train little hold and their controls do not, and what experiments measure."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from problems import problem
from suite.claims import claim
from suite.claims.biases import _entropy
from suite.claims.carrying import carry_out
from suite.claims.lab import Lab, arm
from suite.claims.learned_starts import _spreads, arrival
from suite.claims.starts import _alike, _apart, _factor, drawn, looked

QUICK = [
    "normalized_keeps_variances(problem='linear_net(depth=6, hidden=128)', seeds=8)",
    "sparse_sums(seeds=8)",
    "symmetry_must_be_broken(starts='symmetric', steps=100, seeds=8)",
    "relu_biases_wake_units(seeds=12)",
    "criteria_do_not_last(seeds=8)",
]


@pytest.mark.parametrize("text", QUICK)
def test_it_holds_and_its_control_does_not(text, tmp_path) -> None:
    found = carry_out(claim.bind(text), str(tmp_path), controls=True)
    assert found["verdict"] == "holds", found
    assert found["control"]["verdict"] != "holds"


def test_an_experiment_looks_at_the_start_that_a_run_begins_with(tmp_path) -> None:
    runs = Lab(tmp_path).train({"": arm("digits_mlp", "sgd", "sparse(k=3)", steps=1, batch_size=0)}, 2)[""]
    for seed, course in enumerate(runs.course("train_loss")):
        made, pieces = drawn("digits_mlp", "sparse(k=3)", seed)
        assert float(made.loss_of(pieces, made.train.tensors)) == pytest.approx(course[0][1], rel=1e-5)


def test_sums_are_those_of_the_layers() -> None:
    sums, gradients = looked("digits_mlp", "he_normal", 3, examples=1197)
    made, pieces = drawn("digits_mlp", "he_normal", 3)
    first = made.train.tensors[0] @ pieces["layer1.weight"].T + pieces["layer1.bias"]
    assert float(sums[0].std()) == pytest.approx(float(first.std()), rel=1e-5)
    assert [t.shape for t in sums] == [t.shape for t in gradients] == [(1197, 32), (1197, 10)]


def test_units_that_are_alike_lie_no_distance_apart() -> None:
    assert _apart("digits_mlp", "sgd(lr=0.1)", "constant(0.1)", 5, 0) == 0
    assert _apart("digits_mlp", "sgd(lr=0.1)", "default", 5, 0) > 1


def test_correlations_against_numpys() -> None:
    sums = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    of_pairs = np.abs(np.corrcoef(sums.numpy().T)[np.triu_indices(4, 1)])
    assert _alike(sums) == pytest.approx(of_pairs.mean(), rel=1e-5)


def test_the_factor_from_layer_to_layer_is_a_geometric_mean() -> None:
    assert _factor([torch.tensor(v) for v in (8.0, 5.0, 2.0)]) == pytest.approx(0.5)


def test_the_entropy_of_labels_against_scipys(tmp_path) -> None:
    labels = problem.build(problem.bind("copy_rnn")).train.tensors[-1].flatten().numpy()
    assert _entropy("copy_rnn") == pytest.approx(scipy.stats.entropy(np.bincount(labels)))
    found = carry_out(
        claim.bind("output_biases_from_marginals(problem=linear_regression, steps=1, seeds=1)"), str(tmp_path)
    )
    assert found["verdict"] == "failed" and "linear_regression has no labels" in found["problem"]


def test_steps_of_a_start_are_counted_if_they_are_asked_for(tmp_path) -> None:
    asked = arm("digits_mlp", "adam(lr=0.01)", "pretraining(steps=7)", steps=200, eval_every=50)
    runs = Lab(tmp_path).train({"": asked}, 2)[""]
    assert arrival(runs, counted=False) == runs.steps_to_target()
    assert arrival(runs, counted=True) == [steps + 7 for steps in runs.steps_to_target()]


def test_a_spread_is_that_of_the_layers(tmp_path) -> None:
    asked = arm("digits_mlp(hidden=(8, 8))", "sgd", steps=3, batch_size=0, probes="activations(every=2)")
    [result] = Lab(tmp_path).train({"": asked}, 1)[""]
    made, pieces = drawn("digits_mlp(hidden=(8, 8))", "default", 0)
    first = made.train.tensors[0] @ pieces["layer1.weight"].T + pieces["layer1.bias"]
    second = first.relu() @ pieces["layer2.weight"].T + pieces["layer2.bias"]
    stds = [float(t.std(correction=0)) for t in (first, second)]
    assert _spreads(result)[0] == pytest.approx(max(stds) / min(stds), rel=1e-5)


def test_gates_begin_at_the_biases_that_are_compared(tmp_path) -> None:
    """Of one bias in both arms the ratio is 1 for every seed; of two it is that of runs which are made apart."""
    small = "adding_lstm(length=4, hidden=2, sequences=64)"
    same, other = (
        carry_out(
            claim.bind(f"gates_begin_open(bias={bias}, problem='{small}', optimizer='sgd(lr=0.1)', steps=5, seeds=3)"),
            str(tmp_path),
        )
        for bias in (0, 2)
    )
    assert same["observations"][0]["values"] == [1, 1, 1]
    arms = {bias: arm(small.replace(")", f", forget_bias={bias})"), "sgd(lr=0.1)", steps=5) for bias in (2, 0)}
    ours, zero = (runs.final("test_loss") for runs in Lab(tmp_path / "apart").train(arms, 3).values())
    assert other["observations"][0]["values"] == pytest.approx([a / b for a, b in zip(ours, zero, strict=True)])
    made = problem.build(problem.bind(arms[2].problem))
    begun = made.layout.split(made.start(torch.Generator().manual_seed(0)))
    assert any(bool((piece == 2).any()) for name, piece in begun.items() if name.startswith("lstm"))
