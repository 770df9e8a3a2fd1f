"""The training loop: a group of lanes from their starts to their results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from problems.names import NotApplicable, parse
from problems.problem import Data, Problem, problem
from problems.references import RAISED
from suite.environment import environment
from suite.errors import told
from suite.evaluate import evaluate, gradient_norms
from suite.lanes import lanes_of
from suite.probing import Probing
from suite.sampler import check_size
from suite.spec import Result, Run
from suite.starting import start_of, starts_of
from suite.stopping import GRADIENT, Measures, Rule, best_of, measure_of, rule_of

WATCH = 200  # steps between two looks for diverged lanes, each of which waits for the device
EVEN = 0.02  # of all evaluations, by which their number may be off a straight line
FEWER = 0.75  # share of lanes alive from which the dead ones are not worth a rebuild


def train_group(
    runs: Sequence[Run],
    on_result: Callable[[Result], None],
    on_steps: Callable[[int], None] = lambda steps: None,
) -> None:
    """Train runs of one :func:`suite.engine.group_key` together and report each as soon as it ends.

    Args:
        on_steps: told how many steps (summed over runs) have been done or spared.

    Raises:
        UsageError: the problem cannot be made as asked, or is smaller than a minibatch.
    """
    asked = runs[0]
    built = problem.build(parse(asked.problem))
    made = built.to(asked.device, getattr(torch, asked.dtype))
    check_size(made.train, asked.batch_size, asked.order, bool(made.carry), made.course)
    rule_of(asked.stop, made)  # which may not fit the problem
    starts, ready = [], []
    found = starts_of(asked.problem, asked.device, asked.dtype)
    for run in runs:
        start = start_of(run, made, found)
        if isinstance(start, Result):
            on_result(start)
            on_steps(run.steps)
        else:
            ready.append(run)
            starts.append(start)
    if ready:
        theta = torch.stack([point for point, _ in starts]).to(made.train.tensors[0].device)
        costs = [costs for _, costs in starts]
        _Group(made, built.splits, ready, theta, costs, on_result, on_steps).train()


@dataclass
class _Lane:
    """One run's record while it trains."""

    run: Run
    start: Mapping[str, float]  # what was spent before the first step
    trace: list[tuple[int, str, float]] = field(default_factory=list)
    probed: list[tuple[int, str, float]] = field(default_factory=list)
    history: list[tuple[int, Measures]] = field(default_factory=list)  # the evaluations again, one an entry
    counted: list[tuple[int, int]] = field(default_factory=list)  # evaluations until each look at the loss
    reached: int | None = None  # the step of the first evaluation that met the problem's target
    reached_seconds: float | None = None  # of training until then
    over: bool = False


