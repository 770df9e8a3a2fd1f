"""Many runs of one optimizer on one problem, trained together as the rows of one matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from analysis.replay.loops import ordered
from analysis.replay.recorder import Kernel, Untraceable
from analysis.replay.tape import Tape
from problems.names import Spec, UsageError
from problems.problem import Problem
from problems.references import RAISED
from suite.errors import told
from suite.lane_oracle import LaneOracle
from suite.memory import require
from suite.objective import Listener, Objective, rows
from suite.row_oracle import RowOracle
from suite.rules import of_users, try_out
from suite.sampler import Sampler, sampler_of
from suite.settings import Settings


class Lanes(Protocol):
    """Lanes that train together; ``theta`` [lanes, D] holds where they are."""

    theta: Tensor
    state: list[Any]
    settings: Settings
    sampler: Sampler
    errors: dict[int, str]  # lane -> what it raised; such a lane stays where it is

    def step(self, k: int) -> Tensor:
        """Take step k = 0, 1, …; the loss [lanes] that each lane saw first in it (overwritten by the next step)."""

    @property
    def uniform(self) -> bool:
        """Whether it is known that every step takes the same evaluations and kernels."""

    @property
    def opens(self) -> bool:
        """Whether a step begins with a gradient of all lanes that a listener will be told of."""

    def listen(self, listener: Listener) -> None:
        """Tell it of the gradient with which each step begins, before θ changes."""

    def readout(self) -> Tensor:
        """The parameters to evaluate [lanes, D]."""

    def calls(self) -> list[Counter[str]]:
        """Evaluations so far by kind, for each lane."""

    def keep(self, lanes: Sequence[int]) -> Lanes | None:
        """The given lanes by themselves, or None where the others' rows have to stay."""

    def resize(self, size: int) -> None:
        """Go on with minibatches of another size."""


def lanes_of(
    problem: Problem,
    specs: Sequence[Spec],
    theta: Tensor,
    seeds: Sequence[int],
    size: int,
    order: str,
    evaluator: type[Objective] = Objective,
) -> Lanes:
    """Lanes for bound optimizer specs of one structure that start at the rows of θ [lanes, D].

    They go together under vmap, or one by one if the optimizer says that it cannot be
    lifted, or fails when it is. The first step of a rule of somebody's own is tried alone before.

    Args:
        theta: starts [lanes, D].
        size, order: of the minibatches (see ``suite.spec.Run``).
        evaluator: what answers the optimizer's questions; another one than the problem's
            own objective serves to measure the update by itself.

    Raises:
        UsageError: an optimizer's matrices would take more memory than is free; what the optimizer itself refuses.
    """
    if evaluator is Objective and of_users(specs[0]):
        try_out(problem, Settings(specs).spec_of(0), theta[0], seeds[0], size, order)
    needs = Settings(specs).of_lane(0).needs
    _check_room(problem, specs[0].name, needs.matrices, theta)
    kind: type[Together] | type[Apart] = Together if needs.vmap else Apart
    try:
        return kind(problem, specs, theta, seeds, size, order, evaluator)
    except UsageError:
        raise
    except Exception:
        if kind is Apart:
            raise
        return Apart(problem, specs, theta, seeds, size, order, evaluator)


def _check_room(problem: Problem, name: str, matrices: int, theta: Tensor) -> None:
    """Refuse lanes whose matrices [D, D] do not fit into memory."""
    if matrices:
        count, size = theta.shape
        lanes = "" if count == 1 else f" in each of {count} lanes"
        what = f"{name} on {problem.name}: matrices of {size:,} x {size:,} numbers, a row for each parameter,{lanes}"
        need = matrices * count * size**2 * theta.element_size()
        require(need, str(theta.device), what, "lbfgs and hessian_free keep vectors only")


def _objective(kind: type[Objective], problem: Problem, sampler: Sampler, rows: slice | None = None) -> Objective:
    """The objective of a sampler's lanes, or of some of them."""
    batch, carried, count = sampler.batch, sampler.carried, len(sampler.seeds)
    if rows is not None:
        batch, count = tuple(t[rows] for t in batch), len(sampler.seeds[rows])
        carried = None if carried is None else carried[rows]
    made = kind(problem, count, batch, carried)
    made.steady = sampler.steady
    return made


