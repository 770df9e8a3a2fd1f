"""What lanes gain over the loops that a person would write, on one core.

``python -m pytest suite/benchmarks --benchmark-only`` prints times; the ratio to the
hand-written loop, measured in turns, is in ``extra_info`` and printed at the end of a line.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.names import UsageError
from problems.problem import problem
from suite.benchmarks.cases import group
from suite.benchmarks.peers import hand_loop
from suite.benchmarks.ratios import interleaved

CASES = [  # problem, optimizer, torch's, lanes, batch, steps
    ("mnist_mlp", "sgd(lr=0.01)", lambda p: torch.optim.SGD(p, lr=0.01), 1, 128, 10),
    ("mnist_mlp", "momentum(lr=0.01)", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), 1, 128, 10),
    ("mnist_mlp", "adam", lambda p: torch.optim.Adam(p), 1, 128, 10),
    ("mnist_2c2d", "sgd(lr=0.01)", lambda p: torch.optim.SGD(p, lr=0.01), 1, 128, 2),
    ("mnist_2c2d", "adam", lambda p: torch.optim.Adam(p), 1, 128, 2),
    ("digits_mlp", "sgd(lr=0.01)", lambda p: torch.optim.SGD(p, lr=0.01), 64, None, 20),
    ("digits_mlp", "adam", lambda p: torch.optim.Adam(p), 64, None, 20),
    ("linear_regression", "sgd(lr=0.01)", lambda p: torch.optim.SGD(p, lr=0.01), 256, None, 50),
    ("linear_regression", "adam", lambda p: torch.optim.Adam(p), 256, None, 50),
]


@pytest.mark.parametrize(("name", "text", "make", "lanes", "batch", "steps"), CASES, ids=lambda v: str(v)[:30])
def test_lanes(benchmark: Any, name: str, text: str, make: Any, lanes: int, batch: int | None, steps: int) -> None:
    """One step of the lanes against one step of the loop."""
    torch.set_num_threads(1)
    try:
        made = problem.build(problem.bind(name))
        ours = group(name, text, lanes, batch)
    except UsageError as missing:
        pytest.skip(str(missing))
    at = iter(range(10**9))

    def run() -> None:
        for _ in range(steps):
            ours.step(next(at))

    theirs = hand_loop(made, make, batch or made.batch_size, steps)
    ratio = interleaved(run, theirs)
    benchmark.extra_info["per run, hand-written loop / lanes"] = ratio.median * lanes
    print(f"\n{name} {text}, {lanes} lanes: {ratio.median * lanes:.2f}x per run; one step {ratio}")
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
