"""Run and Result: what is asked and what came of it, with their text form and identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from problems.names import Spec, UsageError, parse
from problems.problem import SPLITS, problem
from suite.initializers import initializer
from suite.optimizers import optimizer
from suite.probes.base import canonical, fingerprints
from suite.stopping import stop

ORDERS = ("reshuffle", "shuffle_once", "with_replacement", "sequential", "online")
STATUSES = ("done", "reached target", "stopped", "diverged", "skipped", "failed")
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Run:
    """One training run, fully determined: the same ``Run`` gives the same result.

    Args:
        problem, optimizer, initializer: bound specs as text (see ``Registry.bind``).
        seed: draws θ₀ and the order of minibatches, by streams of their own.
        steps: how many steps.
        eval_every: evaluate at step 0, at every multiple of this, and at the end.
        batch_size: examples in a minibatch; 0 for the whole training split.
        grow_every: double the minibatches after each so many steps, up to the whole split
            (*Deep Learning*, section 8.3.1); 0 for never. Step k's minibatch is the one that it
            would be had the run begun with that size.
        stop: a bound stopping rule as text, which may end the run at an evaluation (see ``suite.stopping``);
            empty for none.
        until_target: end at the first evaluation that meets the problem's target.
        order: how minibatches are drawn; ``reshuffle`` a new permutation each epoch,
            ``shuffle_once`` one permutation for all, ``with_replacement`` independent draws,
            ``sequential`` as stored, ``online`` new examples at every step, none of which is seen
            twice, from problems that draw their own (section 8.1.3); these are still evaluated on
            their fixed splits. A partial last batch is dropped. A problem that carries a state reads on in
            its examples, whichever of the first two or ``sequential`` is asked for.
        probes: bound specs as text, separated by commas: what is measured along the way.
        timed: train alone, one run at a time, and put the clock into the trace: ``seconds`` of training up
            to each evaluation, evaluations and probes left out and the device waited for.
    """

    problem: str
    optimizer: str
    initializer: str = "default"
    seed: int = 0
    steps: int = 1000
    eval_every: int = 100
    batch_size: int = 128
    order: str = "reshuffle"
    device: str = "cpu"
    dtype: str = "float32"
    until_target: bool = False
    grow_every: int = 0
    probes: str = ""
    stop: str = ""
    timed: bool = False

    def __post_init__(self) -> None:
        def need(ok: bool, rule: str, value: Any) -> None:
            if not ok:
                raise UsageError(f"run: {rule}, got {value!r}")

        need(self.steps >= 0, "steps must be >= 0", self.steps)
        need(self.grow_every >= 0, "grow_every must be >= 0", self.grow_every)
        need(self.eval_every >= 1, "eval_every must be >= 1", self.eval_every)
        need(self.batch_size >= 0, "batch_size must be >= 1, or 0 for the whole split", self.batch_size)
        need(0 <= self.seed < 2**31, "seed must be in [0, 2147483647]", self.seed)
        need(self.order in ORDERS, f"order must be one of {', '.join(ORDERS)}", self.order)
        need(self.order != "online" or self.batch_size > 0, "order online needs batch_size >= 1", self.batch_size)
        need(self.dtype in DTYPES, f"dtype must be one of {', '.join(DTYPES)}", self.dtype)

    @classmethod
    def make(
        cls,
        problem_text: str | Spec,
        optimizer_text: str | Spec,
        initializer_text: str | Spec = "default",
        **settings: Any,
    ) -> Run:
        """A run from texts as a person writes them: bound, so that equal meanings are equal runs."""
        if settings.get("stop"):
            settings["stop"] = str(stop.bind(settings["stop"]))
        return cls(
            str(problem.bind(problem_text)),
            str(optimizer.bind(optimizer_text)),
            str(initializer.bind(initializer_text)),
            **{**settings, "probes": canonical(settings.get("probes", ""))},
        )

    @property
    def id(self) -> str:
        """The identity: a digest of every setting and of the definitions that the names stand for."""
        code = [
            registry.fingerprint(parse(text))
            for registry, text in (
                (problem, self.problem),
                (optimizer, self.optimizer),
                (initializer, self.initializer),
                (stop, self.stop),
            )
            if text
        ]
        code += fingerprints(self.probes)
        return hashlib.sha256(json.dumps([asdict(self), code], sort_keys=True).encode()).hexdigest()[:20]

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Args:
        status: one of ``STATUSES``; ``detail`` says the step of divergence, the reason for
            skipping, or the error.
        trace: measurements as (step, measure, value), from step 0 on.
        summary: single numbers: final and best values, steps to target, evaluations counted.
        environment: processor, threads, versions, commit: what must agree for results to be pooled.
    """

    run: Run
    status: str
    detail: str = ""
    trace: tuple[tuple[int, str, float], ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {STATUSES}, got {self.status!r}")

    @property
    def probed(self) -> dict[str, list[tuple[int, float]]]:
        """What probes measured: measure -> (step, value) in order of steps."""
        found: dict[str, list[tuple[int, float]]] = {}
        for step, measure, value in self.trace:
            if measure.partition("_")[0] not in SPLITS:
                found.setdefault(measure, []).append((step, value))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, the trace as a list of rows."""
        return {
            "run": {"id": self.run.id, **self.run.to_dict()},
            "status": self.status,
            "detail": self.detail,
            "summary": dict(self.summary),
            "environment": dict(self.environment),
            "traces": [{"step": s, "measure": m, "value": v} for s, m, v in self.trace],
        }
