"""What a step costs: seconds by part, memory, operations, and what the machine could do.

A step is measured alone: one lane, one thread, nothing else asked of the machine. The whole
step is timed by ``torch.utils.benchmark``, which repeats it often enough for its clock, fixes
the threads and waits for an accelerator. Its parts are timed inside the running step, for a
part that is repeated by itself finds its data in the cache and looks cheaper than it is. Both
go by turns in several rounds, so that a disturbance of some seconds meets them alike. Making
the problem, the first step and what is compiled for it are warm-up, which is timed apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from analysis.replay import graphs, native
from analysis.replay.tape import Kernel
from problems.names import Spec, parse
from problems.problem import Problem, problem
from suite.clock import Clock
from suite.environment import check_device, environment
from suite.initializers import initializer
from suite.lanes import Lanes, lanes_of
from suite.machine import copy_bandwidth, device_seconds, matmul_peak, replayed, timer
from suite.memory import Peak
from suite.objective import Objective
from suite.optimizers import optimizer
from suite.plan import wants_all
from suite.room import check_room
from suite.sampler import generator
from suite.threads import one_thread

PARTS = ("data", "forward", "backward", "curvature", "update", "measurement")
PRODUCTS = ("hvp", "ggn")  # evaluations by their kinds, beside values and gradients
ROUNDS, FEW = 7, 3  # in so few when a step takes longer than a round was meant to
AHEAD = 20  # steps launched while an accelerator waits
NOISY = 0.10  # interquartile range over median of the whole step from which a warning is due


@dataclass(frozen=True)
class Cost:
    """The cost of one step of one run.

    Args:
        seconds: of a whole step, median over rounds; ``spread`` is its interquartile range.
        parts: seconds of ``PARTS``, whichever evaluation of a step they belong to; the backward pass is a
            gradient less a forward pass, and curvature is products with the Hessian or the Gauss-Newton matrix and
            what K-FAC's factors take. The update is all the rest: a line search's and a solver's own work too.
        warmup: seconds of setting up, until the first steps were done; ``compilation`` is the share of a
            compiler in it, 0 where what it makes is remembered.
        state: bytes of optimizer state per parameter.
        memory: bytes, at the peak, of setting up and stepping, the data set aside; None where not known.
        flops: floating-point operations of matrix products and convolutions in a step's evaluations, K-FAC's
            factors aside.
        calls: evaluations per step by kind.
        peak, bandwidth: what the machine does at best, in operations and bytes per second.
        traffic: bytes that the update must move, each array once: θ and the gradient read, θ
            written, the state read and written.
        replayed: seconds of a step whose kernels are all replayed as one CUDA graph, without what launching
            them costs; None on a processor.
    """

    problem: str
    optimizer: str
    batch_size: int
    dtype: str
    device: str
    parameters: int
    seconds: float
    spread: float
    parts: Mapping[str, float]
    warmup: float
    compilation: float
    state: float
    memory: int | None
    flops: int
    calls: Mapping[str, float]
    peak: float
    bandwidth: float
    traffic: int
    replayed: float | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ so much that the machine was probably doing something else."""
        return self.spread > NOISY * self.seconds

    @property
    def flops_share(self) -> float:
        """The share of the machine's matrix-product peak that the evaluations reach."""
        counted = ("forward", "backward") if "factors" in self.calls else ("forward", "backward", "curvature")
        busy = sum(self.parts[part] for part in counted)
        return self.flops / busy / self.peak if busy > 0 else 0.0

    @property
    def bandwidth_share(self) -> float:
        """The share of the machine's copy bandwidth that the update reaches."""
        return self.traffic / self.parts["update"] / self.bandwidth if self.parts["update"] > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, the shares and the verdict on noise included."""
        shares = {"flops_share": self.flops_share, "bandwidth_share": self.bandwidth_share, "noisy": self.noisy}
        return {**asdict(self), **shares}


@one_thread()
def measure(
    problem_text: str | Spec,
    optimizer_text: str | Spec,
    *,
    batch_size: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    seconds: float = 2.0,
) -> Cost:
    """Measure one step of an optimizer on a problem.

    Args:
        batch_size: examples in a minibatch, 0 for all; unless given, the problem's own, or all for methods
            that are meant for all.
        seconds: to spend, about, after the warm-up.

    Raises:
        UsageError: unknown names, missing data, a device that is not there, or more examples at once than fit
            into memory.
    """
    check_device(device)
    began = time.perf_counter()
    bound = problem.bind(problem_text)
    made = problem.build(bound).to(device, getattr(torch, dtype))
    spec = optimizer.bind(optimizer_text)
    own = 0 if wants_all(spec) else made.batch_size
    size = own if batch_size is None else batch_size
    compiled = native.spent.seconds
    check_room(made, spec, size, device)
    _Step(made, spec, size, steps=1)
    warmup, compilation = time.perf_counter() - began, native.spent.seconds - compiled
    with Peak(device) as peak:  # the second time, when what a process loads once is loaded
        step = _Step(made, spec, size)
    whole, parts = _rounds(step, seconds, device)
    low, _, high = statistics.quantiles(whole, n=4)
    state = sum(t.numel() * t.element_size() for t in held(step.lanes.state))
    theta = step.lanes.theta
    return Cost(
        problem=str(bound),
        optimizer=str(spec),
        batch_size=size,
        dtype=dtype,
        device=device,
        parameters=made.size,
        seconds=statistics.median(whole),
        spread=high - low,
        parts={part: statistics.median(times) for part, times in parts.items()},
        warmup=warmup,
        compilation=compilation,
        state=state / made.size,
        memory=peak.bytes,
        flops=round(step.flops()),
        calls=step.calls,
        peak=matmul_peak(device, theta.dtype),
        bandwidth=copy_bandwidth(device),
        traffic=3 * theta.numel() * theta.element_size() + 2 * state,
        replayed=_replayed(made, spec, size, device, seconds / ROUNDS),
        environment=environment(device),
    )


@one_thread()
def ratios(
    problem_text: str | Spec,
    first: str | Spec,
    second: str | Spec,
    *,
    batch_size: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    seconds: float = 2.0,
    pairs: int = 9,
) -> list[float]:
    """How many times as much a step of one optimizer costs as one of another, by turns: one number for each pair."""
    check_device(device)
    made = problem.build(problem.bind(problem_text)).to(device, getattr(torch, dtype))
    size = made.batch_size if batch_size is None else batch_size
    steps = [_Step(made, optimizer.bind(text), size) for text in (first, second)]
    timers = [timer(step.whole) for step in steps]
    found = []
    for i in range(pairs):
        order = (0, 1) if i % 2 else (1, 0)
        times = {which: timers[which].blocked_autorange(min_run_time=seconds / pairs / 2).median for which in order}
        found.append(times[0] / times[1])
    return found


class _Step:
    """One lane at its problem's start, whose step runs whole or with its parts timed."""

    def __init__(self, made: Problem, spec: Spec, size: int, steps: int = 3) -> None:
        self.made = made
        data = made.train.tensors[0]
        start = initializer.build(parse("default"))(made, generator(0, "start"))
        theta = start.to(data.device, _float(made)).unsqueeze(0)
        self.clock = Clock(data.device.type)
        clock = self.clock

        class Timed(Objective):
            """The problem's objective, the time of its evaluations taken."""

            def bind(
                self, kind: str, *operands: Tensor, taped: bool | None = None, carry: bool = True
            ) -> tuple[Kernel, list[Tensor]]:
                action, outputs = super().bind(kind, *operands, taped=taped, carry=carry)
                return clock.timed(kind if kind in ("value", "gradient") else "curvature", action), outputs

            def bind_factors(self, samples: int, taped: bool, *operands: Tensor) -> tuple[Kernel, list[Tensor]]:
                action, outputs = super().bind_factors(samples, taped, *operands)
                return clock.timed("curvature", action), outputs

        arguments = (made, [spec], theta, [0], size, "reshuffle")
        self.lanes: Lanes = lanes_of(*arguments)
        self._parted = lanes_of(*arguments, Timed)
        self._parted.sampler.fill = clock.timed("data", self._parted.sampler.fill)  # type: ignore[method-assign]
        self._step = clock.timed("step", self._parted.step)
        self._record = clock.timed("measurement", self._keep)
        self._k = 0
        self._losses = theta.new_zeros(1000, 1)
        before = self.lanes.calls()[0].copy()
        for _ in range(steps):
            self.whole()
        after = self.lanes.calls()[0]
        self.calls = {kind: (n - before[kind]) / steps for kind, n in after.items() if n > before[kind]}
        for k in range(steps):
            self._parted.step(k)
        mine = [t for each in (self.lanes, self._parted) for t in (each.theta, *held(each.state))]
        self._begun = [(tensor, tensor.clone()) for tensor in mine]

    def _keep(self, loss: Tensor) -> None:
        self._losses[self._k % 1000].copy_(loss)

    def restart(self) -> None:
        """Back to where steps began: a method that has converged, or diverged, no longer takes the same steps."""
        with torch.no_grad():
            for tensor, before in self._begun:
                tensor.copy_(before)

    def whole(self) -> None:
        """A step as the training loop takes it."""
        self._keep(self.lanes.step(self._k))
        self._k += 1

    def parts(self, steps: int, share: float) -> dict[str, float]:
        """Mean seconds of each part over some steps; ``share`` of a gradient is its forward pass."""
        inside = ("data", "value", "gradient", "curvature")
        for name in (*inside, "step", "measurement"):
            self.clock.take(name)
        for k in range(steps):
            if k % AHEAD == 0:
                self.clock.delay()
            self._record(self._step(self._k))
            self._k += 1
        took = {name: self.clock.take(name) for name in (*inside, "step", "measurement")}
        spent = {name: total / steps for name, (total, _) in took.items()}
        watching = sum(took[name][1] for name in inside) * (self.clock.inside + self.clock.around) / steps
        return {
            "data": spent["data"],
            "forward": spent["value"] + spent["gradient"] * share,
            "backward": spent["gradient"] * (1 - share),
            "curvature": spent["curvature"],
            "update": max(0.0, spent["step"] - sum(spent[name] for name in inside) - watching),
            "measurement": spent["measurement"],
        }

    def forward_share(self) -> float:
        """The forward pass's share of a gradient, from the two by themselves, by turns."""
        objective = Objective(self.made, 1, self.lanes.sampler.batch)
        timers = []
        for kind in ("value", "gradient"):
            action, _ = objective.bind(kind, self.lanes.theta)
            action()
            timers.append(timer(action))
        shares = []
        for _ in range(ROUNDS):
            forward, gradient = (watch.blocked_autorange(min_run_time=0.02).median for watch in timers)
            shares.append(forward / gradient)
        return min(1.0, statistics.median(shares))

    def flops(self) -> float:
        """Floating-point operations of a step's products and convolutions, from one evaluation of each kind."""
        objective = Objective(self.made, 1, self.lanes.sampler.batch, taped=False)
        theta = self.lanes.theta
        total = 0.0
        for kind, count in self.calls.items():
            operands = {"value": [theta], "gradient": [theta], **{k: [theta, theta] for k in PRODUCTS}}.get(kind)
            if operands is not None:
                with FlopCounterMode(display=False) as counter:
                    getattr(objective, kind)(*operands)
                total += count * counter.get_total_flops()
        return total


