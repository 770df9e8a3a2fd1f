"""How many lanes go together: measured once for each problem and device, and remembered.

Lanes share the cost of launching kernels, so tiny models gain a hundredfold; a convolution
fills a processor core alone and gains nothing, or loses what the larger working set costs.
Where the line lies depends on the machine, so it is measured: the time of a gradient pass
per lane for a few widths. On a CPU in float32 a width is admitted only if every lane has
the bits that it has alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.replay.accelerator import accelerator
from analysis.replay.folders import cache_folder
from problems.names import parse
from problems.problem import Problem, problem
from suite import memory
from suite.environment import environment
from suite.initializers import NotApplicable, initializer
from suite.objective import Objective, rows
from suite.optimizers import optimizer
from suite.sampler import Sampler, generator
from suite.spec import Run

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MEMORY = 1 << 30  # bytes that the parameters, gradients and state of a group may take
SECONDS = 1.5  # for one calibration, after which the best so far is taken
FINE = 1e-5  # seconds; the processor's time in Windows has steps of 1/64
GAIN = 0.97  # a wider group must be at least this much quicker per lane to be worth its memory


def lanes_for(run: Run, wanted: int) -> int:
    """The number of lanes to train together for runs like ``run``, of which ``wanted`` are to be trained."""
    if wanted <= 1 or run.timed:
        return 1
    made = problem.build(parse(run.problem))
    matrices = optimizer.build(parse(run.optimizer)).needs.matrices
    room = min(MEMORY, memory.free(run.device) or MEMORY) if matrices else MEMORY
    most = max(1, min(wanted, room // (made.size * 4 * (6 + matrices * made.size))))
    if most == 1:
        return 1
    widths = _remembered(run, made)
    quickest = min(widths.values())
    return min(most, next(w for w, seconds in sorted(widths.items()) if seconds * GAIN <= quickest))


def _remembered(run: Run, made: Problem) -> dict[int, float]:
    """Seconds of a gradient pass per lane, by width."""
    found = remembered(run, [], lambda: {str(width): each for width, each in measure(run, made).items()})
    return {int(width): each for width, each in found.items()}


_measured: dict[str, dict[str, float]] = {}


def remembered(run: Run, of: Sequence[Any], measured: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Seconds of something that runs like ``run`` do, by name: measured here or by an earlier process, or now.

    Args:
        of: what they depend on besides the problem, the minibatches and the machine; values of JSON.
    """
    key = [run.problem, problem.fingerprint(parse(run.problem)), run.batch_size, run.device, run.dtype]
    here = environment(run.device)
    key += [here["processor"], here["device"], here["torch"], *of]
    text = json.dumps(key)
    if text in _measured:
        return _measured[text]
    file = cache_folder() / "calibration" / (hashlib.sha256(text.encode()).hexdigest()[:20] + ".json")
    try:
        _measured[text] = {str(k): float(s) for k, s in json.loads(file.read_text("utf-8"))["seconds"].items()}
    except (OSError, ValueError, KeyError):
        _measured[text] = measured()
        _write(file, {"key": key, "seconds": _measured[text]})
    return _measured[text]


def _write(file: Path, content: Any) -> None:
    """Remember for later processes; a folder that cannot be written only costs the next one its time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(content), "utf-8")
        part.replace(file)
    except OSError:
        pass


def measure(run: Run, made: Problem) -> dict[int, float]:
    """Seconds of a gradient pass per lane, by width; widths that change a lane's bits are left out."""
    made = made.to(run.device, getattr(torch, run.dtype))
    deadline = math.inf
    alone: tuple[Tensor, Tensor] | None = None
    found: dict[int, float] = {}
    for width in WIDTHS:
        if width > 1 and (made.size * width * 4 * 6 > MEMORY or time.perf_counter() > deadline):
            break
        try:
            seconds, result = _pass(run, made, width)
        except Exception:  # a model that vmap cannot lift trains one lane at a time
            if width == 1:
                return {1: 1.0}
            break
        if width == 1:
            deadline = time.perf_counter() + SECONDS  # the first pass pays for loading what it needs
        alone = alone or result
        same = all(torch.equal(a[:1], b[:1]) for a, b in zip(alone, result, strict=True))
        if run.device == "cpu" and run.dtype == "float32" and not same:
            break
        found[width] = seconds
        if seconds > 1.5 * min(found.values()):
            break
    return found


def _pass(run: Run, made: Problem, width: int) -> tuple[float, tuple[Tensor, Tensor]]:
    """The time of a gradient pass per lane at a width, and the first lane's value and gradient."""
    theta = rows(width, made.size, made.train.tensors[0].new_empty(0, dtype=getattr(torch, run.dtype)))
    for lane in range(width):
        theta[lane] = start(made, lane)
    sampler = Sampler(made.train, list(range(width)), run.batch_size, run.order, course=made.course)
    sampler.fill(0)
    action, outputs = Objective(made, width, sampler.batch).bind("gradient", theta)
    action()
    now, times = clock(run.device), []
    for repeat in range(12):
        began = now()
        action()
        times.append(now() - began)
        if repeat >= 2 and sum(times) > SECONDS / 8:
            break
    return min(times) / width, (outputs[0][:1].clone(), outputs[1][:1].clone())


def clock(device: str) -> Callable[[], float]:
    """Seconds that this process has had of a processor, so that others beside it do not count, or a clock that waits
    for an accelerator."""
    means = accelerator(torch.device(device))
    if means is None:
        return time.process_time if time.get_clock_info("process_time").resolution < FINE else time.perf_counter

    def now() -> float:
        means.wait()
        return time.perf_counter()

    return now


def start(made: Problem, lane: int) -> Tensor:
    """A start to measure from: the problem's own, or 0."""
    try:
        return initializer.build(initializer.bind("default"))(made, generator(lane, "start"))
    except NotApplicable:
        return torch.zeros(made.size)
