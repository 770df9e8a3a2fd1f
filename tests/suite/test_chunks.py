"""Evaluations of many examples are those of all at once, and take no more memory than a chunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from problems.names import parse
from problems.problem import Data, problem
from suite import chunks, factors
from suite.lanes import lanes_of
from suite.memory import Peak
from suite.objective import Objective, rows
from suite.optimizers import optimizer
from suite.sampler import sampler_of

TINY = f"{Path(__file__).parent / 'tiny_problems.py'}:"
KINDS = ["mlp", "cnn", "rnn", "symbols"]


def _small(monkeypatch, most):
    monkeypatch.setattr(chunks, "MOST", most)
    monkeypatch.setattr(chunks, "FEWEST", 1)


def _asked(made, lanes, size, kind):
    """What all lanes get, each with its own minibatch or with all examples."""
    theta = rows(lanes, made.size, torch.zeros(1, dtype=torch.float64))
    for lane in range(lanes):
        theta[lane] = made.start(torch.Generator().manual_seed(lane))
    sampler = sampler_of(made, list(range(lanes)), size, "reshuffle", theta)
    sampler.fill(0)
    draw = torch.Generator().manual_seed(9)
    vectors = [torch.randn(lanes, made.size, generator=draw).double()] if kind in ("hvp", "ggn") else []
    action, outputs = Objective(made, lanes, sampler.batch).bind(kind, theta, *vectors)
    found = []
    for _ in range(2):  # and at the next step's minibatch
        action()
        found += [out.clone() for out in outputs]
        sampler.fill(1)
    return found


@pytest.mark.parametrize("size", [0, 90], ids=["all", "minibatch"])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("kind", ["value", "gradient", "hvp", "ggn", "hessian"])
@pytest.mark.parametrize("name", KINDS)
def test_chunks_make_up_the_whole(name, kind, lanes, size, monkeypatch):
    if kind == "hessian" and name in ("cnn", "rnn"):
        pytest.skip("convolutions and recurrences have no products for many vectors at once")
    made = problem.build(problem.bind(TINY + name)).to("cpu", torch.float64)
    whole = _asked(made, lanes, size, kind)
    _small(monkeypatch, 33)  # 200 and 90 are no multiples
    assert chunks.chunks(made, tuple(t[None] for t in made.train.tensors)) is not None
    for one, other in zip(_asked(made, lanes, size, kind), whole, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("text", ["lbfgs", "conjugate_gradients", "hessian_free", "torch.LBFGS", "kfac(samples=0)"])
def test_methods_for_all_examples_take_the_same_steps(text, monkeypatch):
    made = problem.build(problem.bind(TINY + "mlp")).to("cpu", torch.float64)

    def after(steps):
        theta = torch.stack([made.start(torch.Generator().manual_seed(seed)).double() for seed in range(2)])
        group = lanes_of(made, [parse(str(optimizer.bind(text)))] * 2, theta, [0, 1], 0, "reshuffle")
        for k in range(steps):
            group.step(k)
        assert not group.errors
        return group.theta.clone()

    whole = after(4)
    _small(monkeypatch, 64)
    assert torch.allclose(after(4), whole, rtol=1e-7, atol=1e-9)


def test_lanes_have_the_bits_that_they_have_alone(monkeypatch):
    _small(monkeypatch, 64)
    made = problem.build(problem.bind(TINY + "mlp"))
    theta = rows(5, made.size, torch.zeros(1))
    for lane in range(5):
        theta[lane] = made.start(torch.Generator().manual_seed(lane))
    batch = tuple(t.expand(5, *t.shape) for t in made.train.tensors)
    _, together = Objective(made, 5, batch).gradient(theta)
    for lane in range(5):
        _, alone = Objective(made, 1, tuple(t[:1] for t in batch)).gradient(theta[lane : lane + 1])
        assert torch.equal(alone[0], together[lane])


def test_random_directions_differ_from_chunk_to_chunk(monkeypatch):
    """Those of K-FAC: two halves with the same examples and the same draws would be worth one."""
    made = problem.build(problem.bind(TINY + "mlp")).to("cpu", torch.float64)
    twice = replace(made, train=Data(tuple(t[:50].repeat(2, *[1] * (t.dim() - 1)) for t in made.train.tensors)))
    theta = made.start(torch.Generator().manual_seed(0)).double()[None]
    key, t = torch.tensor([5]), torch.tensor([1.0], dtype=torch.float64)

    def bent(count):
        batch = tuple(x[None, :count] for x in twice.train.tensors)
        action, outputs = Objective(twice, 1, batch).bind_factors(1, False, theta, key, t)
        action()
        return outputs[1].clone()

    one = bent(50)
    _small(monkeypatch, 50)
    both = bent(100)
    monkeypatch.setattr(factors, "FAR", 0.0)
    assert torch.allclose(bent(100), one)
    assert not torch.allclose(both, one, rtol=1e-3)


def test_statistics_of_a_batch_are_taken_of_all_of_it(monkeypatch):
    made = problem.build(problem.bind("batch_norm(digits_deep_mlp)")).to("cpu", torch.float64)
    whole = _asked(made, 1, 0, "gradient")
    _small(monkeypatch, 33)
    assert chunks.chunks(made, tuple(t[None] for t in made.train.tensors)) is None
    assert all(map(torch.equal, _asked(made, 1, 0, "gradient"), whole))


@pytest.mark.parametrize("spoiled", ["sizes", "nan", "sum"])
def test_where_it_is_not_seen_to_be_a_mean_all_examples_are_taken_at_once(spoiled, monkeypatch):
    """A model of batches of one size, a loss that is no number at the points that are tried, and a sum."""
    made = problem.build(problem.bind(TINY + "mlp")).to("cpu", torch.float64)

    def criterion(outputs, batch):
        loss = made.criterion(outputs, batch)
        if spoiled == "sizes":
            return loss + 0 * outputs.reshape(200, 5).sum()
        return loss * (len(batch[0]) if spoiled == "sum" else torch.nan)

    other, batch = replace(made, criterion=criterion), tuple(t[None] for t in made.train.tensors)
    theta = made.start(torch.Generator().manual_seed(0)).double()[None]
    _small(monkeypatch, 33)
    assert chunks.chunks(made, batch) is not None and chunks.chunks(other, batch) is None
    if spoiled == "sizes":
        assert torch.allclose(Objective(other, 1, batch).value(theta), Objective(made, 1, batch).value(theta))


def test_each_chunk_finds_what_a_step_brings(monkeypatch):
    made = problem.build(problem.bind("continuation(digits_mlp)")).to("cpu", torch.float64)
    assert made.step_pieces
    whole = _asked(made, 2, 100, "gradient")
    _small(monkeypatch, 33)
    for one, other in zip(_asked(made, 2, 100, "gradient"), whole, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_how_many_are_evaluated_at_once_depends_on_the_problem_alone():
    for name in ("digits_mlp", "adding_rnn", "linear_regression"):
        made = problem.build(problem.bind(name))
        assert 512 <= chunks.at_once(made, "cpu") <= 2048 <= chunks.at_once(made, "cuda")


def test_memory_is_that_of_a_chunk(monkeypatch):
    """Tapes hold all that a gradient makes: of 8,192 sequences some 300 MB, of 256 a thirtieth."""
    made = problem.build(problem.bind("adding_rnn"))
    theta = made.start(torch.Generator().manual_seed(0))[None].clone()
    batch = tuple(t[None] for t in made.train.tensors)
    found = {}
    for most in (8192, 256):
        _small(monkeypatch, most)
        with Peak("cpu") as peak:
            action, _ = Objective(made, 1, batch).bind("gradient", theta)
            action()
        if peak.bytes is None:
            pytest.skip("the system does not tell")
        found[most] = peak.bytes
        del action
    assert found[256] < found[8192] / 4
