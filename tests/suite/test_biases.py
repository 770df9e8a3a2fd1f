"""Rules for biases: what they set, what they leave, and where they make no sense."""

from __future__ import annotations

import pytest
import torch

from problems import UsageError, problem
from suite.initializers import NotApplicable, bias, initializer


def made(spec):
    return problem.build(problem.bind(spec))


def drawn(spec, on):
    on = made(on) if isinstance(on, str) else on
    return on.layout.split(initializer.build(initializer.bind(spec))(on, torch.Generator().manual_seed(0)))


def entropy(labels):
    shares = torch.bincount(labels.flatten()).double() / labels.numel()
    return -float((shares[shares > 0] * shares[shares > 0].log()).sum())


@pytest.mark.parametrize("name", ["digits_mlp", "digits_logistic"])
def test_marginal_biases_make_the_initial_loss_the_entropy_of_the_labels(name):
    p = made(name)
    theta = p.layout.join(drawn("biased(zeros, marginal)", p))
    assert float(p.loss(theta, p.train.tensors)) == pytest.approx(entropy(p.train.tensors[1]), rel=1e-6)


def test_a_class_without_examples_counts_half_an_example():
    p = made("copy_lstm(delay=3, symbols=2, sequences=256)")  # one letter only marks the end and is never to be said
    pieces, labels = drawn("biased(zeros, marginal)", p), p.train.tensors[1]
    (missing,) = set(range(10)) - set(labels.unique().tolist())
    assert float(pieces["layer1.bias"][missing].exp()) == pytest.approx(0.5 / (labels.numel() + 0.5), rel=1e-4)
    loss = float(p.loss(p.layout.join(pieces), p.train.tensors))
    assert entropy(labels) < loss == pytest.approx(entropy(labels), abs=1e-3)


def test_marginal_biases_of_uneven_classes(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a,kind\n" + "\n".join(f"{i % 7},{(i % 10 > 5) + (i % 10 > 8)}" for i in range(200)))
    p = made(f"table_logistic(file='{file}')")
    theta = p.layout.join(drawn("biased(zeros, marginal)", p))
    assert float(p.loss(theta, p.train.tensors)) == pytest.approx(entropy(p.train.tensors[1]), rel=1e-6)


@pytest.mark.parametrize("name", ["linear_regression", "digits_denoising", "adding_lstm(length=8, sequences=256)"])
def test_marginal_biases_of_real_targets_are_their_means(name):
    p = made(name)
    theta = p.layout.join(drawn("biased(zeros, marginal)", p))
    target = p.train.tensors[-1]
    variance = float((target - target.mean(0)).square().sum(1).mean())
    assert float(p.loss(theta, p.train.tensors)) == pytest.approx(variance, rel=1e-5)


def test_rules_change_what_they_concern_and_nothing_else():
    plain = drawn("he_normal", "digits_mlp")
    both = drawn("biased(biased(he_normal, relu(0.2)), marginal)", "digits_mlp")
    assert torch.equal(both["layer1.bias"], torch.full((32,), 0.2))
    assert float(both["layer2.bias"].exp().sum()) == pytest.approx(1)
    for name in ("layer1.weight", "layer2.weight"):
        assert torch.equal(plain[name], both[name])
    lstm = "adding_lstm(length=8, sequences=64, forget_bias=3)"
    assert drawn("default", lstm)["lstm1.bias"].view(4, 32)[:, 0].tolist() == [0, 3, 0, 0]
    assert drawn("biased(default, forget_gate)", lstm)["lstm1.bias"].view(4, 32)[:, 0].tolist() == [0, 1, 0, 0]
    assert not drawn("biased(default, zero)", lstm)["lstm1.bias"].any()
    assert torch.equal(drawn("biased(default, zero)", "batch_norm(digits_mlp)")["layer1.gamma"], torch.ones(32))


def test_precision_is_kept_as_a_logarithm():
    assert float(drawn("biased(default, precision(value=4))", "gaussian_regression")["log_precision"].exp()) == 4
    assert drawn("biased(default, zero)", "gaussian_regression")["layer1.bias"].item() == 0


@pytest.mark.parametrize(
    ("spec", "on", "reason"),
    [
        ("biased(default, forget_gate)", "digits_mlp", "digits_mlp has no LSTM"),
        ("biased(default, relu)", "digits_denoising", "digits_denoising has no ReLU layers"),
        ("biased(default, precision)", "digits_mlp", "learns no precision"),
        ("biased(default, zero)", "digits_autoencoder", "digits_autoencoder has no biases"),
        ("biased(default, marginal)", "rosenbrock", "no biases that add to its outputs"),
        ("biased(default, marginal)", "gaussian_regression", "no biases that add to its outputs"),
        ("biased(default, relu)", "batch_norm(digits_mlp)", "no ReLU layers with biases"),
    ],
)
def test_where_a_rule_makes_no_sense(spec, on, reason):
    with pytest.raises(NotApplicable, match=reason):
        drawn(spec, on)


def test_text():
    bound = initializer.bind("biased(orthogonal(gain=1.4), marginal)")
    assert str(bound) == "biased(initializer=orthogonal(gain=1.4), bias=marginal)"
    assert initializer.bind(str(bound)) == bound
    assert str(initializer.short(bound)) == "biased(orthogonal(gain=1.4), bias=marginal)"
    assert initializer.bind(initializer.short(bound)) == bound
    with pytest.raises(UsageError, match=r"unknown bias 'margnal'; did you mean marginal\? \(.*suite list biases\)"):
        initializer.bind("biased(he_normal, margnal)")
    with pytest.raises(UsageError, match=r"biased: bias must be a bias such as forget_gate, got 0\.1"):
        initializer.bind("biased(he_normal, 0.1)")
    assert "reference" in bias.find("forget_gate").meta


def test_a_rule_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from suite import bias\n"
        "@bias()\ndef level(value: float = 0.3):\n"
        '    """Every bias at one level."""\n'
        "    def rule(problem, pieces):\n"
        "        for piece in problem.layout:\n"
        '            if piece.role == "bias":\n'
        "                pieces[piece.name].fill_(value)\n"
        "    return rule\n"
    )
    pieces = drawn(f"biased(he_normal, {tmp_path}/mine.py:level(value=0.7))", "digits_mlp")
    assert pieces["layer2.bias"].tolist() == pytest.approx([0.7] * 10)
