"""By which clock the contestants of a problem are held against each other: what a step is worth differs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.spec import Result

CLOCKS = STEPS, EVALUATIONS, EPOCHS = ("steps", "evaluations", "epochs")
ALIKE = 1.05  # times as much that a step may evaluate and count as a step like the others


@dataclass(frozen=True)
class Work:
    """What a step evaluates, in the median over runs; NaN where no run took one.

    Args:
        evaluations: losses, gradients and products with a curvature matrix, each of one minibatch.
        examples: in a minibatch.
        of: examples in the training split.
    """

    evaluations: float
    examples: float
    of: int

    def per_step(self, clock: str) -> float:
        """How far a clock goes in a step."""
        rates = {STEPS: 1.0, EVALUATIONS: self.evaluations, EPOCHS: self.evaluations * self.examples / self.of}
        return rates[clock]


def work(results: Sequence[Result], examples: int) -> Work:
    """What a step of these runs evaluates.

    Args:
        examples: in the training split.
    """
    from analysis.statistics.survival import KINDS

    rates = []
    for result in results:
        steps = result.summary.get("steps_taken", result.summary.get("last_step")) or 0
        if steps > 0:
            rates.append(sum(result.summary.get(f"{kind}_calls", 0) for kind in KINDS) / steps)
    middle = sorted(rates)[len(rates) // 2] if rates else math.nan
    return Work(middle, results[0].run.batch_size or examples if results else math.nan, examples)


def fair(found: Iterable[Work]) -> str:
    """The clock by which all do as much: steps where these evaluate alike, evaluations where minibatches are as
    large, and else epochs: evaluations of one example over the number of examples."""
    known = [each for each in found if not math.isnan(each.evaluations)]
    if not _alike([each.examples for each in known]):
        return EPOCHS
    return STEPS if _alike([each.evaluations for each in known]) else EVALUATIONS


def _alike(values: Sequence[float]) -> bool:
    return not values or max(values) <= ALIKE * min(values)


def told(count: float, clock: str) -> str:
    """A time by a clock as a number: whole steps and evaluations, three digits of epochs."""
    return f"{count:.3g}" if clock == EPOCHS and count < 999.5 else f"{count:.0f}"
