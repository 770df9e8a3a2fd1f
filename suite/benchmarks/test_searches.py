"""What recording gains for steps that search: line searches, Newton's method and Hessian-free optimization.

``python -m pytest suite/benchmarks/test_searches.py --benchmark-only -s`` prints a line for each case: the step under
vmap, whose evaluations are recorded all the same, over the step that is recorded as a whole, by turns from one start.
Both take the same path, since both have the same bits.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.names import UsageError
from suite.benchmarks.cases import group
from suite.benchmarks.ratios import interleaved
from suite.lanes import Together

OPTIMIZERS = ("gradient_descent", "conjugate_gradients", "bfgs", "lbfgs", "hessian_free", "newton(alpha=1.0)")
PROBLEMS = ("linear_regression", "digits_mlp", "adding_lstm(sequences=256, hidden=16)")
PAIRS = 5


@pytest.mark.parametrize("lanes", [1, 15])
@pytest.mark.parametrize("text", OPTIMIZERS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_searches(benchmark: Any, name: str, text: str, lanes: int) -> None:
    """A few steps on the whole training set, from the start on."""
    torch.set_num_threads(1)
    if text.startswith("newton") and (lanes > 1 or "lstm" in name) and name != "linear_regression":
        pytest.skip("minutes")
    try:
        ours, theirs = group(name, text, lanes, batch=0), group(name, text, lanes, batch=0)
    except UsageError as missing:
        pytest.skip(str(missing))
    assert isinstance(ours, Together) and isinstance(theirs, Together)
    theirs._run = theirs._eager
    steps = 1 if "lstm" in name or text.startswith("newton") else 3
    at = {id(ours): iter(range(10**9)), id(theirs): iter(range(10**9))}

    def taking(group: Together) -> Any:
        return lambda: [group.step(next(at[id(group)])) for _ in range(steps)]

    ratio = interleaved(taking(ours), taking(theirs), PAIRS)
    assert torch.equal(ours.theta.nan_to_num(), theirs.theta.nan_to_num())
    benchmark.extra_info["under vmap / recorded"] = ratio.median
    print(f"\n{name} {text}, {lanes} lanes: {ratio.median:.2f}x; {steps} step{'s' * (steps > 1)} {ratio}")
    benchmark.pedantic(taking(ours), rounds=1)