class Together:
    """All lanes in one vmapped step, recorded as a tape where its kernels allow it."""

    def __init__(
        self,
        problem: Problem,
        specs: Sequence[Spec],
        theta: Tensor,
        seeds: Sequence[int],
        size: int,
        order: str,
        evaluator: type[Objective] = Objective,
    ) -> None:
        count = len(specs)
        self.problem, self.specs, self.seeds = problem, list(specs), list(seeds)
        self.theta = rows(count, problem.size, theta)
        self.theta.copy_(theta)
        self.errors: dict[int, str] = {}
        self.settings = Settings(specs, theta.device)
        self.sampler = sampler_of(problem, seeds, size, order, self.theta)
        self.objective = _objective(evaluator, problem, self.sampler)
        self.sampler.fill(0)
        state = torch.vmap(self._init)(self.theta, self.settings.tensors)
        leaves, self._tree = tree_flatten(state)
        self.state = [_own(leaf) for leaf in leaves]
        self._calls: Counter[str] = Counter()
        self._taken = 0
        self._record()

    def _init(self, theta: Tensor, values: dict[Any, Tensor]) -> Any:
        state = self.settings.build(values).init(LaneOracle(self.objective), theta)
        return tree_map(lambda leaf: _tensor(leaf, theta), ordered(state))

    def _one(self, theta: Tensor, state: Any, values: dict[Any, Tensor]) -> Any:
        new, state = self.settings.build(values).step(LaneOracle(self.objective), state, theta)
        return new, tree_map(lambda leaf: _tensor(leaf, theta), ordered(state))

    def _next(self) -> list[Tensor]:
        """The new θ and state, out of place."""
        state = tree_unflatten(self.state, self._tree)
        theta, state = torch.vmap(self._one)(self.theta, state, self.settings.tensors)
        leaves, tree = tree_flatten(state)
        self._check(theta, leaves, tree)
        return [theta, *leaves]

    def _check(self, theta: Tensor, leaves: list[Tensor], tree: Any) -> None:
        name = self.specs[0].name
        if theta.shape != self.theta.shape:
            raise UsageError(_misshapen(name, self.theta.shape[1:], theta.shape[1:]))
        if tree != self._tree:
            raise UsageError(f"{name}: step must return a state of the form that init gave, {self._tree}; got {tree}")
        for old, new in zip(self.state, leaves, strict=True):
            if old.shape != new.shape:
                shapes = f"{tuple(old.shape[1:])} to {tuple(new.shape[1:])}"
                raise UsageError(f"{name}: a part of the state changes its shape from {shapes}")

    def _record(self) -> None:
        """Record one step, or settle for running it each time."""
        changing = [self.theta, *self.state, *self.settings.scheduled, *self.sampler.batch]
        before = self.objective.calls.copy()
        self.objective.begin()
        self._run: Kernel
        try:
            self._run = Tape(self._next, changing, [self.theta, *self.state])
            assert self.objective.first is not None or not self.objective.calls - before
            self._first = self.objective.first
            self._per_step: Counter[str] | None = self.objective.calls - before
            self.objective.calls = before
        except Untraceable:
            self.objective.calls = before
            self._per_step, self._first = None, None
            self._run = self._eager

    def _eager(self) -> None:
        self.objective.begin()
        for old, new in zip([self.theta, *self.state], self._next(), strict=True):
            old.copy_(new)
        self._first = self.objective.first

    def step(self, k: int) -> Tensor:
        self.sampler.fill(k)
        self.settings.refresh(k)
        self._run()
        self._taken += 1
        if self._first is None:
            return self.theta.new_zeros(len(self.theta))
        self.settings.hear(self._first)
        return self._first

    @property
    def uniform(self) -> bool:
        return isinstance(self._run, Tape) and not self._run.varies

    @property
    def opens(self) -> bool:
        return self._per_step is not None and self.objective.opens

    def listen(self, listener: Listener) -> None:
        self.objective.listener = listener

    def readout(self) -> Tensor:
        def one(theta: Tensor, state: Any, values: dict[Any, Tensor]) -> Tensor:
            return self.settings.build(values).readout(state, theta)

        with torch.no_grad():
            return torch.vmap(one)(self.theta, tree_unflatten(self.state, self._tree), self.settings.tensors)

    def calls(self) -> list[Counter[str]]:
        total = self.objective.calls.copy()
        for kind, each in (self._per_step or Counter()).items():
            total[kind] += each * self._taken
        each_lane = [total.copy() for _ in self.specs]
        for kind, charged in self.objective.charged.items():
            for count, own in zip(each_lane, charged.tolist(), strict=True):
                count[kind] += own
        return each_lane

    def resize(self, size: int) -> None:
        calls, charged = self.objective.calls, self.objective.charged
        self.sampler = sampler_of(self.problem, self.seeds, size, self.sampler.order, self.theta)
        self.objective = _objective(Objective, self.problem, self.sampler)
        self.objective.calls, self.objective.charged = calls, charged
        self.sampler.fill(0)
        self._record()
        self.sampler.carry_on(None)

    def keep(self, lanes: Sequence[int]) -> Together:
        kept = Together.__new__(Together)
        index = torch.tensor(list(lanes), device=self.theta.device)
        kept.problem = self.problem
        kept.specs, kept.seeds = [self.specs[i] for i in lanes], [self.seeds[i] for i in lanes]
        kept.theta, kept.errors, kept._tree = _own(self.theta[index]), {}, self._tree
        kept.state = [_own(leaf[index]) for leaf in self.state]
        kept.settings = self.settings.keep(kept.specs, lanes)
        kept.sampler = sampler_of(self.problem, kept.seeds, self.sampler.size, self.sampler.order, self.theta)
        kept.objective = _objective(Objective, self.problem, kept.sampler)
        kept.objective.calls, kept._calls, kept._taken = self.objective.calls.copy(), Counter(), self._taken
        kept.objective.charged = {kind: charged[index] for kind, charged in self.objective.charged.items()}
        kept.sampler.fill(0)
        kept._record()
        kept.sampler.carry_on(None if self.sampler.carried is None else self.sampler.carried[index])
        return kept


