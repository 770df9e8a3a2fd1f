"""Minibatches are a property of the seed and the order alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems import Data
from problems.names import UsageError
from suite.sampler import Sampler, epoch_order, generator
from suite.spec import ORDERS

sizes = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(sorted)


@given(size=sizes, order=st.sampled_from(ORDERS), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 5))
def test_an_epoch_is_whole_minibatches_and_repeatable(size, order, seed, epoch):
    batch, examples = size
    drawn = epoch_order(order, examples, batch, seed, epoch)
    assert len(drawn) == examples // batch * batch
    assert set(drawn.tolist()) <= set(range(examples))
    assert torch.equal(drawn, epoch_order(order, examples, batch, seed, epoch))
    if order != "with_replacement":
        assert len(drawn.unique()) == len(drawn)


def test_orders_differ_in_what_they_should():
    def of(order, seed, epoch):
        return epoch_order(order, 100, 10, seed, epoch).tolist()

    assert of("sequential", 1, 3) == list(range(100))
    assert of("shuffle_once", 1, 0) == of("shuffle_once", 1, 7) != of("shuffle_once", 2, 0)
    assert of("reshuffle", 1, 0) != of("reshuffle", 1, 1)
    assert len(set(of("with_replacement", 1, 0))) < 100


@pytest.mark.parametrize("order", ORDERS)
def test_a_lane_gets_its_seeds_minibatches_whatever_is_beside_it(order):
    data = Data((torch.arange(23.0).view(23, 1), torch.arange(23)))
    many, alone = Sampler(data, [5, 9, 5], 4, order), Sampler(data, [9], 4, order)
    for step in [0, 1, 4, 5, 12, 3]:
        many.fill(step)
        alone.fill(step)
        assert torch.equal(many.batch[1][1], alone.batch[1][0])
        assert torch.equal(many.batch[1][0], many.batch[1][2])
        assert torch.equal(many.batch[0][..., 0].long(), many.batch[1])


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
