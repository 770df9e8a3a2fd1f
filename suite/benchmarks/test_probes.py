"""What recording adds to a step: the same lanes with and without probes, by turns.

Wanted on the MNIST perceptron, one core, float32: loss and gradient norm at every step at most
5 %, gᵀHg every 20 steps at most 15 %.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.names import UsageError
from problems.problem import problem
from suite.benchmarks.cases import group
from suite.benchmarks.ratios import interleaved
from suite.probes.base import canonical
from suite.probing import Probing

STEPS = 20  # in a turn: as many as lie between two measurements of curvature
CASES = [
    ("mnist_mlp", "sgd(lr=0.01)", "loss, gradient_norm", 1),
    ("mnist_mlp", "sgd(lr=0.01)", "loss, gradient_norm", 8),
    ("mnist_mlp", "adam", "loss, gradient_norm", 1),
    ("mnist_mlp", "sgd(lr=0.01)", "curvature(every=20)", 1),
    ("mnist_mlp", "sgd(lr=0.01)", "curvature(every=20)", 8),
]


@pytest.mark.parametrize(("name", "text", "probes", "lanes"), CASES, ids=lambda v: str(v)[:30])
def test_probes(benchmark: Any, name: str, text: str, probes: str, lanes: int) -> None:
    """A stretch of steps with probes and their flush against the same stretch without."""
    torch.set_num_threads(1)
    try:
        made = problem.build(problem.bind(name))
        bare, probed = group(name, text, lanes), group(name, text, lanes)
    except UsageError as missing:
        pytest.skip(str(missing))
    probing = Probing(made, canonical(probes), bare.sampler.size, probed)
    at, there = iter(range(10**9)), iter(range(10**9))

    def with_probes() -> None:
        for _ in range(STEPS):
            probing.step(next(at))
        probing.flush()

    def without() -> None:
        for _ in range(STEPS):
            bare.step(next(there))

    ratio = interleaved(without, with_probes, pairs=25)
    benchmark.extra_info["with probes / without"] = ratio.median
    print(f"\n{name} {text}, {lanes} lanes, {probes}: a step takes {ratio}")
    benchmark.pedantic(with_probes, rounds=3, warmup_rounds=1)
