"""Whether measured costs can be believed: parts against the whole, the whole against a loop, prices against a clock.

``taskset -c 1 python -m pytest suite/benchmarks/test_costs.py --benchmark-only -s``, best on an idle machine.
Each comparison goes by turns, and what is told is the median ratio with its quartiles.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils.benchmark import Timer

from problems.names import UsageError, parse
from problems.problem import problem
from suite.benchmarks.cases import group
from suite.cost import measure
from suite.engine import train
from suite.spec import Result, Run

CASES = [  # problem, optimizer, steps of a run, rounds
    ("digits_mlp", "sgd(lr=0.01)", 1000, 7),
    ("digits_mlp", "adam", 1000, 7),
    ("digits_mlp", "torch.Adam", 1000, 7),
    ("mnist_mlp", "sgd(lr=0.01)", 400, 7),
    ("mnist_mlp", "adam", 400, 7),
    ("mnist_2c2d", "adam", 20, 5),
    ("shakespeare_lstm", "adam", 10, 3),
]


@pytest.fixture(autouse=True)
def _processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All clocks count the processor's seconds, which other programs lengthen less."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    monkeypatch.setattr("suite.machine.Timer", partial(Timer, timer=time.process_time))


def _told(benchmark: Any, what: str, ratios: list[float]) -> None:
    low, middle, high = statistics.quantiles(ratios, n=4)
    benchmark.extra_info[what] = {"ratio": middle, "low": low, "high": high}
    print(f"\n{what}: {middle:.3f} ({low:.3f} to {high:.3f})")


def _loop(name: str, text: str, steps: int) -> float:
    """Seconds of a step by a loop and a clock, and nothing of the cost command's."""
    lanes = group(name, text)
    for k in range(max(3, steps // 10)):
        lanes.step(k)
    began = time.perf_counter()
    for k in range(steps):
        lanes.step(k)
    return (time.perf_counter() - began) / steps


def _clock(run: Run) -> float:
    """Seconds of training that a timed run has on its clock at its end."""
    found: list[Result] = []
    train([run], on_result=found.append)
    return found[0].probed["seconds"][-1][1]


@pytest.mark.parametrize(("name", "text", "steps", "rounds"), CASES)
def test_costs(benchmark: Any, name: str, text: str, steps: int, rounds: int) -> None:
    """Parts over whole, whole over a loop's time, and the priced time of a run over its clock."""
    torch.set_num_threads(1)
    try:
        made = problem.build(problem.bind(name))
    except UsageError as missing:
        pytest.skip(str(missing))
    run = Run.make(name, text, steps=steps, eval_every=steps, batch_size=made.batch_size, timed=True)
    sums, loops, prices = [], [], []
    for _ in range(rounds):
        cost = measure(parse(run.problem), parse(run.optimizer), seconds=1.0)
        sums.append(sum(cost.parts.values()) / cost.seconds)
        loops.append(cost.seconds / _loop(name, text, steps))
        prices.append(run.steps * cost.seconds / _clock(run))
    case = f"{name} {text}"
    _told(benchmark, f"{case}: sum of parts / whole step", sums)
    _told(benchmark, f"{case}: measured step / step of a loop", loops)
    _told(benchmark, f"{case}: priced seconds of a run / its clock", prices)
    benchmark.pedantic(lambda: _loop(name, text, max(3, steps // 10)), rounds=3)
