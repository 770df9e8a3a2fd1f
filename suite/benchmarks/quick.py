"""Numbers that do not depend on the machine's mood: counted, not timed.

``asv run --bench quick`` takes a minute or two and finds what wall time on a shared machine
cannot: an update with an operation more, a state that grew, an optimizer that needs more
steps than it did.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from suite.benchmarks.cases import OPTIMIZERS, group
from suite.cost import held
from suite.engine import train
from suite.spec import Run

SMALL = ("quadratic_deep", "digits_mlp")
DETERMINISTIC: dict[str, dict[str, Any]] = {  # problem: settings; full batches or a fixed order, float64, one seed
    "quadratic_deep": {"batch_size": 0, "steps": 300, "eval_every": 10},
    "digits_mlp": {"batch_size": 128, "steps": 200, "eval_every": 10, "order": "sequential"},
}
RATES = {"sgd": 0.03, "momentum": 0.01, "nesterov": 0.01, "adagrad": 0.1, "rmsprop": 0.01, "adam": 0.01}


class _Count(TorchDispatchMode):
    """Counts the ATen operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


class Step:
    """What one step of one lane runs and holds."""

    params = (SMALL, OPTIMIZERS)
    param_names = ("problem", "optimizer")

    def setup(self, problem: str, optimizer: str) -> None:
        """One lane at its start."""
        torch.set_num_threads(1)
        self.lanes = group(problem, optimizer)
        self.lanes.step(0)

    def track_operations(self, problem: str, optimizer: str) -> int:
        """ATen operations of a step, compiled chains aside."""
        with _Count() as count:
            self.lanes.step(1)
        return int(count.operations)

    def track_state(self, problem: str, optimizer: str) -> float:
        """Bytes of optimizer state for each parameter."""
        return sum(t.numel() * t.element_size() for t in held(self.lanes.state)) / self.lanes.theta.shape[1]

    def track_evaluations(self, problem: str, optimizer: str) -> int:
        """Evaluations of the objective so far: of the first step and what came before it."""
        return sum(self.lanes.calls()[0].values())

    track_operations.unit = "operations"  # type: ignore[attr-defined]  # asv reads it there
    track_state.unit = "bytes"  # type: ignore[attr-defined]
    track_evaluations.unit = "evaluations"  # type: ignore[attr-defined]


class Convergence:
    """How well a fixed run ends: a change that makes an algorithm worse, not slower, shows here."""

    params = (tuple(DETERMINISTIC), tuple(RATES))
    param_names = ("problem", "optimizer")

    def setup_cache(self) -> dict[str, dict[str, Any]]:
        """Train them all once, in float64 and from one seed; the summaries by problem and optimizer."""
        runs = {
            f"{problem} {name}": Run.make(problem, f"{name}(lr={rate})", dtype="float64", **settings)
            for problem, settings in DETERMINISTIC.items()
            for name, rate in RATES.items()
        }
        found: dict[Run, Any] = {}
        train(list(runs.values()), on_result=lambda result: found.update({result.run: dict(result.summary)}))
        return {case: found[run] for case, run in runs.items()}

    def track_final_loss(self, summaries: dict[str, Any], problem: str, optimizer: str) -> float:
        """Training loss at the end."""
        return float(summaries[f"{problem} {optimizer}"]["final_train_loss"])

    def track_steps_to_target(self, summaries: dict[str, Any], problem: str, optimizer: str) -> float:
        """Steps until the problem's target was met; not a number where it was not."""
        reached = summaries[f"{problem} {optimizer}"]["steps_to_target"]
        return float("nan") if reached is None else float(reached)

    track_final_loss.unit = "loss"  # type: ignore[attr-defined]
    track_steps_to_target.unit = "steps"  # type: ignore[attr-defined]
