"""Which examples make the minibatch of a step: a property of the run's seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from problems.course import Course
from problems.names import UsageError
from problems.problem import Batch, Data, Problem, streams

BLOCK = 1024  # examples, about, that are drawn at once from an endless stream


def _digest(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big")


def generator(seed: int, purpose: str) -> torch.Generator:
    """A random stream of its own for each purpose of a seed (its start, its order in epoch 3, ...)."""
    return torch.Generator().manual_seed(_digest(seed, purpose) >> 1)


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


def check_size(data: Data, size: int, order: str, carries: bool = False, course: Course | None = None) -> None:
    """Raise a UsageError for a minibatch larger than the data set, or for an order that the data do not have."""
    chosen = None if course is None or course.examples is None else course.who
    if chosen and (not size or order == "online"):
        what = "order online, whose examples are new at every step," if size else "a minibatch of all examples"
        raise UsageError(f"{chosen}: {what} leaves nothing to choose; give a batch size and another order")
    if carries and order in ("with_replacement", "online"):
        raise UsageError(
            f"order {order} makes no sense where a state is carried from one example to the next; choose "
            "sequential, or carry=False where the problem has that setting"
        )
    if order == "online":
        if data.fresh is None:
            raise UsageError(
                "order online needs a problem that draws its examples, such as linear_regression, adding_lstm or "
                "quadratic_deep; this one has a fixed training set: choose reshuffle or with_replacement"
            )
    elif size > len(data):
        raise UsageError(
            f"batch size must be at most the {len(data)} training examples, got {size}; 0 takes all of them"
        )


def sampler_of(problem: Problem, seeds: Sequence[int], size: int, order: str, like: Tensor) -> Sampler:
    """The minibatches of a problem, with a place for what it carries on in ``like``'s type and device.

    All examples in one minibatch are a stream each, which every step begins anew: nothing is carried then.
    """
    carries = problem.carry and size
    carried = like.new_zeros(len(seeds), size, *problem.carry) if carries else None
    return Sampler(problem.train, seeds, size, order, carried, problem.course)


class Sampler:
    """Fills one set of tensors [lanes, size, ...] with each step's minibatches.

    Args:
        seeds: one a lane; lanes with the same seed see the same minibatches.
        size: examples in a minibatch; 0 for all of them, which are then shared, not copied.
        carried: where whoever trains puts what is carried on from a step, [lanes, size, *carry] (see
            ``Problem.carry``). Minibatches are then streams of consecutive examples, the same for every
            seed and in every epoch, with a further tensor: what was carried to them, 0 as an epoch begins.
        course: the problem's; the pieces that it brings to a step follow the examples.
    """

    def __init__(
        self,
        data: Data,
        seeds: Sequence[int],
        size: int,
        order: str,
        carried: Tensor | None = None,
        course: Course | None = None,
    ) -> None:
        check_size(data, size, order, carried is not None, course)
        self.course = course
        self.data = data
        self.seeds = list(seeds)
        self.size = size
        self.order = order
        self.carried = carried
        lanes = len(self.seeds)
        self.batch: Batch
        if size:
            self.batch = tuple(t.new_empty(lanes, size, *t.shape[1:]) for t in data.tensors)
            self._flat = [b.view(lanes * size, *b.shape[2:]) for b in self.batch]
            self._epoch = -1  # or the block of a stream
            self._only = len(data) == 1 and order != "online" and carried is None  # what is there is there for good
            self._per_epoch = max(1, (BLOCK if order == "online" else len(data)) // size)
        else:
            self.batch = tuple(t.expand(lanes, *t.shape) for t in data.tensors)
        brought = self._bring(0, self.seeds[0])
        self._brought = tuple(piece.new_empty(lanes, *piece.shape) for piece in brought)
        self.batch = (*self.batch, *self._brought, *(() if carried is None else (torch.zeros_like(carried),)))

    @property
    def steady(self) -> bool:
        """Whether every step has the same examples, and nothing else that differs."""
        return not self.size and not self._brought

    def fill(self, step: int) -> None:
        """Put the minibatches of step 0, 1, 2, … in place."""
        for seed in dict.fromkeys(self.seeds) if self._brought else ():
            for place, piece in zip(self._brought, self._bring(step, seed), strict=True):
                place[[lane for lane, other in enumerate(self.seeds) if other == seed]] = piece
        if not self.size or (self._only and self._epoch >= 0):
            return
        epoch, at = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._pool, self._indices = self._streamed(epoch) if self.order == "online" else self._of_epoch(epoch)
            self._epoch = epoch
        indices = self._chosen(step, self._indices[at])
        for tensor, flat in zip(self._pool, self._flat, strict=True):
            torch.index_select(tensor, 0, indices, out=flat)
        if self.carried is not None:
            self.batch[-1].copy_(self.carried) if at else self.batch[-1].zero_()

    def _bring(self, step: int, seed: int) -> Batch:
        """The pieces that the course brings to a step of a seed."""
        pieces = () if self.course is None else self.course.pieces.values()
        return tuple(piece(step, partial(generator, seed, f"course/{step}")) for piece in pieces)

    def _chosen(self, step: int, indices: Tensor) -> Tensor:
        """The examples [lanes * size] of a step, once the course has had its say."""
        if self.course is None or self.course.examples is None:
            return indices
        taken = dict(zip(self.seeds, indices.view(len(self.seeds), self.size), strict=True))
        chosen = {
            seed: self.course.examples(step, own, partial(generator, seed, f"course/{step}"))
            for seed, own in taken.items()
        }
        return torch.cat([chosen[seed] for seed in self.seeds]).to(self._flat[0].device)

    def carry_on(self, carried: Tensor | None) -> None:
        """Let the next step begin with this, [lanes, size, *carry], or with 0, whatever the last one left."""
        if self.carried is not None:
            self.carried.zero_() if carried is None else self.carried.copy_(carried)

    def _of_epoch(self, epoch: int) -> tuple[Batch, Tensor]:
        """The training examples, and the indices [steps, lanes * size] of an epoch's minibatches."""
        shape = (self._per_epoch, self.size)
        drawn = {
            seed: streams(len(self.data), self.size)
            if self.carried is not None
            else epoch_order(self.order, len(self.data), self.size, seed, epoch).view(shape)
            for seed in dict.fromkeys(self.seeds)
        }
        indices = torch.cat([drawn[seed] for seed in self.seeds], dim=1)
        chosen = self.course is not None and self.course.examples is not None  # among them, at each step
        return self.data.tensors, indices if chosen else indices.to(self.data.tensors[0].device)

    def _streamed(self, block: int) -> tuple[Batch, Tensor]:
        """New examples for every seed, and the indices [steps, lanes * size] of a block's minibatches."""
        assert self.data.fresh is not None
        count, seeds = self._per_epoch * self.size, list(dict.fromkeys(self.seeds))
        drawn = [self.data.fresh(count, _digest(seed, f"stream/{block}") >> 32) for seed in seeds]
        pool = tuple(torch.cat(t).to(like) for t, like in zip(zip(*drawn, strict=True), self.batch, strict=True))
        within = torch.arange(count).view(self._per_epoch, self.size)
        indices = torch.cat([within + count * seeds.index(seed) for seed in self.seeds], dim=1)
        return pool, indices.to(pool[0].device)
