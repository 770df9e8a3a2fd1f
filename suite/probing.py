"""Probes at work: what they see of a step, the evaluations that they ask for, and what they have recorded.

The optimizer's own gradient is looked at where it arises. Values stay on the device until
:meth:`Probing.flush`, so a measurement does not wait for it. Further evaluations are counted
apart from the optimizer's, and their time is told, so that a run's clock can stop for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from analysis.replay.recorder import Kernel
from problems.layout import Layout
from problems.names import UsageError
from problems.problem import Batch, Problem
from suite.lanes import Lanes
from suite.objective import Objective, rows
from suite.probes.base import Memory, probes_of
from suite.sampler import generator

FULL = 500  # examples in one pass over a whole split
NUMBERS = 1 << 23  # of gradients of single examples that are held at once
SAME = 1e-3  # relative, between a minibatch's gradient and the mean of its examples'


class Probing:
    """The probes of a group of lanes.

    Args:
        text: bound probes, separated by commas; empty for none.
        batch_size: of the run, 0 for the whole split.

    ``calls`` counts evaluations made for probes alone, by kind, for every lane alike.

    Raises:
        UsageError: a probe makes no sense for the problem.
    """

    def __init__(self, problem: Problem, text: str, batch_size: int, lanes: Lanes) -> None:
        self.problem = problem
        self.probes = probes_of(text, problem, batch_size)
        self.memory: dict[str, Memory] = {name: {} for name in self.probes}
        self.calls: Counter[str] = Counter()
        self._rows: list[tuple[int, str, Tensor]] = []
        self._clock = _Clock(lanes.theta.device)
        self._due: list[str] = []
        self.attach(lanes)

    def attach(self, lanes: Lanes) -> None:
        """Look at these lanes from now on: they are others, or have other minibatches."""
        self.lanes = lanes
        self._look: Look | None = None
        if self.probes:
            self.evaluations = Evaluations(self.problem, lanes, self.calls)
            lanes.listen(self._at_gradient)

    def keep(self, lanes: Sequence[int], kept: Lanes) -> None:
        """Go on with some of the lanes by themselves; what was recorded must have been taken before."""
        index = torch.tensor(list(lanes), device=kept.theta.device)
        self.memory = {
            name: {key: value[index] for key, value in memory.items()} for name, memory in self.memory.items()
        }
        self.attach(kept)

    def step(self, k: int) -> Tensor:
        """Take step k, measuring what is due; the losses [lanes] as ``Lanes.step`` gives them."""
        self._due = [name for name, probe in self.probes.items() if k in probe.when]
        if not self._due:
            return self.lanes.step(k)
        self._step, self._look = k, None
        if not self.lanes.opens:
            with self._clock:
                self.lanes.sampler.fill(k)
                losses, gradient = self.evaluations.gradient()
            self._at_gradient(self.lanes.theta, losses, gradient)
        first = self.lanes.step(k)
        self._due, after = [], self._due
        with self._clock:
            self._measure(after, True)
        return first

    def flush(self) -> tuple[list[tuple[int, str]], Tensor]:
        """What was recorded since the last time: (step, measure) of each row, and values [rows, lanes] on the CPU."""
        labels = [(step, name) for step, name, _ in self._rows]
        values = torch.stack([value for *_, value in self._rows]).cpu() if labels else torch.empty(0, 0)
        self._rows = []
        return labels, values

    def seconds(self) -> float:
        """How long measuring took since the last time."""
        return self._clock.take()

    def _at_gradient(self, point: Tensor, losses: Tensor, gradient: Tensor) -> None:
        if self._due and self._look is None:
            with self._clock:
                keep = any(self.probes[name].after for name in self._due)
                theta = self.lanes.theta.clone() if keep else self.lanes.theta
                self._look = Look(self.evaluations, self._step, theta, point, losses, gradient)
                self._measure(self._due, False)

    @torch.no_grad()
    def _measure(self, due: Sequence[str], after: bool) -> None:
        for name in due:
            if self.probes[name].after != after:
                continue
            assert self._look is not None
            if after and self._look.moved is None:
                self._look.moved = self.lanes.theta - self._look.theta
            for measure, values in self.probes[name].measure(self._look, self.memory[name]).items():
                self._rows.append((self._step, measure, values.to(torch.float64, copy=True)))


class Look:
    """What probes see of one step: see ``suite.probes.base.Seen``."""

    def __init__(
        self, evaluations: Evaluations, step: int, theta: Tensor, point: Tensor, losses: Tensor, gradient: Tensor
    ) -> None:
        self._evaluations = evaluations
        self.step, self.theta, self.point, self.losses, self.gradient = step, theta, point, losses, gradient
        self.moved: Tensor | None = None
        self.examples = evaluations.examples
        self._known: dict[str, Any] = {}

    @property
    def problem(self) -> Problem:
        return self._evaluations.problem

    @property
    def layout(self) -> Layout:
        return self._evaluations.problem.layout

    @property
    def rate(self) -> Tensor | None:
        return self._evaluations.lanes.settings.rate

    def _once(self, name: str, make: Any) -> Any:
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]

    def product(self) -> Tensor:
        return self._once("product", lambda: self._evaluations.product(self.point, self.gradient))

    def full_gradient(self) -> Tensor:
        return self._once("full", lambda: self._evaluations.full_gradient(self.point))

    def spread(self) -> Tensor:
        return self._once("spread", lambda: self._evaluations.spread(self.point, self.gradient))

    def spread_of_minibatches(self, count: int) -> Tensor:
        make = self._evaluations.spread_of_minibatches
        return self._once(f"minibatches/{count}", lambda: make(self.point, self.gradient, count, self.step))

    def sums(self) -> Mapping[str, tuple[Tensor, ...]]:
        return self._once("sums", lambda: self._evaluations.sums(self.point))


class Evaluations:
    """Evaluations that no optimizer asked for.

    Those that are not of the step's minibatch run lane by lane on tapes for one lane, so that
    neither a lane's bits nor memory depend on the lanes beside it. Where a problem carries a state,
    examples that are not of the step's minibatch begin with none.
    """

    def __init__(self, problem: Problem, lanes: Lanes, calls: Counter[str]) -> None:
        self.problem, self.lanes, self.calls = problem, lanes, calls
        self.objective = Objective(problem, len(lanes.theta), lanes.sampler.batch)
        self.examples = lanes.sampler.size or len(problem.train)
        count, brought = len(problem.train.tensors), len(problem.step_pieces)
        self._examples, self._brought = lanes.sampler.batch[:count], lanes.sampler.batch[count : count + brought]
        self._carried = lanes.sampler.batch[count + brought :]
        self._bound: dict[str, tuple[tuple[Tensor, ...], Kernel, list[Tensor]]] = {}
        self._passes: dict[tuple[int, int], tuple[Tensor, Batch, Kernel, Tensor]] = {}

    def _ask(self, kind: str, *operands: Tensor) -> list[Tensor]:
        """Evaluate on the minibatches of all lanes; the tape is kept for as long as the operands are the same."""
        self.calls[kind] += 1
        known = self._bound.get(kind)
        if known is None or any(a is not b for a, b in zip(known[0], operands, strict=True)):
            known = self._bound[kind] = (operands, *self.objective.bind(kind, *operands))
        known[1]()
        return known[2]

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Losses and gradients at θ."""
        losses, gradient = self._ask("gradient", self.lanes.theta)
        return losses, gradient

    def product(self, point: Tensor, vector: Tensor) -> Tensor:
        """Hessian products on the minibatches."""
        return self._ask("hvp", point, vector)[0]

    def _pass(self, lane: int, point: Tensor, examples: Batch) -> Tensor:
        """Gradients [c, D] at one point [D] of c batches, each tensor [c, b, ...], as this step has them for a lane."""
        shape, count = (examples[0].shape[0], examples[0].shape[1]), len(self._examples)
        brought = tuple(t[lane].expand(shape[0], *t.shape[1:]) for t in self._brought)
        batch = (*examples[:count], *brought, *examples[count:])
        if shape not in self._passes:
            theta, own = rows(shape[0], self.problem.size, point), tuple(torch.empty_like(t) for t in batch)
            for buffer, given in zip(own, batch, strict=True):
                buffer.copy_(given)
            theta.copy_(point)
            action, outputs = Objective(self.problem, shape[0], own).bind("gradient", theta)
            self._passes[shape] = theta, own, action, outputs[1]
        theta, own, action, gradients = self._passes[shape]
        theta.copy_(point)
        for buffer, given in zip(own, batch, strict=True):
            buffer.copy_(given)
        action()
        return gradients

    def full_gradient(self, points: Tensor) -> Tensor:
        """The gradients [lanes, D] over the training split."""
        self.calls["full_gradient"] += 1
        train, count = self.problem.train.tensors, len(self.problem.train)
        found = rows(len(points), self.problem.size, points)
        for lane, point in enumerate(points):
            for at in range(0, count, FULL):
                batch = tuple(t[None, at : at + FULL] for t in train)
                found[lane].add_(self._pass(lane, point, batch)[0], alpha=batch[0].shape[1] / count)
        return found

    def spread(self, points: Tensor, gradients: Tensor) -> Tensor:
        """Σᵢ ‖gᵢ − g‖²/(n − 1) [lanes] over the examples of each lane's minibatch.

        Raises:
            UsageError: the examples' gradients do not average to the minibatch's, as under batch
                normalization.
        """
        self.calls["example_gradient"] += self.examples
        parts = -(-self.examples // max(1, NUMBERS // self.problem.size))
        size = -(-self.examples // parts)
        found = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        for lane, (point, g) in enumerate(zip(points, gradients, strict=True)):
            sum_ = torch.zeros_like(g)
            for at in range(0, self.examples, size):
                batch = tuple(t[lane, at : at + size, None] for t in (*self._examples, *self._carried))
                apart = self._pass(lane, point, batch) - g
                found[lane] += (apart * apart).sum(dtype=torch.float64)
                sum_ += apart.sum(0)
            off = torch.linalg.vector_norm(sum_) / self.examples
            if off > SAME * (torch.linalg.vector_norm(g) + (found[lane] / self.examples).sqrt()):
                raise UsageError(
                    f"gradient_noise: the loss of {self.problem.name} over a minibatch is no mean of losses of its "
                    "examples (batch normalization makes it so), so its examples have no gradients of their own"
                )
        return found / (self.examples - 1)

    def spread_of_minibatches(self, points: Tensor, gradients: Tensor, count: int, step: int) -> Tensor:
        """Σⱼ ‖gⱼ − ḡ‖²/(count − 1) [lanes] over new minibatches of the training split, each without repetition."""
        self.calls["gradient"] += count
        train = self.problem.train.tensors
        found = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        for lane, (point, g) in enumerate(zip(points, gradients, strict=True)):
            stream = generator(self.lanes.sampler.seeds[lane], f"probe/{step}")
            sum_ = torch.zeros_like(g)
            for _ in range(count):
                chosen = torch.randperm(len(train[0]), generator=stream)[: self.examples].to(points.device)
                apart = self._pass(lane, point, tuple(t[chosen][None] for t in train))[0] - g
                found[lane] += (apart * apart).sum(dtype=torch.float64)
                sum_ += apart
            found[lane] -= (sum_ * sum_).sum(dtype=torch.float64) / count
        return found.clamp(min=0) / (count - 1)

    def sums(self, points: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """What the units of each hidden layer sum to, by lane: [examples (times positions), units]."""
        self.calls["forward"] += 1
        each: dict[str, list[Tensor]] = {name: [] for name in self.problem.hidden}
        for lane, point in enumerate(points):

            def between(name: str, x: Tensor) -> Tensor:
                each[name].append(x.movedim(1, -1).reshape(-1, x.shape[1]))
                return x

            brought = dict(zip(self.problem.step_pieces, (t[lane] for t in self._brought), strict=True))
            pieces = {**self.problem.layout.split(point), **brought}
            self.problem.outputs(pieces, tuple(t[lane].clone() for t in self._examples), between)
        return {name: tuple(values) for name, values in each.items()}


class _Clock:
    """The time spent inside ``with``: the host's, or an accelerator's own where that is longer."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._host = device, 0.0
        self._events: list[tuple[torch.Event, torch.Event]] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        if self._device.type != "cpu":
            self._events.append(self._pair())
            self._events[-1][0].record()

    def __exit__(self, *error: object) -> None:
        self._host += time.perf_counter() - self._began
        if self._device.type != "cpu":
            self._events[-1][1].record()

    def _pair(self) -> tuple[torch.Event, torch.Event]:
        first, last = (torch.Event(self._device, enable_timing=True) for _ in range(2))
        return first, last

    def take(self) -> float:
        """Seconds since the last time; the device must have finished."""
        device = sum(first.elapsed_time(last) for first, last in self._events) / 1000
        seconds, self._host, self._events = max(self._host, device), 0.0, []
        return seconds
