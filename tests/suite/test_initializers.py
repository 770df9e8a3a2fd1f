"""Draws against theory and against torch.nn.init."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from problems.layout import Layout, Piece, conv, dense, recurrent
from problems.names import UsageError
from problems.problem import Data, Problem, problem
from suite.initializers import NotApplicable, bias, initializer

LAYOUT = Layout(
    (*dense("layer", 300, 200, 0.05), *conv("conv", 16, 32, 5, 0.0), *recurrent("lstm", 40, 64, (0.0, 1.0, 0.0, 0.0)))
)
DATA = Data((torch.zeros(4, 1),))
STRATEGIES = [e.name for e in initializer if any(p.kind == "nested" for p in e.parameters)]
NAMES = [name for name in initializer.names() if name not in ("default", *STRATEGIES)]
BY_DATA = [name for name in STRATEGIES if name in ("lsuv", "scaled_by_hand", "fixup")]
UNSEEDED = ("zeros", "constant")


def fake(layout=LAYOUT, **fields):
    return Problem("fake", layout, lambda pieces, batch: batch[0], lambda out, batch: out.sum(), DATA, **fields)


def drawn(spec, seed=0, of=None):
    made = of or fake()
    theta = initializer.build(initializer.bind(spec))(made, torch.Generator().manual_seed(seed))
    return made.layout.split(theta)


VARIANCES = {
    "lecun_uniform": lambda m, n: 1 / (3 * m),
    "glorot_uniform": lambda m, n: 2 / (m + n),
    "glorot_normal": lambda m, n: 2 / (m + n),
    "he_normal": lambda m, n: 2 / m,
    "he_uniform": lambda m, n: 2 / m,
    "gaussian(std=0.3)": lambda m, n: 0.09,
    "truncated_normal(std=0.3)": lambda m, n: 0.09 * stats.truncnorm.var(-2, 2),
}


@pytest.mark.parametrize("spec", VARIANCES)
def test_distribution_of_every_weight(spec):
    pieces = drawn(spec)
    for piece in LAYOUT:
        if piece.role != "weight":
            continue
        sigma = math.sqrt(VARIANCES[spec](piece.fan_in, piece.fan_out))
        sample = pieces[piece.name].flatten().double().numpy()
        half = sigma * math.sqrt(3)
        law = stats.uniform(-half, 2 * half) if "uniform" in spec else stats.norm(0, sigma)
        law = stats.truncnorm(-2, 2, 0, 0.3) if "truncated" in spec else law
        assert sample.var() == pytest.approx(sigma**2, rel=6 * math.sqrt(2 / len(sample)))
        assert stats.kstest(sample, law.cdf).pvalue > 1e-4, f"{spec}, {piece.name}"


TORCH = {
    "glorot_uniform": torch.nn.init.xavier_uniform_,
    "glorot_normal": torch.nn.init.xavier_normal_,
    "he_normal": lambda w, generator: torch.nn.init.kaiming_normal_(w, nonlinearity="relu", generator=generator),
    "he_uniform": lambda w, generator: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=generator),
    "lecun_uniform": lambda w, generator: torch.nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=generator),
    "gaussian(std=0.3)": lambda w, generator: torch.nn.init.normal_(w, 0.0, 0.3, generator=generator),
    "zeros": lambda w, generator: torch.nn.init.zeros_(w),
    "constant(value=0.7)": lambda w, generator: torch.nn.init.constant_(w, 0.7),
    "truncated_normal(std=0.3)": lambda w, generator: torch.nn.init.trunc_normal_(w, 0, 0.3, -0.6, 0.6, generator),
    "orthogonal(gain=1.4)": lambda w, generator: torch.nn.init.orthogonal_(w.double(), 1.4, generator).float(),
}


@pytest.mark.parametrize("spec", TORCH)
def test_equals_torch_nn_init_from_the_same_generator(spec):
    layout = Layout((*dense("layer", 30, 20), *conv("conv", 3, 8, 5)))
    pieces = drawn(spec, seed=3, of=fake(layout))
    generator = torch.Generator().manual_seed(3)
    for piece in layout:
        if piece.role == "weight":
            theirs = TORCH[spec](torch.empty(piece.shape), generator=generator)
            torch.testing.assert_close(pieces[piece.name], theirs)


PLAIN = [name for name in NAMES if name not in ("delta_orthogonal", "random_walk", "identity")]


@pytest.mark.parametrize("name", PLAIN)
def test_biases_keep_their_own_rule(name):
    pieces = drawn(name)
    assert pieces["layer.bias"].tolist() == pytest.approx([0.05] * 200)
    assert pieces["lstm.bias"].view(4, 64).unique(dim=1).flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("name", PLAIN)
def test_the_seed_decides(name):
    one, again, other = (torch.cat([p.flatten() for p in drawn(name, seed).values()]) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name in UNSEEDED)


@pytest.mark.parametrize("name", NAMES)
def test_not_applicable_without_weights(name):
    surface = fake(Layout((Piece("x", (2,), "other"),)))
    with pytest.raises(NotApplicable, match=r"fake (has|does not)"):
        drawn(name, of=surface)


def test_default_is_the_problems_own_start():
    own = torch.arange(LAYOUT.size, dtype=torch.float32)
    theta = initializer.build(initializer.bind("default"))(fake(start=lambda g: own), torch.Generator())
    assert torch.equal(theta, own)
    without = drawn("default", seed=5)
    assert all(
        torch.equal(a, b) for a, b in zip(without.values(), drawn("lecun_uniform", seed=5).values(), strict=True)
    )


EMBEDDED = [e.name for e in problem if e.meta.get("embedded") and not any(p.required for p in e.parameters)]


NETS = Path(__file__).parents[1] / "problems/transforms/nets.py"
KINDS = [f"{NETS}:{net}" for net in ("residual", "stacked_lstm(carry=True)", "stacked_rnn", "module", "branched")]


@pytest.mark.parametrize("name", [*EMBEDDED, *KINDS], ids=lambda name: name.rpartition(":")[2])
@pytest.mark.parametrize("how", ["default", *NAMES, *BY_DATA, *(f"biased(default, {rule})" for rule in bias.names())])
def test_on_every_embedded_problem(name, how):
    made = problem.build(problem.bind(name))
    try:
        theta = initializer.build(initializer.bind(how))(made, torch.Generator().manual_seed(0))
    except NotApplicable as error:
        reason = str(error)
        assert how != "default" and made.name in reason and ";" in reason  # what to do
        return
    assert theta.shape == (made.size,)
    assert theta.dtype == torch.float32
    assert theta.isfinite().all()


def test_names():
    assert initializer.find("xavier_uniform").name == "glorot_uniform"
    with pytest.raises(UsageError, match=r"gaussian: std must be > 0, got 0"):
        initializer.bind("gaussian(std=0)")
    with pytest.raises(UsageError, match=r"unknown initializer 'he_norml'; did you mean he_normal"):
        initializer.bind("he_norml")
