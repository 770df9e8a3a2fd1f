"""What a step costs: seconds by part, memory, operations, and what the machine could do.

A step is measured alone: one lane, one thread, nothing else asked of the machine. The whole
step is timed by ``torch.utils.benchmark``, which repeats it often enough for its clock, fixes
the threads and waits for an accelerator. Its parts are timed inside the running step, for a
part that is repeated by itself finds its data in the cache and looks cheaper than it is. Both
go by turns in several rounds, so that a disturbance of some seconds meets them alike. Making
the problem, the first steps and what is compiled for them are warm-up, which is timed apart.

What is told is the mean of the first steps of training, after the warm-up: whole cycles of those
that invert a matrix now and then. They are taken over and over from where they began, for a
method that has converged asks for less, and the same ones in whole and in parts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from analysis.numbers import duration
from analysis.replay import graphs, native
from analysis.replay.accelerator import accelerator
from problems.names import Spec
from problems.problem import Problem, problem
from suite.clock import Clock
from suite.environment import check_device, environment
from suite.machine import copy_bandwidth, matmul_peak, replayed
from suite.memory import Peak
from suite.optimizers import optimizer
from suite.plan import wants_all
from suite.room import check_room
from suite.stepping import WARM, Stepper
from suite.threads import one_thread

PARTS = ("data", "forward", "backward", "curvature", "update", "measurement")
ROUNDS, FEW = 7, 3  # in so few when a step takes longer than a round was meant to
PATIENCE = 30.0  # seconds after which no further round begins
MANY = 4096  # examples at each step that are worth a word beforehand
ENOUGH = 30.0  # seconds of a step from which the first ones are what is told
LONG = 5.0  # seconds of measuring that are worth a word beforehand
NOISY = 0.10  # interquartile range over median of the whole step from which a warning is due


@dataclass(frozen=True)
class Cost:
    """The cost of one step of one run.

    Args:
        seconds: of a whole step, median over ``rounds``; ``spread`` is its interquartile range, 0 of one round.
        parts: seconds of ``PARTS``, whichever evaluation of a step they belong to; the backward pass is a
            gradient less a forward pass, and curvature is products with the Hessian or the Gauss-Newton matrix and
            what K-FAC's factors take. The update is all the rest: a line search's and a solver's own work too.
        warmup: seconds of setting up, until the first steps were done; ``compilation`` is the share of a
            compiler in it, 0 where what it makes is remembered.
        state: bytes of optimizer state per parameter.
        memory: bytes, at the peak, of setting up and stepping, the data set aside; None where not known.
        flops: floating-point operations of matrix products and convolutions in a step's evaluations.
        calls: evaluations per step by kind, a dense Hessian's as products.
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
    rounds: int
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
        busy = sum(self.parts[part] for part in ("forward", "backward", "curvature"))
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
    tell: Callable[[str], None] | None = None,
) -> Cost:
    """Measure one step of an optimizer on a problem.

    Args:
        batch_size: examples in a minibatch, 0 for all; unless given, the problem's own, or all for methods
            that are meant for all.
        seconds: to spend, about, after the warm-up; more where steps are slow, of which a few are taken.
        tell: told of it in words if it will take much longer than ``seconds``.

    Raises:
        UsageError: unknown names, missing data, a device that is not there, a step that fails, or more examples
            at once than fit into memory.
    """
    check_device(device)
    began, compiled = time.perf_counter(), native.spent.seconds
    bound, spec = problem.bind(problem_text), optimizer.bind(optimizer_text)
    made = problem.build(bound).to(device, getattr(torch, dtype))
    size = size_of(made, spec, batch_size)
    check_room(made, spec, size, device)
    each = seconds / ROUNDS / 2
    if tell is not None and not size and len(made.train) >= MANY:
        tell(f"all {len(made.train):,} examples at each step …")
    with Peak(device) as peak:
        scout = Stepper(made, spec, size, Clock(device))
        scout.scout(each)
    warmup, compilation = time.perf_counter() - began, native.spent.seconds - compiled
    plain = None
    if not scout.slow:
        with Peak(device) as peak:  # the second time, when what a process loads once is loaded
            second = Stepper(made, spec, size)
            second.take(WARM)
        plain = second.settled(scout)
    parted = scout.settled(scout)
    whole, parts = _rounds(plain, parted, each, device, tell)
    low, _, high = statistics.quantiles(whole, n=4) if len(whole) > 1 else whole * 3
    theta = parted.lanes.theta
    return Cost(
        problem=str(bound),
        optimizer=str(spec),
        batch_size=size,
        dtype=dtype,
        device=device,
        parameters=made.size,
        seconds=statistics.median(whole),
        spread=high - low,
        rounds=len(whole),
        parts={part: statistics.median(times) for part, times in parts.items()},
        warmup=warmup,
        compilation=compilation,
        state=parted.state / made.size,
        memory=peak.bytes,
        flops=round(parted.flops),
        calls=parted.calls,
        peak=matmul_peak(device, theta.dtype),
        bandwidth=copy_bandwidth(device),
        traffic=3 * theta.numel() * theta.element_size() + 2 * parted.state,
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
    """How many times as much a step of one optimizer costs as one of another, by turns: one number for each pair.

    There are fewer pairs, three at least, where steps are slow.
    """
    check_device(device)
    made = problem.build(problem.bind(problem_text)).to(device, getattr(torch, dtype))
    steppers = []
    for spec in map(optimizer.bind, (first, second)):
        size = size_of(made, spec, batch_size)
        check_room(made, spec, size, device)
        scout = Stepper(made, spec, size)
        scout.scout(seconds / pairs / 2)
        steppers.append(scout.settled(scout))
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < pairs and (len(found) < FEW or time.perf_counter() - began < PATIENCE):
        order = (0, 1) if len(found) % 2 else (1, 0)
        times = {which: steppers[which].seconds(device, seconds / pairs / 2) for which in order}
        found.append(times[0] / times[1])
    return found


def size_of(made: Problem, spec: Spec, asked: int | None) -> int:
    """Examples in a minibatch: as asked, or all for methods that are meant for all, or the problem's own."""
    if asked is not None:
        return asked
    return 0 if wants_all(spec) else made.batch_size


def _replayed(made: Problem, spec: Spec, size: int, device: str, seconds: float) -> float | None:
    """Seconds of a step as one CUDA graph; None on a processor, or where steps look at values."""
    if accelerator(device) is None:
        return None
    with graphs.used(False):  # a graph cannot be captured within another
        stepper = Stepper(made, spec, size)
        stepper.take(WARM)
        found = replayed(stepper.again, device, seconds)
    return None if stepper.lanes.errors else found  # of an optimizer that refuses to be captured


def _rounds(
    plain: Stepper | None, parted: Stepper, each: float, device: str, tell: Callable[[str], None] | None
) -> tuple[list[float], dict[str, list[float]]]:
    """The seconds of a whole step, and the means of its parts, in each round.

    Args:
        plain: steps whose parts are not timed; without it the whole is what ``parted`` takes, whose clock's own
            time is nothing beside a slow step.
    """
    share = parted.forward_share()
    if plain is None and parted.about > ENOUGH:
        total, means = parted.told(share)
        return [total], {part: [mean] for part, mean in means.items()}
    block = parted.block * parted.about
    rounds = FEW if block > each else ROUNDS
    expected = min(rounds * block * (1 if plain is None else 2), PATIENCE + block)
    if tell is not None and expected > max(LONG, 2 * 2 * ROUNDS * each):
        tell(f"a step takes {duration(parted.about)}: few are timed, in about {duration(expected)} …")
    whole: list[float] = []
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    began = time.perf_counter()
    while len(whole) < rounds and (not whole or time.perf_counter() - began < PATIENCE):
        if plain is not None:
            whole.append(plain.seconds(device, each))
        total, means = parted.parts(each, share)
        if plain is None:
            whole.append(total)
        for part, mean in means.items():
            parts[part].append(mean)
    return whole, parts