def _misshapen(name: str, wanted: torch.Size, got: torch.Size) -> str:
    return f"{name}: step must return theta of shape {tuple(wanted)}, got {tuple(got)}"


def _tensor(leaf: Any, theta: Tensor) -> Tensor:
    """A part of the state as a tensor: a number becomes one of float64, so that counting loses nothing."""
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, bool | int | float):
        return torch.tensor(
            leaf, dtype=torch.float64 if not isinstance(leaf, bool) else torch.bool, device=theta.device
        )
    raise UsageError(f"a state holds tensors and numbers, got {type(leaf).__name__} {leaf!r}")


def _own(leaf: Tensor) -> Tensor:
    """A copy of our own, with aligned rows where it is a matrix [lanes, n]."""
    flat = torch.contiguous_format
    copy = rows(len(leaf), leaf.shape[1], leaf) if leaf.dim() == 2 else torch.empty_like(leaf, memory_format=flat)
    return copy.copy_(leaf)


class Apart:
    """Lanes that step one by one, each with its own objects, on gradients from one batched pass.

    Used for ``torch.optim`` classes and for rules that look at values. θ of a lane is a row
    of the common matrix, which its optimizer may change in place.
    """

    def __init__(
        self,
        problem: Problem,
        specs: Sequence[Spec],
        theta: Tensor,
        seeds: Sequence[int],
        size: int,
        order: str,
        evaluator: type[Objective] = Objective,
    ) -> None:
        self.evaluator = evaluator
        self.problem, self.specs, self.seeds = problem, list(specs), list(seeds)
        self.theta = rows(len(specs), problem.size, theta)
        self.theta.copy_(theta)
        self.errors: dict[int, str] = {}
        self.settings = Settings(specs)
        self.sampler = sampler_of(problem, seeds, size, order, self.theta)
        self.sampler.fill(0)
        self._listener: Listener | None = None
        self._bind()
        self.state: list[Any] = []
        for lane, row in enumerate(self.rows):
            self.state.append(self.settings.of_lane(lane).init(self.oracles[lane], row))

    def _bind(self) -> None:
        """What depends on where θ and the minibatches lie."""
        self.rows = [self.theta.data[lane] for lane in range(len(self.specs))]  # .data: each counts its own changes
        self.objective = _objective(self.evaluator, self.problem, self.sampler)
        self._pass, (self._values, self._gradients) = self.objective.bind("gradient", self.theta)
        self.oracles = [self._oracle(slice(lane, lane + 1)) for lane in range(len(self.specs))]
        self._first = torch.zeros_like(self._values)

    def _oracle(self, row: slice) -> RowOracle:
        return RowOracle(_objective(self.evaluator, self.problem, self.sampler, row))

    uniform = False

    @property
    def opens(self) -> bool:
        return all(oracle.asked_first for oracle in self.oracles)

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def step(self, k: int) -> Tensor:
        self.sampler.fill(k)
        self.settings.refresh(k)
        ahead = self.opens
        if ahead:
            self._pass()
            if self._listener is not None:
                self._listener(self.theta, self._values, self._gradients)
        for lane, (row, oracle) in enumerate(zip(self.rows, self.oracles, strict=True)):
            if lane in self.errors:
                continue
            oracle.begin(row, (self._values[lane], self._gradients[lane]) if ahead else None)
            try:
                new, self.state[lane] = self.settings.of_lane(lane).step(oracle, self.state[lane], row)
                if new.shape != row.shape:
                    raise UsageError(_misshapen(self.specs[0].name, row.shape, new.shape))
                if new is not row:
                    row.copy_(new)
            except RAISED as error:
                self.errors[lane] = told(error)
            self._first[lane] = oracle.first if oracle.first is not None else 0.0
        if any(oracle.first is not None for oracle in self.oracles):
            self.settings.hear(self._first)
        return self._first

    def readout(self) -> Tensor:
        optimizers = [self.settings.of_lane(lane) for lane in range(len(self.specs))]
        with torch.no_grad():
            return torch.stack([o.readout(s, t) for o, s, t in zip(optimizers, self.state, self.rows, strict=True)])

    def calls(self) -> list[Counter[str]]:
        return [oracle.calls for oracle in self.oracles]

    def resize(self, size: int) -> None:
        calls = self.calls()
        self.sampler = sampler_of(self.problem, self.seeds, size, self.sampler.order, self.theta)
        self.sampler.fill(0)
        self._bind()
        for oracle, counted in zip(self.oracles, calls, strict=True):
            oracle.calls = counted

    def keep(self, lanes: Sequence[int]) -> None:
        """The others are not stepped any more; their rows stay, for the optimizers hold views of them."""
        for lane in range(len(self.specs)):
            if lane not in lanes:
                self.errors.setdefault(lane, "set aside")
