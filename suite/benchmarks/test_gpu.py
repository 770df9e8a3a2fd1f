"""What lanes and CUDA graphs gain on a GPU over the loops that a person would write there.

``python -m pytest suite/benchmarks/test_gpu.py --benchmark-only -s`` prints a line for each case. Times are of the
clock, by turns, the device waited for; "per run" is the loop's step over ours, times the lanes that ours trains.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from analysis.replay import graphs, native
from problems.names import UsageError
from problems.problem import problem
from suite.benchmarks.cases import group
from suite.benchmarks.peers import hand_loop

STEPS, PAIRS = 100, 9
SGD, ADAM = (lambda p: torch.optim.SGD(p, lr=0.01)), (lambda p: torch.optim.Adam(p, fused=True))
CASES = [  # problem, optimizer, torch's, lanes
    *(("digits_mlp", "adam", ADAM, lanes) for lanes in (1, 64, 256)),
    *(("linear_regression", "sgd(lr=0.01)", SGD, lanes) for lanes in (1, 256)),
    *(("mnist_mlp", "adam", ADAM, lanes) for lanes in (1, 16, 64)),
    *(("mnist_2c2d", "adam", ADAM, lanes) for lanes in (1, 4, 16)),
]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(("name", "text", "make", "lanes"), CASES, ids=lambda v: str(v)[:20])
def test_lanes_on_a_gpu(benchmark: Any, name: str, text: str, make: Any, lanes: int) -> None:
    """One step of the lanes, as graphs and kernel by kernel, against one step of the loop."""
    try:
        made = problem.build(problem.bind(name)).to("cuda", torch.float32)
    except UsageError as missing:
        pytest.skip(str(missing))
    run = _steps(name, text, lanes)
    with graphs.used(False), native.used("kernels"):
        plain = _steps(name, text, lanes)
    loop = hand_loop(made, make, made.batch_size, STEPS)
    times = _by_turns({"graphs": run, "kernels": plain, "loop": loop})
    step = {form: statistics.median(each) / STEPS for form, each in times.items()}
    gain = statistics.median(b / a for a, b in zip(times["graphs"], times["loop"], strict=True)) * lanes
    benchmark.extra_info["per run, hand-written loop / lanes"] = gain
    told = ", ".join(f"{form} {seconds * 1e6:.0f} µs" for form, seconds in step.items())
    print(f"\n{name} {text}, {lanes} lanes: {gain:.1f}x per run; one step: {told}")
    benchmark.pedantic(run, rounds=3)


def _steps(name: str, text: str, lanes: int) -> Callable[[], None]:
    ours, at = group(name, text, lanes, device="cuda"), iter(range(10**9))

    def run() -> None:
        for _ in range(STEPS):
            ours.step(next(at))

    run()
    return run


def _by_turns(actions: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in actions}
    for pair in range(-1, PAIRS):
        for name, action in actions.items():
            torch.cuda.synchronize()
            began = time.perf_counter()
            action()
            torch.cuda.synchronize()
            if pair >= 0:
                times[name].append(time.perf_counter() - began)
    return times
