"""Whether so many examples at once fit into memory, asked before the system ends the process that tries."""

from __future__ import annotations

from problems.names import Spec, parse
from problems.problem import Problem
from suite.chunks import at_once, separable
from suite.initializers import initializer
from suite.memory import Peak, require
from suite.objective import Objective
from suite.sampler import generator, sampler_of

TRIAL = 256  # examples by which the memory of many is judged


def check_room(made: Problem, spec: Spec, size: int, device: str) -> None:
    """Refuse a batch whose gradient would not fit, by what a small one holds; of chunks, that of one.

    Raises:
        UsageError: it would not.
    """
    count = size or len(made.train)
    if count < 16 * TRIAL:
        return
    theta = initializer.build(parse("default"))(made, generator(0, "start")).to(made.train.tensors[0].device)[None]
    sampler = sampler_of(made, [0], TRIAL, "reshuffle", theta)
    sampler.fill(0)
    if sampler.carried is None and separable(made, sampler.batch):
        count = min(count, at_once(made, device))
    objective = Objective(made, 1, sampler.batch, sampler.carried, taped=False)
    objective.gradient(theta)
    with Peak(device) as peak:
        objective.gradient(theta)
    need = 2 * (peak.bytes or 0) * count / TRIAL  # of the lanes that are timed whole, and of those timed by part
    what = f"{spec.name} on {made.name}: {count:,} examples at once"
    require(need, device, what, "--batch-size takes fewer")
