"""Minibatches are a property of the seed and the order alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems import Data, problem
from problems.names import UsageError
from suite import sampler
from suite.runner import train_group
from suite.sampler import Sampler, epoch_order, generator
from suite.spec import ORDERS, Run

OF_A_SET = [order for order in ORDERS if order != "online"]
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(sorted)


@given(size=sizes, order=st.sampled_from(OF_A_SET), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 5))
def test_an_epoch_is_whole_minibatches_and_repeatable(size, order, seed, epoch):
    batch, examples = size
    drawn = epoch_order(order, examples, batch, seed, epoch)
    assert len(drawn) == examples // batch * batch
    assert set(drawn.tolist()) <= set(range(examples))
    assert torch.equal(drawn, epoch_order(order, examples, batch, seed, epoch))
    if order != "with_replacement":
        assert len(drawn.unique()) == len(drawn)


@pytest.mark.parametrize("order", OF_A_SET)
def test_a_set_of_one_example_is_put_in_place_once(order, monkeypatch):
    """A surface's steps, each an epoch, draw no order, for lanes of whatever seed."""
    drawn = []
    monkeypatch.setattr(sampler, "epoch_order", lambda *asked: drawn.append(asked) or epoch_order(*asked))
    made = Sampler(Data((torch.full((1, 3), 7.0),)), [0, 1], 1, order)
    for step in range(5):
        made.fill(step)
    assert len(drawn) == 2 and torch.equal(made.batch[0], torch.full((2, 1, 3), 7.0))


def test_orders_differ_in_what_they_should():
    def of(order, seed, epoch):
        return epoch_order(order, 100, 10, seed, epoch).tolist()

    assert of("sequential", 1, 3) == list(range(100))
    assert of("shuffle_once", 1, 0) == of("shuffle_once", 1, 7) != of("shuffle_once", 2, 0)
    assert of("reshuffle", 1, 0) != of("reshuffle", 1, 1)
    assert len(set(of("with_replacement", 1, 0))) < 100


@pytest.mark.parametrize("order", OF_A_SET)
def test_minibatches_are_those_of_the_seed_and_the_epoch(order):
    made = Sampler(Data((torch.arange(23),)), [1, 2], 4, order)
    for step in range(15):
        made.fill(step)
        epoch, at = divmod(step, 5)
        expected = [epoch_order(order, 23, 4, seed, epoch)[4 * at : 4 * at + 4].tolist() for seed in (1, 2)]
        assert made.batch[0].tolist() == expected


@pytest.mark.parametrize("order", OF_A_SET)
def test_a_lane_gets_its_seeds_minibatches_whatever_is_beside_it(order):
    data = Data((torch.arange(23.0).view(23, 1), torch.arange(23)))
    many, alone = Sampler(data, [5, 9, 5], 4, order), Sampler(data, [9], 4, order)
    for step in [0, 1, 4, 5, 12, 3]:
        many.fill(step)
        alone.fill(step)
        assert torch.equal(many.batch[1][1], alone.batch[1][0])
        assert torch.equal(many.batch[1][0], many.batch[1][2])
        assert torch.equal(many.batch[0][..., 0].long(), many.batch[1])


def stream() -> Data:
    data = problem.build(problem.bind("linear_regression(features=3)")).train
    assert data.fresh is not None
    return data


def test_a_stream_never_repeats_and_is_a_property_of_the_seed():
    data = stream().to(torch.device("cpu"), torch.float64)
    many, alone = Sampler(data, [5, 9, 5], 100, "online"), Sampler(data, [9], 100, "online")
    seen = [data.tensors[0]]
    for step in range(25):
        many.fill(step)
        alone.fill(step)
        assert torch.equal(many.batch[0][1], alone.batch[0][0])
        assert torch.equal(many.batch[1][0], many.batch[1][2])
        seen += [many.batch[0][0].clone(), many.batch[0][1].clone()]
    everything = torch.cat(seen)
    assert everything.dtype == torch.float64
    assert len(everything.unique(dim=0)) == len(everything) == 1000 + 25 * 200
    many.fill(2)
    assert torch.equal(many.batch[0][1], seen[6])


def test_a_stream_is_of_the_distribution_of_the_training_examples():
    """The same linear map and noise: least squares on the stream finds the coefficients of the training set."""
    data = stream()
    sampler = Sampler(data, [0], 20000, "online")  # more than the training set has
    sampler.fill(0)

    def fitted(x, y):
        with_one = torch.cat([x, torch.ones(len(x), 1)], dim=1).double()
        solution = torch.linalg.lstsq(with_one, y.double()).solution
        return solution, (with_one @ solution - y).square().mean()

    (theirs, noise), (ours, same) = fitted(*data.tensors), fitted(*(t[0] for t in sampler.batch))
    assert torch.allclose(ours, theirs, atol=0.08)  # five standard errors of 0.5/√1000
    assert same == pytest.approx(0.25, rel=0.05) and noise == pytest.approx(0.25, rel=0.25)


def test_a_fixed_set_has_no_stream():
    with pytest.raises(UsageError, match=r"order online needs a problem that draws its examples.*choose reshuffle"):
        Sampler(Data((torch.zeros(3, 2),)), [0], 1, "online")
    with pytest.raises(UsageError, match="order online needs batch_size >= 1, got 0"):
        Run("linear_regression", "sgd", order="online", batch_size=0)


def test_training_online_follows_the_gradient_of_the_generalization_error():
    """The fixed set is learnt by heart where it is small; a stream's training and test loss agree (section 8.1.3)."""
    found = {}
    for order in ("reshuffle", "online"):
        run = Run.make("linear_regression(features=900)", "sgd(lr=0.0005)", order=order, steps=1500, eval_every=1500)
        train_group([run], lambda result, order=order: found.update({order: result.summary}))
    fixed, online = found["reshuffle"], found["online"]
    assert fixed["final_train_loss"] < 0.3 * fixed["final_test_loss"]
    assert online["final_train_loss"] == pytest.approx(online["final_test_loss"], rel=0.2)
    assert online["final_test_loss"] < 0.5 * fixed["final_test_loss"]


def test_the_whole_split_is_not_copied():
    data = Data((torch.arange(6.0).view(3, 2),))
    sampler = Sampler(data, [1, 2], 0, "reshuffle")
    sampler.fill(0)
    assert sampler.batch[0].shape == (2, 3, 2)
    assert sampler.batch[0].data_ptr() == data.tensors[0].data_ptr()


def test_a_minibatch_larger_than_the_data_is_refused():
    with pytest.raises(UsageError, match="at most the 3 training examples, got 4"):
        Sampler(Data((torch.zeros(3, 2),)), [0], 4, "reshuffle")


def test_purposes_of_a_seed_are_streams_of_their_own():
    def draw(seed, purpose):
        return torch.rand(4, generator=generator(seed, purpose)).tolist()

    assert draw(1, "start") == draw(1, "start")
    assert len({tuple(draw(seed, purpose)) for seed in (1, 2) for purpose in ("start", "order/0", "order/1")}) == 6