def held(state: Any) -> list[Tensor]:
    """The tensors of an optimizer's state, those that a torch optimizer holds for its parameters included."""
    if isinstance(state, torch.optim.Optimizer):
        return held([dict(each) for each in state.state.values()])
    if isinstance(state, dict):
        return [t for value in state.values() for t in held(value)]
    if isinstance(state, list | tuple):
        return [t for value in state for t in held(value)]
    return [state] if isinstance(state, Tensor) else []


def _float(made: Problem) -> torch.dtype:
    return next((t.dtype for t in made.train.tensors if t.is_floating_point()), torch.float32)


def _replayed(made: Problem, spec: Spec, size: int, device: str, seconds: float) -> float | None:
    """Seconds of a step as one CUDA graph; None on a processor, or where steps look at values."""
    if not device.startswith("cuda"):
        return None
    with graphs.used(False):  # a graph cannot be captured within another
        return replayed(_Step(made, spec, size).whole, device, seconds)


def _rounds(step: _Step, seconds: float, device: str) -> tuple[list[float], dict[str, list[float]]]:
    """The median of a whole step, and the means of its parts, in each round."""
    share = step.forward_share()
    whole: list[float] = []
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    each = seconds / ROUNDS / 2
    while len(whole) < (FEW if whole and whole[-1] > each else ROUNDS):
        step.restart()
        whole.append(device_seconds(step.whole, device, each))
        step.restart()
        for part, mean in step.parts(max(1, round(each / whole[-1])), share).items():
            parts[part].append(mean)
    return whole, parts
