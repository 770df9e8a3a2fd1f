"""Which examples make the minibatch of a step: a property of the run's seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from problems.names import UsageError
from problems.problem import Batch, Data


def generator(seed: int, purpose: str) -> torch.Generator:
    """A random stream of its own for each purpose of a seed (its start, its order in epoch 3, ...)."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def epoch_order(order: str, examples: int, size: int, seed: int, epoch: int) -> Tensor:
    """The examples of one epoch in the order of use: floor(examples / size) minibatches of ``size``.

    The remainder is dropped. See ``suite.spec.Run`` for the orders.
    """
    used = examples // size * size
    if order == "sequential":
        return torch.arange(used)
    stream = generator(seed, f"order/{0 if order == 'shuffle_once' else epoch}")
    if order == "with_replacement":
        return torch.randint(examples, (used,), generator=stream)
    return torch.randperm(examples, generator=stream)[:used]


def check_size(data: Data, size: int) -> None:
    """Raise a UsageError for a minibatch larger than the data set."""
    if size > len(data):
        raise UsageError(
            f"batch size must be at most the {len(data)} training examples, got {size}; 0 takes all of them"
        )


class Sampler:
    """Fills one set of tensors [lanes, size, ...] with each step's minibatches.

    Args:
        seeds: one a lane; lanes with the same seed see the same minibatches.
        size: examples in a minibatch; 0 for all of them, which are then shared, not copied.
    """

    def __init__(self, data: Data, seeds: Sequence[int], size: int, order: str) -> None:
        check_size(data, size)
        self.data = data
        self.seeds = list(seeds)
        self.size = size
        self.order = order
        lanes = len(self.seeds)
        self.batch: Batch
        if size:
            self.batch = tuple(t.new_empty(lanes, size, *t.shape[1:]) for t in data.tensors)
            self._flat = [b.view(lanes * size, *b.shape[2:]) for b in self.batch]
            self._epoch = -1
        else:
            self.batch = tuple(t.expand(lanes, *t.shape) for t in data.tensors)

    def fill(self, step: int) -> None:
        """Put the minibatches of step 0, 1, 2, … in place."""
        if not self.size:
            return
        per_epoch = len(self.data) // self.size
        epoch, at = divmod(step, per_epoch)
        if epoch != self._epoch:
            self._indices = self._of_epoch(epoch, per_epoch)
            self._epoch = epoch
        for tensor, flat in zip(self.data.tensors, self._flat, strict=True):
            torch.index_select(tensor, 0, self._indices[at], out=flat)

    def _of_epoch(self, epoch: int, per_epoch: int) -> Tensor:
        """The indices [steps, lanes * size] of an epoch, on the data's device."""
        device = self.data.tensors[0].device
        drawn = {
            seed: epoch_order(self.order, len(self.data), self.size, seed, epoch).view(per_epoch, self.size)
            for seed in dict.fromkeys(self.seeds)
        }
        return torch.cat([drawn[seed] for seed in self.seeds], dim=1).to(device)
