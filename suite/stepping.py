"""Steps of one lane that are taken over and over: as the training loop takes them, or with their parts timed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from analysis.replay import graphs
from analysis.replay.accelerator import accelerator
from analysis.replay.recorder import Kernel
from problems.names import Spec, UsageError, parse
from problems.problem import Problem
from suite.clock import Clock
from suite.initializers import initializer
from suite.lanes import lanes_of
from suite.machine import device_seconds, glance
from suite.objective import Objective
from suite.optimizers import optimizer
from suite.sampler import generator

WARM = 4  # steps after which what is made anew at first is there, and kernels of a GPU are captured
BLOCK = 20  # steps, about, after which it starts again, for where it has converged a step costs less
MOST = 60.0  # seconds of a block, for which a long cycle is cut short
SLOW, LOADING = 1.0, 5.0  # seconds of a step, and of a first or of recording, from which none is repeated for nothing
CURVATURE = ("hvp", "ggn", "hessian", "factors")  # kinds of evaluations, beside values and gradients
INSIDE = ("data", "value", "gradient", *CURVATURE)  # stretches of a step that are not the update's
TURNS, LOOK = 7, 0.01  # of a forward pass and a gradient by themselves, and seconds of each
AHEAD = 20  # steps launched while an accelerator waits


class Stepper:
    """One lane at its problem's start.

    Args:
        clock: by which the parts of its steps are timed, and what they evaluate counted.

    ``recording`` is the seconds that it took to make, ``about`` those of a step, ``skipped`` how many of the first
    are not timed, and ``block`` how many are taken after them before it starts again from there: :meth:`scout`
    finds out.

    Raises:
        UsageError: a step fails.
    """

    def __init__(self, made: Problem, spec: Spec, size: int, clock: Clock | None = None) -> None:
        start = initializer.build(parse("default"))(made, generator(0, "start"))
        theta = start.to(made.like).unsqueeze(0)
        self.made, self.spec, self.size, self.clock = made, spec, size, clock
        self._flops: dict[str, int] = {}  # of an evaluation, by kind
        evaluator = Objective if clock is None else _timed(clock, self._flops)
        began = time.perf_counter()
        self.lanes = lanes_of(made, [spec], theta, [0], size, "reshuffle", evaluator)
        self.recording = time.perf_counter() - began
        self.cycle = optimizer.build(spec).needs.cycle
        self.about, self.skipped, self.block = 0.0, 0, self.cycle
        self._k, self._taken, self._worked = 0, 0, 0.0
        self._called: Counter[str] = Counter()
        self._begin: list[Callable[[], Any]] = []
        self._since = 0, Counter(self.lanes.calls()[0])
        self._losses = theta.new_zeros(1000, 1)
        self._step, self._record = self.lanes.step, self._note
        if clock is not None:
            self.lanes.sampler.fill = clock.timed("data", self.lanes.sampler.fill)  # type: ignore[method-assign]
            self._step, self._record = clock.timed("step", self._step), clock.timed("measurement", self._record)
            self.forget()  # what setting up evaluates is no step's

    def _note(self, loss: Tensor) -> None:
        self._losses[self._k % 1000].copy_(loss)

    def step(self) -> None:
        """A step as the training loop takes it."""
        self._record(self._step(self._k))
        self._k += 1

    def again(self) -> None:
        """The last step's minibatch and settings once more: a step that begins no epoch."""
        self._record(self._step(self._k - 1))

    def run(self) -> None:
        """As many steps as are taken in one go."""
        for _ in range(self.block):
            self.step()

    def scout(self, each: float) -> None:
        """Take the first steps, and settle which are timed: whole cycles, as many as fit into ``each`` seconds.

        Those after the first few, and after those in which a method only looks and leaves θ where it is; or, where θ
        stops moving in one of the first, those until it does. Where steps may differ in cost, none that was not
        looked at.
        """
        moved, spent, first = True, 0.0, 0
        enough = 2 * each if self.lanes.uniform else max(2 * each, SLOW)
        while moved and (self._k < WARM + first or (self._k < WARM + first + BLOCK and spent < enough)):
            before, began = self.lanes.theta.clone(), self._now()
            self.take(1)
            self.about = self._now() - began
            spent += self.about
            moved = self.lanes.uniform or self.cycle > 1 or not torch.equal(before, self.lanes.theta)
            if not moved and first == self._k - 1 < BLOCK:
                moved, first = True, self._k  # it has not begun
            if self.cycle == 1 and self.about > (SLOW if self._k > 1 else LOADING):
                break
        cycles = max(1, min(-(-BLOCK // self.cycle), round(each / self.about / self.cycle)))
        self.block = max(1, min(self.cycle * cycles, int(MOST / self.about)))
        self.skipped = min(self._k, WARM + first)
        if not moved:
            self.skipped, self.block = 0, max(1, min(self.block, self._k - 1))
        elif not self.lanes.uniform and self.cycle == 1:
            self.block = max(1, min(self.block, self._k - self.skipped))

    def _now(self) -> float:
        """The time at which all that was asked for is done."""
        means = accelerator(self.lanes.theta.device)
        if means is not None:
            means.wait()
        return time.perf_counter()

    def settled(self, scout: Stepper) -> Stepper:
        """This one where the timed steps begin, as a scout has settled; another if it has gone further."""
        stepper = self if self._k <= scout.skipped else Stepper(self.made, self.spec, self.size, self.clock)
        stepper.about, stepper.block, stepper.skipped = scout.about, scout.block, scout.skipped
        stepper.take(scout.skipped - stepper._k)
        stepper._begin = [_kept(stepper.lanes.theta), _kept(stepper.lanes.state)]
        return stepper

    @property
    def slow(self) -> bool:
        """Whether another costs more than it tells; beside such steps the clock's own time is nothing."""
        return self.about > SLOW or self.recording > LOADING

    def take(self, steps: int) -> None:
        """Take steps that are not timed."""
        for _ in range(steps):
            self.step()
            if self.lanes.errors:
                raise UsageError(f"{self.spec.name} on {self.made.name}: {self.lanes.errors[0]}")

    def restart(self) -> None:
        """Back to where the timed steps begin."""
        with torch.no_grad():
            _, self.lanes.state = (give() for give in self._begin)

    def seconds(self, device: str, each: float) -> float:
        """Of a step, measured for so long, where the timed ones begin; each time anew where they may differ in cost."""
        self.restart()
        again = None if self.lanes.uniform and self.about < each else self.restart
        return device_seconds(self.run, device, each, before=again) / self.block

    def parts(self, seconds: float, share: float) -> tuple[float, dict[str, float]]:
        """Mean seconds of a step and of each of its parts, from as many steps as take so long.

        Args:
            share: of a gradient, its forward pass.
        """
        assert self.clock is not None
        apart = self.clock.accelerator is not None and not self.slow
        pauses = -(-self.block // AHEAD) if self.lanes.uniform else 0
        each = (self.about * self.block + self.clock.pause * pauses) * (2 if apart else 1)
        timed: list[tuple[Any, Any]] = []
        untimed: list[tuple[Any, Any]] = []
        self.forget()
        for _ in range(max(1, round(seconds / each))):
            if apart:
                with self.clock.stopped():
                    untimed += self._through()
            timed += self._through()
        if apart:
            self.clock.correct(self.clock.total(timed), self.clock.total(untimed))
        return self.told(share)

    def _through(self) -> list[tuple[Any, Any]]:
        """Take the timed steps once, and mark when they began and ended: those of each go behind a delay."""
        assert self.clock is not None
        self.restart()
        marks = []
        for at in range(0, self.block, AHEAD):
            if self.lanes.uniform:  # launching is what other steps take
                self.clock.delay()
            began = self.clock.now()
            for _ in range(min(AHEAD, self.block - at)):
                self.step()
            marks.append((began, self.clock.now()))
        return marks

    def forget(self) -> None:
        """Let what is told next be of the steps from here on."""
        self._watch()
        self._since = self._k, self.lanes.calls()[0].copy()

    def told(self, share: float) -> tuple[float, dict[str, float]]:
        """Of the steps since :meth:`forget`, or since the first: as :meth:`parts`."""
        assert self.clock is not None
        took = self._watch()
        before, called = self._since
        steps, timed = self._k - before, took["step"][1]
        self._taken += steps
        self._called += self.lanes.calls()[0] - called
        self._worked += sum(self._flops.get(name, 0) * count for name, (_, count) in took.items()) * steps / timed
        spent = {name: total / timed for name, (total, _) in took.items()}
        watching = sum(took[name][1] for name in INSIDE) * (self.clock.inside + self.clock.around) / timed
        return spent["step"] + spent["measurement"], {
            "data": spent["data"],
            "forward": spent["value"] + spent["gradient"] * share,
            "backward": spent["gradient"] * (1 - share),
            "curvature": sum(spent[kind] for kind in CURVATURE),
            "update": max(0.0, spent["step"] - sum(spent[name] for name in INSIDE) - watching),
            "measurement": spent["measurement"],
        }

    def _watch(self) -> dict[str, tuple[float, int]]:
        """The clock's stretches since it was asked last: their seconds and their number."""
        assert self.clock is not None
        return {name: self.clock.take(name) for name in (*INSIDE, "step", "measurement")}

    def forward_share(self) -> float:
        """The forward pass's share of a gradient, from the two by themselves, by turns: the least that each takes.

        Recorded as steps are, unless that takes long, as of an LSTM of 784 steps (a minute).
        """
        objective = Objective(self.made, 1, self.lanes.sampler.batch, taped=self.recording < LOADING)
        theta = self.lanes.theta
        actions = {kind: objective.bind(kind, theta, carry=False)[0] for kind in ("value", "gradient")}
        least = dict.fromkeys(actions, float("inf"))
        began = time.perf_counter()
        for _ in range(TURNS):
            for kind, action in actions.items():
                least[kind] = min(least[kind], glance(action, theta.device.type, LOOK))
            if time.perf_counter() - began > SLOW:
                break
        return min(1.0, least["value"] / least["gradient"])

    @property
    def calls(self) -> dict[str, float]:
        """Evaluations per step by kind, over the steps whose parts were timed."""
        return {kind: n / self._taken for kind, n in self._called.items()}

    @property
    def flops(self) -> float:
        """Floating-point operations of products and convolutions in a step's evaluations, over the same steps."""
        return self._worked / self._taken

    @property
    def state(self) -> int:
        """Bytes of the optimizer's state, θ and its gradient aside."""
        own = self.lanes.theta.untyped_storage().data_ptr()
        found = {id(t): t for t in held(self.lanes.state) if t.untyped_storage().data_ptr() != own}
        return sum(t.numel() * t.element_size() for t in found.values())


def _timed(clock: Clock, flops: dict[str, int]) -> type[Objective]:
    """The problem's objective, each evaluation a stretch of its kind, its operations counted at the first of a kind."""

    def watched(kind: str, action: Kernel) -> Kernel:
        return clock.timed(kind, action if kind in flops else _counted(kind, action, flops))

    class Timed(Objective):
        def bind(
            self, kind: str, *operands: Tensor, taped: bool | None = None, carry: bool = True
        ) -> tuple[Kernel, list[Tensor]]:
            action, outputs = super().bind(kind, *operands, taped=taped, carry=carry)
            return watched(kind, action), outputs

        def bind_factors(self, samples: int, taped: bool, *operands: Tensor) -> tuple[Kernel, list[Tensor]]:
            action, outputs = super().bind_factors(samples, taped, *operands)
            return watched("factors", action), outputs

    return Timed


def _counted(kind: str, action: Kernel, flops: dict[str, int]) -> Kernel:
    def act() -> None:
        if kind in flops:
            action()
            return
        with graphs.used(False), _Flops() as counter:  # which does not see what a graph replays
            action()
        flops[kind] = counter.total

    return act


class _Flops(TorchDispatchMode):
    """Counts operations as torch's ``FlopCounterMode`` does, without what that one loads (a second or two)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # no compiler runs in here; to say so at each operation, torch would import it first

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def held(state: Any) -> list[Tensor]:
    """The tensors of an optimizer's state, those that a torch optimizer holds for its parameters included."""
    if isinstance(state, torch.optim.Optimizer):
        own = [
            value for each in state.state.values() for value in (each.values() if isinstance(each, dict) else [each])
        ]
        return held([value if isinstance(value, Tensor) else getattr(value, "__dict__", value) for value in own])
    if is_dataclass(state):
        return held(vars(state))
    if isinstance(state, dict):
        return [t for value in state.values() for t in held(value)]
    if isinstance(state, list | tuple):
        return [t for value in state for t in held(value)]
    return [state] if isinstance(state, Tensor) else []


def _kept(state: Any) -> Callable[[], Any]:
    """What gives a state back as it is now, its tensors in their places."""
    if isinstance(state, Tensor):
        saved = state.detach().clone()
        return lambda: state.copy_(saved)
    if isinstance(state, torch.optim.Optimizer):
        return _kept_by_its_own(state)
    if is_dataclass(state) and not isinstance(state, type):
        fields = _kept(vars(state))
        return lambda: replace(state, **fields())
    if isinstance(state, dict):
        parts = {key: _kept(value) for key, value in state.items()}
        return lambda: {key: give() for key, give in parts.items()}
    if isinstance(state, list | tuple):
        items = [_kept(value) for value in state]
        make = getattr(type(state), "_make", type(state))
        return lambda: make([give() for give in items])
    return lambda: state


def _kept_by_its_own(state: torch.optim.Optimizer) -> Callable[[], Any]:
    """The same by a torch optimizer's own means; where they fail it goes on from where it is."""
    try:
        saved = deepcopy(state.state_dict())
    except Exception:
        return lambda: state

    def give() -> torch.optim.Optimizer:
        with suppress(Exception):
            state.load_state_dict(deepcopy(saved))
        return state

    return give
