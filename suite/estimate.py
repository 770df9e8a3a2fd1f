"""About how long runs will take, before they begin and while they run.

What lanes take for a step, and for an evaluation, is tried, and remembered for later: both depend on the optimizer and
the problem too much to be told from anything else. A guess still: searches take as long as they need, rare work is
met or not in the steps that are tried, and lanes that diverge end sooner.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor

from problems.names import parse
from problems.problem import Data, Problem, problem
from problems.references import RAISED
from suite.calibrate import clock, remembered, start
from suite.engine import group_key, tasks
from suite.evaluate import evaluate
from suite.lanes import lanes_of
from suite.optimizers import optimizer
from suite.settings import structure
from suite.spec import Run
from suite.threads import one_thread

GROUP = 0.3  # seconds to set up a group of lanes, beside what is tried
PROCESS = 6.0  # seconds until a process has loaded what it needs
STEPS = 12  # to try, at most
SECONDS = 0.2  # for them, about
EXAMPLES = 1000  # of each split, on which an evaluation is tried


def seconds(runs: Sequence[Run], jobs: int) -> float:
    """About how long ``suite.engine.train`` will take for these runs."""
    work = [_task_seconds(task) for task in tasks(runs)]
    if not work:
        return 0.0
    workers = min(jobs, len(work))
    return max(sum(work) / workers, max(work)) + (PROCESS if workers > 1 else 0.0)


def dearest_first(found: Sequence[list[Run]]) -> list[list[Run]]:
    """Tasks in the order in which processes are to take them, so that the last does not keep one when all others have
    ended; as they are unless it is known here how long each takes."""
    if not all(_key(task) in _known for task in found):
        return list(found)
    return sorted(found, key=_task_seconds, reverse=True)


class Course:
    """How the work of a batch of runs is spread over its steps: a step of a CNN outweighs one of a quadratic."""

    def __init__(self, runs: Sequence[Run]) -> None:
        found = sorted(tasks(runs), key=_task_seconds, reverse=True)  # as they are trained once this is known
        self._steps = [0, *accumulate(sum(run.steps for run in task) for task in found)]
        self._work = [0.0, *accumulate(_task_seconds(task) for task in found)]

    def share(self, steps: int) -> float:
        """The share of the work, in [0, 1], that is behind after so many steps in the order of the tasks."""
        if steps >= self._steps[-1]:
            return 1.0
        i = bisect.bisect_right(self._steps, steps) - 1
        inside = (steps - self._steps[i]) / (self._steps[i + 1] - self._steps[i])
        return (self._work[i] + inside * (self._work[i + 1] - self._work[i])) / self._work[-1]


_known: dict[tuple[Any, ...], float] = {}  # seconds of tasks, since they are asked for again and again


def _key(task: Sequence[Run]) -> tuple[Any, ...]:
    return (*group_key(task[0]), len(task))


def _task_seconds(task: Sequence[Run]) -> float:
    """One process's time for runs that train together."""
    key = _key(task)
    if key not in _known:
        run = task[len(task) // 2]  # neither the lowest rate nor the highest
        evaluations = 1 + -(-run.steps // run.eval_every)
        with one_thread():  # as the engine trains and calibrates
            first, each = step_seconds(run, len(task))
            step = run.steps * each + evaluations * evaluation_seconds(run, len(task))
        _known[key] = GROUP + first + len(task) * step
    return _known[key]


def step_seconds(run: Run, lanes: int) -> tuple[float, float]:
    """Seconds until the first step of so many lanes is taken, and of each later one per lane; 0 where they cannot.

    Lanes that share no step, such as those of a class of torch's, are tried alone.
    """
    spec = parse(run.optimizer)
    width = lanes if optimizer.build(spec).needs.vmap else 1
    code = [structure(spec), optimizer.fingerprint(spec), run.order, width]
    found = remembered(run, ["step", *code], lambda: _tried(run, width))
    return found["first"], found["each"]


def _tried(run: Run, width: int) -> dict[str, float]:
    made = problem.build(parse(run.problem)).to(run.device, getattr(torch, run.dtype))
    now = clock(run.device)
    began = now()
    try:
        specs, seeds = [parse(run.optimizer)] * width, list(range(width))
        lanes = lanes_of(made, specs, _starts(made, width), seeds, run.batch_size, run.order)
        lanes.step(0)
        first = now() - began
        times: list[float] = []
        while len(times) < STEPS and sum(times) < SECONDS:
            began = now()
            lanes.step(1 + len(times))
            times.append(now() - began)
    except RAISED:  # its runs will say
        return {"first": 0.0, "each": 0.0}
    return {"first": 0.0, "each": 0.0} if lanes.errors else {"first": first, "each": sum(times) / len(times) / width}


def evaluation_seconds(run: Run, lanes: int) -> float:
    """Seconds of an evaluation on all splits, per lane of so many."""
    return remembered(run, ["evaluation", lanes], lambda: {"each": _evaluated(run, lanes)})["each"]


def _evaluated(run: Run, lanes: int) -> float:
    """Of the first examples of each split, times what they are few."""
    made = problem.build(parse(run.problem)).to(run.device, getattr(torch, run.dtype))
    parts = {name: Data(tuple(t[:EXAMPLES] for t in split.tensors)) for name, split in made.splits.items()}
    few = dataclasses.replace(made, **cast("dict[str, Any]", parts))
    share = sum(map(len, parts.values())) / sum(map(len, made.splits.values()))
    theta, now = _starts(made, lanes), clock(run.device)
    for _ in range(2):  # the first pays for loading what it needs
        began = now()
        evaluate(few, theta, run.batch_size)
        took = now() - began
    return took / share / lanes


def _starts(made: Problem, lanes: int) -> Tensor:
    return torch.stack([start(made, lane) for lane in range(lanes)]).to(made.like)
