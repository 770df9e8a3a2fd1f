"""Numbers that do not depend on the machine's mood: counted, not timed.

``asv run --bench quick`` takes a minute or two and finds what wall time on a shared machine
cannot: an update with an operation more, a state that grew, an optimizer that needs more
steps than it did.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from problems.names import UsageError
from suite.benchmarks.cases import OPTIMIZERS, UPDATES, group, update
from suite.engine import train
from suite.lanes import Lanes
from suite.spec import Run
from suite.stepping import held

try:
    from analysis.replay import native
except ImportError:
    from suite import native  # type: ignore[attr-defined,no-redef]  # an older commit has it there

SMALL = ("quadratic_deep", "digits_mlp")
# Full batches or a fixed order, float64, one seed: nothing but the code decides how these runs end.
QUADRATIC = ("quadratic_deep", {"batch_size": 0, "steps": 300, "eval_every": 10, "dtype": "float64"})
DIGITS = (
    "digits_mlp",
    {"batch_size": 128, "steps": 200, "eval_every": 10, "order": "sequential", "dtype": "float64"},
)
FEW = {"steps": 40, "eval_every": 1}  # of methods that evaluate many times a step
FIRST_ORDER = (  # at rates at which it gets somewhere on both
    "sgd(lr=0.03)", "momentum(lr=0.01)", "nesterov(lr=0.01)", "adagrad(lr=0.1)", "rmsprop(lr=0.01)",
    "rmsprop_nesterov(lr=0.001)", "adam(lr=0.03)", "adamw(lr=0.03)", "adamax(lr=0.05)", "nadam(lr=0.03)",
    "radam(lr=0.03)", "adadelta(lr=1.0)", "adan(lr=0.03)", "lion(lr=0.01)", "lamb(lr=0.03)", "lars(lr=1.0)",
    "muon(lr=0.02)", "rprop(lr=0.01)", "delta_bar_delta(lr=0.01)", "schedule_free_sgd(lr=0.3)",
    "schedule_free_adamw(lr=0.03)", "sophia(lr=0.03)", "polyak(momentum(lr=0.01))", "clip(momentum(lr=0.01))",
    "lookahead(momentum(lr=0.01))", "sam(momentum(lr=0.01))", "weight_decay(momentum(lr=0.01))",
    "clip_value(momentum(lr=0.01))", "decoupled_decay(momentum(lr=0.01))",
)  # fmt: skip
LAYERED = ("kfac", "shampoo(lr=0.03)", "soap(lr=0.03)")  # by the matrices of layers, which a quadratic has not
MANY_EVALUATIONS = (
    "gradient_descent", "conjugate_gradients", "scaled_conjugate_gradients", "bfgs", "lbfgs", "newton",
    "saddle_free_newton", "hessian_free",
)  # fmt: skip
CASES: dict[
    str, tuple[str, str, dict[str, Any]]
] = {  # a name on the dashboard: problem, optimizer, settings of the run
    **{f"{problem} {text}": (problem, text, how) for problem, how in (QUADRATIC, DIGITS) for text in FIRST_ORDER},
    **{f"digits_mlp {text}": ("digits_mlp", text, DIGITS[1]) for text in LAYERED},
    **{f"quadratic_deep {text}": ("quadratic_deep", text, QUADRATIC[1] | FEW) for text in MANY_EVALUATIONS},
}


class _Count(TorchDispatchMode):
    """Counts the ATen operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def _operations(lanes: Lanes) -> int:
    """ATen operations of a step after the first."""
    lanes.step(0)
    with _Count() as count:
        lanes.step(1)
    return int(count.operations)


class Step:
    """What one step of one lane runs and holds."""

    params = (SMALL, OPTIMIZERS)
    param_names = ("problem", "optimizer")

    def setup(self, problem: str, optimizer: str) -> None:
        """One thread."""
        torch.set_num_threads(1)

    def track_operations(self, problem: str, optimizer: str) -> int:
        """ATen operations of a step as it runs: a chain that is compiled counts for none."""
        return _operations(group(problem, optimizer))

    def track_kernels(self, problem: str, optimizer: str) -> int:
        """ATen operations of a step whose chains are not compiled: all the arithmetic there is."""
        with native.used("kernels"):
            return _operations(group(problem, optimizer))

    def track_flops(self, problem: str, optimizer: str) -> int:
        """Floating-point operations of a step's matrix products, its recording aside."""
        lanes = group(problem, optimizer)
        with FlopCounterMode(display=False) as counter:
            lanes.step(0)
        return int(counter.get_total_flops())

    def track_state(self, problem: str, optimizer: str) -> float:
        """Bytes of optimizer state for each parameter."""
        lanes = group(problem, optimizer)
        lanes.step(0)
        return sum(t.numel() * t.element_size() for t in held(lanes.state)) / lanes.theta.shape[1]

    def track_evaluations(self, problem: str, optimizer: str) -> int:
        """Evaluations of the objective in the first step and before it."""
        lanes = group(problem, optimizer)
        lanes.step(0)
        return sum(lanes.calls()[0].values())

    track_operations.unit = "operations"  # type: ignore[attr-defined]  # asv reads it there
    track_kernels.unit = "operations"  # type: ignore[attr-defined]
    track_flops.unit = "flops"  # type: ignore[attr-defined]
    track_state.unit = "bytes"  # type: ignore[attr-defined]
    track_evaluations.unit = "evaluations"  # type: ignore[attr-defined]


class Update:
    """What an optimizer's update alone runs, on one flat vector of a thousand parameters."""

    params = UPDATES
    param_names = ("optimizer",)

    def setup(self, optimizer: str) -> None:
        """One thread."""
        torch.set_num_threads(1)

    def track_kernels(self, optimizer: str) -> int:
        """ATen operations of an update whose chains are not compiled: all the arithmetic there is."""
        with native.used("kernels"):
            return _operations(update(optimizer, 1000))

    def track_operations(self, optimizer: str) -> int:
        """ATen operations of an update as it runs: a chain that is compiled counts for none."""
        return _operations(update(optimizer, 1000))

    track_kernels.unit = "operations"  # type: ignore[attr-defined]
    track_operations.unit = "operations"  # type: ignore[attr-defined]


class Convergence:
    """How well a fixed run ends: a change that makes an algorithm worse, not slower, shows here."""

    params = tuple(CASES)
    param_names = ("run",)
    timeout = 900.0  # of training them all, on a busy machine

    def setup_cache(self) -> dict[str, dict[str, Any]]:
        """Train them all once; the summaries of those that this version knows."""
        runs: dict[str, Run] = {}
        for name, (problem, text, how) in CASES.items():
            with suppress(UsageError):  # a name that an older commit does not have
                runs[name] = Run.make(problem, text, **how)
        found: dict[Run, dict[str, Any]] = {}
        train(list(runs.values()), on_result=lambda result: found.update({result.run: dict(result.summary)}))
        return {name: found[run] for name, run in runs.items()}

    def track_final_loss(self, summaries: dict[str, Any], run: str) -> float:
        """Training loss at the end."""
        return float(summaries.get(run, {}).get("final_train_loss", "nan"))

    def track_steps_to_target(self, summaries: dict[str, Any], run: str) -> float:
        """Steps until the problem's target was met; not a number where it was not."""
        reached = summaries.get(run, {}).get("steps_to_target")
        return float("nan") if reached is None else float(reached)

    track_final_loss.unit = "loss"  # type: ignore[attr-defined]
    track_steps_to_target.unit = "steps"  # type: ignore[attr-defined]