class _Group:
    def __init__(
        self,
        made: Problem,
        splits: Mapping[str, Data],
        runs: Sequence[Run],
        theta: Tensor,
        starts: Sequence[Mapping[str, float]],
        on_result: Callable[[Result], None],
        on_steps: Callable[[int], None],
    ) -> None:
        self.made, self.theta = made, theta
        self.splits = splits  # as they were read, whose digests are known after the first group
        self.records = [_Lane(run, start) for run, start in zip(runs, starts, strict=True)]
        self.on_result, self.on_steps = on_result, on_steps
        self.seconds = 0.0
        self.taken = 0  # steps
        self.width = len(runs)
        self.rule = rule_of(self.run.stop, made)

    @property
    def run(self) -> Run:
        """What all of the group share."""
        return self.records[0].run

    def train(self) -> None:
        run, records = self.run, self.records
        try:
            specs = [parse(r.run.optimizer) for r in records]
            seeds = [r.run.seed for r in records]
            self.lanes = lanes_of(self.made, specs, self.theta, seeds, run.batch_size, run.order)
        except RAISED as error:
            self._fail(error)
            return
        self.probing = Probing(self.made, run.probes, run.batch_size, self.lanes)
        self._evaluate(0)
        at = 0
        for stop in self._stops():
            if not self._alive:
                return
            try:
                first_bad = self._steps(at, stop)
            except RAISED as error:
                self._fail(error)
                return
            self._part(first_bad, stop)
            at = stop
            if run.grow_every and at % run.grow_every == 0 and self._alive:
                self._grow()
            if self._alive and (at % run.eval_every == 0 or at == run.steps):
                self._evaluate(at)
        self._end(dict.fromkeys(self._alive, ("done", "")))

    @property
    def _alive(self) -> list[int]:
        return [lane for lane, record in enumerate(self.records) if not record.over]

    def _stops(self) -> Iterator[int]:
        """The steps after which to look: evaluations, and often enough to set diverged lanes aside."""
        run, at = self.run, 0
        while at < run.steps:
            marks = [every * (at // every + 1) for every in (run.eval_every, run.grow_every) if every]
            at = min(at + WATCH, run.steps, *marks)
            yield at

    def _grow(self) -> None:
        """Double the minibatches, up to the whole training split."""
        size = min(2 * self.lanes.sampler.size, len(self.made.train))
        if size != self.lanes.sampler.size:
            self.lanes.resize(size)
            self.probing.attach(self.lanes)

    def _steps(self, start: int, stop: int) -> dict[int, int]:
        """Take the steps from ``start`` to ``stop``; lane -> the first step whose loss was not finite."""
        began = time.perf_counter()
        losses = torch.empty(stop - start, len(self.records), dtype=self.theta.dtype, device=self.theta.device)
        for k in range(start, stop):
            losses[k - start].copy_(self.probing.step(k))
        finite = torch.isfinite(losses).cpu()
        self.seconds += time.perf_counter() - began - self.probing.seconds()
        alive, self.taken = self._alive, stop
        self.on_steps((stop - start) * len(alive))
        steps = {lane: (~finite[:, lane]).nonzero().flatten().tolist() for lane in alive}
        first_bad = {lane: start + bad[0] for lane, bad in steps.items() if bad}
        self._probed({lane: first_bad.get(lane, stop) for lane in alive})
        return first_bad

    def _probed(self, until: Mapping[int, int]) -> None:
        """Give each lane what was measured of it, up to the step at which it diverged, if it did."""
        labels, values = self.probing.flush()
        for lane, last in until.items() if labels else ():
            pairs = zip(labels, values[:, lane].tolist(), strict=True)
            self.records[lane].probed += [(k, measure, value) for (k, measure), value in pairs if k <= last]

    def _part(self, diverged: Mapping[int, int], at: int) -> None:
        """End the lanes that raised or whose loss stopped being finite; go on with the others."""
        ends: dict[int, tuple[str, str]] = {}
        for lane, step in diverged.items():
            ends[lane] = ("diverged", f"the minibatch loss was not finite at step {step}")
        for lane in self._alive:
            if lane in self.lanes.errors:
                ends[lane] = ("failed", self.lanes.errors[lane])
        self._end(ends)

    def _evaluate(self, at: int) -> None:
        at_theta = self.lanes.readout()
        found = {m: v.tolist() for m, v in evaluate(self.made, at_theta, self.run.batch_size).items()}
        if self.rule.gradient:
            found[GRADIENT] = gradient_norms(self.made, at_theta).tolist()
        ends: dict[int, tuple[str, str]] = {}
        target, calls = self.made.target, self.lanes.calls()
        for lane in self._alive:
            record = self.records[lane]
            record.counted.append((at, calls[lane].total()))
            record.trace += [(at, measure, values[lane]) for measure, values in found.items()]
            record.history.append((at, {measure: values[lane] for measure, values in found.items()}))
            if self.run.timed:
                record.probed.append((at, "seconds", self.seconds))
            if not all(math.isfinite(values[lane]) for values in found.values()):
                ends[lane] = ("diverged", f"the loss over a whole split was not finite at step {at}")
                continue
            if why := self.rule.over(record.history):
                ends[lane] = ("stopped", why)
            if target is None or record.reached is not None or target.measure not in found:
                continue
            if target.reached(found[target.measure][lane]):
                record.reached, record.reached_seconds = at, self.seconds
                if record.run.until_target:
                    ends[lane] = ("reached target", f"{target.measure} reached {target.value:g} at step {at}")
        self._end(ends)

    # ending ------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        status = "skipped" if isinstance(error, NotApplicable) else "failed"
        self._end(dict.fromkeys(self._alive, (status, told(error))))

    def _end(self, ends: Mapping[int, tuple[str, str]]) -> None:
        """Report the lanes that end; once many have, go on without their rows."""
        for lane, (status, detail) in sorted(ends.items()):
            self._report(lane, status, detail)
            self.records[lane].over = True
        alive = self._alive
        if ends and alive and len(alive) <= FEWER * len(self.records):
            kept = self.lanes.keep(alive)
            if kept is not None:
                self.lanes, self.records = kept, [self.records[lane] for lane in alive]
                self.probing.keep(alive, kept)

    def _report(self, lane: int, status: str, detail: str) -> None:
        record = self.records[lane]
        self.on_steps(record.run.steps - self.taken)  # what is left need not be done
        summary = _summary(record, self.made) | _at_best(record, self.made, self.rule)
        if hasattr(self, "lanes"):
            calls = self.lanes.calls()[lane]
            summary.update({f"{kind}_calls": n for kind, n in sorted(calls.items())})
            summary["steps_taken"] = self.taken  # in which these were made: past the last evaluation where it diverged
        if hasattr(self, "probing"):
            summary.update({f"probe_{kind}_calls": n for kind, n in sorted(self.probing.calls.items())})
        summary |= record.start
        summary |= {"lanes": self.width, "train_seconds": round(self.seconds, 6), "parameters": self.made.size}
        summary |= {f"{name}_data": split.fingerprint for name, split in self.splits.items()}
        trace = tuple(sorted(record.trace + record.probed + _uneven(record.counted), key=lambda row: row[0]))
        self.on_result(Result(record.run, status, detail, trace, summary, environment(record.run.device)))


def _uneven(counted: Sequence[tuple[int, int]]) -> list[tuple[int, str, float]]:
    """The evaluations so far as a measure, where they did not come evenly, as those of a line search do not: else
    steps tell them."""
    if not counted:
        return []
    (_, before), (last, total) = counted[0], counted[-1]
    off = [abs(count - before - (total - before) * step / max(last, 1)) for step, count in counted]
    even = max(off) <= max(1.0, EVEN * total)
    return [] if even else [(step, "evaluations", float(count)) for step, count in counted]


def _summary(record: _Lane, made: Problem) -> dict[str, Any]:
    """Final and best values of each measure, and when the target was reached."""
    summary: dict[str, Any] = {}
    for step, measure, value in record.trace:
        best = f"best_{measure}"
        better = max if made.better(measure) == "higher" else min
        summary[f"final_{measure}"] = value
        if math.isfinite(value):
            summary[best] = better(summary.get(best, value), value)
        summary["last_step"] = step
    if record.run.timed and made.target is not None:
        summary["seconds_to_target"] = record.reached_seconds
    if made.target is not None:
        summary |= {"target": made.target.measure, "target_value": made.target.value, "steps_to_target": record.reached}
    return summary


def _at_best(record: _Lane, made: Problem, rule: Rule) -> dict[str, Any]:
    """The values at the evaluation that is best by the stopping rule's measure; none where it has no measure."""
    finite = [(step, found) for step, found in record.history if all(map(math.isfinite, found.values()))]
    if not rule.best or not finite:
        return {}
    step, found = finite[best_of(made, rule.best, finite)]
    values = {**found, rule.best: measure_of(found, rule.best)}
    return {"best_step": step, "best_by": rule.best} | {f"at_best_{m}": v for m, v in values.items()}
