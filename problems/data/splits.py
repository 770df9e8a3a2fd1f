"""A data set as the problems take it: tensors in a training, a validation and a test part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from problems.names import UsageError
from problems.problem import Batch, Data


class Splits(NamedTuple):
    """The parts of a data set; None where it has no such part."""

    train: Data
    valid: Data | None = None
    test: Data | None = None


def shuffled(tensors: Batch, valid: int, test: int, seed: int = 0) -> Splits:
    """Cut examples into parts by a permutation that depends on the seed alone.

    Args:
        valid, test: how many examples each gets; training takes the rest.

    Raises:
        UsageError: nothing would be left for training.
    """
    import numpy as np
    import torch

    count = len(tensors[0])
    train = count - valid - test
    if train < 1:
        raise UsageError(f"data: valid + test must be below the {count} examples, got {valid} + {test}")
    # RandomState's streams are frozen by NumPy's promise, unlike those of torch
    order = torch.from_numpy(np.random.RandomState(seed).permutation(count))
    parts = [tuple(t[chosen] for t in tensors) for chosen in order.split([train, valid, test])]
    return Splits(Data(parts[0]), Data(parts[1]) if valid else None, Data(parts[2]) if test else None)


def held_out(data: Splits, valid: int, who: str) -> Splits:
    """The last ``valid`` training examples cut off as a validation split; 0 leaves all as it is.

    Raises:
        UsageError: ``who: valid must be below ...``.
    """
    if not valid:
        return data
    count = len(data.train)
    if valid >= count:
        raise UsageError(f"{who}: valid must be below the {count} training examples, got {valid}")
    first = Data(tuple(t[:-valid] for t in data.train.tensors))
    return data._replace(train=first, valid=Data(tuple(t[-valid:] for t in data.train.tensors)))


def each(data: Splits, change: Callable[[Batch], Batch]) -> Splits:
    """Every part with its tensors changed; the parts are then all that there is."""

    def changed(part: Data) -> Data:
        return dataclasses.replace(part, tensors=change(part.tensors), fresh=None)

    return Splits(changed(data.train), data.valid and changed(data.valid), data.test and changed(data.test))


def flattened(data: Splits) -> Splits:
    """The same with each input as one row: x [n, features]; views, nothing is copied."""
    return each(data, lambda tensors: (tensors[0].flatten(1), *tensors[1:]))


def sequences_of_rows(data: Splits, width: int, every: int = 1) -> Splits:
    """Images read in order as sequences x [n, pixels/width/every, width]; views, nothing is copied."""
    return each(data, lambda tensors: (tensors[0].flatten(1).unflatten(1, (-1, width))[:, ::every], *tensors[1:]))


def centred_inputs(data: Splits) -> Splits:
    """The inputs [n, features] alone, less their mean over the training part."""
    mean = data.train.tensors[0].mean(0)
    return each(data, lambda tensors: (tensors[0] - mean,))


def corrupted(data: Splits, masked: float, seed: int) -> Splits:
    """Pairs of an input with a share of its entries set to 0, and the input itself; labels are left out.

    Args:
        masked: the probability that an entry is set to 0.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def pair(tensors: Batch) -> Batch:
        kept = torch.rand(tensors[0].shape, generator=generator) >= masked
        return (tensors[0] * kept, tensors[0])

    return each(data, pair)


def test_drops_partial(data: Splits) -> Splits:
    """The same with a test part that leaves out its partial last batch, as DeepOBS evaluates."""
    return data._replace(test=data.test and dataclasses.replace(data.test, drop_partial=True))
