"""An engine that makes results up: what a comparison does with results can then be checked exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from problems.names import parse
from suite.engine import Progress
from suite.spec import Result, Run


def bowl(run: Run) -> float:
    """A loss that is best at lr = 0.01 and differs a little between seeds."""
    settings = parse(run.optimizer).options
    while "optimizer" in settings:
        settings = settings["optimizer"].options
    return (math.log10(settings["lr"]) + 2) ** 2 + 0.001 * (run.seed % 7) + 0.01


@dataclass
class FakeEngine:
    """Stands in for :func:`suite.engine.train`.

    Args:
        loss: the final loss of a run; infinite for one that diverges.
        broken: the run fails with this error, where it is not empty.
        until: raise KeyboardInterrupt after so many results.
    """

    loss: Callable[[Run], float] = bowl
    broken: Callable[[Run], str] = lambda run: ""
    until: float = math.inf
    trained: list[Run] = field(default_factory=list)
    jobs: int = 0

    def __call__(
        self,
        runs: Sequence[Run],
        *,
        jobs: int = 1,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.jobs = jobs
        total, done = sum(run.steps for run in runs), 0
        for run in runs:
            if len(self.trained) >= self.until:
                raise KeyboardInterrupt
            self.trained.append(run)
            on_result(self.result(run))
            done += run.steps
            on_progress(Progress(done, total))

    def result(self, run: Run) -> Result:
        environment = {"processor": "a processor", "threads": 1, "device": "cpu", "torch": "2.15.0", "commit": "c0ffee"}
        if error := self.broken(run):
            return Result(run, "failed", error, environment=environment)
        loss = self.loss(run)
        trace: list[tuple[int, str, float]] = []
        for step in sorted({*range(0, run.steps + 1, run.eval_every), run.steps}):
            far = 3.0 * (1 - step / max(run.steps, 1)) + (loss if math.isfinite(loss) else 1e30)
            for split in ("train", "valid", "test"):
                trace += [(step, f"{split}_loss", far), (step, f"{split}_accuracy", 1 / (1 + far))]
        if math.isinf(loss):
            detail = "the minibatch loss was not finite at step 1"
            return Result(run, "diverged", detail, tuple(trace[:6]), {}, environment)
        solved = [step for step, measure, value in trace if measure == "valid_accuracy" and value >= 0.95]
        final = {f"final_{measure}": value for _, measure, value in trace[-6:]}
        summary = {"steps_to_target": min(solved, default=None), **final}
        return Result(run, "done", "", tuple(trace), summary, environment)
