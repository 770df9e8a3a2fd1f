"""About how long runs will take, before they begin and while they run.

Built on the calibration's time of a gradient pass. It is a guess within a factor of two or
so: what a step costs besides its gradients is put at a typical share, and how many gradients the step of a search or
of Newton's method is worth is what its entry says (``passes``). A step of a class of torch's, each lane of which has
its own objects, is tried.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from problems.entries import Entry
from problems.names import Spec, parse
from problems.problem import problem
from suite.engine import groups
from suite.optimizers import optimizer
from suite.spec import Run

STEP = 1.5  # a step over its gradient pass: the update, the minibatch, the loop
FORWARD = 0.4  # an evaluation over a gradient pass on as many examples
GROUP = 0.6  # seconds to set up a group of lanes
PROCESS = 6.0  # seconds until a process has loaded what it needs


def seconds(runs: Sequence[Run], jobs: int) -> float:
    """About how long ``suite.engine.train`` will take for these runs."""
    work = [_group_seconds(group) for group in groups(runs)]
    if not work:
        return 0.0
    workers = min(jobs, len(work))
    return max(sum(work) / workers, max(work)) + (PROCESS if workers > 1 else 0.0)


class Course:
    """How the work of a batch of runs is spread over its steps: a step of a CNN outweighs one of a quadratic."""

    def __init__(self, runs: Sequence[Run]) -> None:
        found = groups(runs)
        self._steps = [0, *accumulate(sum(run.steps for run in group) for group in found)]
        self._work = [0.0, *accumulate(_group_seconds(group) for group in found)]

    def share(self, steps: int) -> float:
        """The share of the work, in [0, 1], that is behind after so many steps in the order of the groups."""
        if steps >= self._steps[-1]:
            return 1.0
        i = bisect.bisect_right(self._steps, steps) - 1
        inside = (steps - self._steps[i]) / (self._steps[i + 1] - self._steps[i])
        return (self._work[i] + inside * (self._work[i + 1] - self._work[i])) / self._work[-1]


def _group_seconds(group: Sequence[Run]) -> float:
    """One process's time for a group of lanes."""
    import torch

    from suite.calibrate import lanes_for, pass_seconds, step_seconds

    run = group[len(group) // 2]  # neither the lowest rate nor the highest
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the engine trains and calibrates
    try:
        each = pass_seconds(run, lanes_for(run, len(group)))
        spec = parse(run.optimizer)
        own = 0.0 if optimizer.build(spec).needs.vmap else step_seconds(run)
    finally:
        torch.set_num_threads(threads)
    made = problem.build(parse(run.problem))
    evaluations = 1 + -(-run.steps // run.eval_every)
    examples = sum(len(split) for split in made.splits.values())
    batches = examples / (run.batch_size or len(made.train))
    step = own or STEP * each * _passes(spec, made.size)
    return GROUP + len(group) * (run.steps * step + FORWARD * evaluations * batches * each)


def _passes(spec: Spec, count: int) -> float:
    """About how many gradients a step of a bound optimizer is worth, on so many parameters."""
    known = optimizer.find(spec.name)
    own = known.meta.get("passes", 1.0)
    inside = [value for key, value in spec.kwargs if isinstance(value, Spec) and _is_optimizer(known, key)]
    return float(own(count) if callable(own) else own) * math.prod(_passes(value, count) for value in inside)


def _is_optimizer(entry: Entry[Any], key: str) -> bool:
    return next(optimizer.inside(p) is optimizer for p in entry.parameters if p.name == key)
