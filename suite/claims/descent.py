"""Section 8.3: basic algorithms."""

from __future__ import annotations

import math
from collections.abc import Sequence

from problems.bounds import Positive
from suite.claims.base import Experiment, Observation, claim, exactly
from suite.claims.lab import Lab, arm, slope

CONDITIONS = (10, 30, 100, 300, 1000)
WITHIN = 1e-8  # of the first loss


@claim(
    section="8.3.2",
    source="Deep Learning, figure 8.5; Polyak 1964",
    control="accelerated=False",
)
def momentum_in_ravines(accelerated: bool = True, most: Positive = 0.6) -> Experiment:
    """Momentum crosses a ravine of condition κ in about √κ steps, where gradient descent takes about κ.

    Steps until the loss of ``ravine`` is 10⁻⁸ of what it was, for κ from 10 to 1000, each method with
    the rates that are best for κ: ε = 2/(1 + κ), and ε = 4/(√κ + 1)², α = ((√κ − 1)/(√κ + 1))². The
    control takes no momentum in its place.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        plain = _power(lab, {k: f"sgd(lr={2 / (1 + k)})" for k in CONDITIONS})
        other = _power(lab, {k: _heavy_ball(k) for k in CONDITIONS}) if accelerated else plain
        return [
            exactly("power of κ that steps of gradient descent grow by", plain, above=0.9, below=1.1),
            exactly("power of κ that steps with momentum grow by", other, above=0.4, below=most),
        ]

    return experiment


def _heavy_ball(condition: float) -> str:
    root = math.sqrt(condition)
    return f"momentum(lr={4 / (root + 1) ** 2}, alpha={((root - 1) / (root + 1)) ** 2})"


def _power(lab: Lab, optimizers: dict[int, str]) -> float:
    """p of steps ∝ κᵖ."""
    arms = {
        k: arm(f"ravine(condition={k})", text, steps=12 * k, eval_every=12 * k, probes="loss", dtype="float64")
        for k, text in optimizers.items()
    }
    steps = []
    for runs in lab.train(arms, 1).values():
        [course] = runs.course("minibatch_loss")
        steps.append(next(step for step, loss in course if loss <= WITHIN * course[0][1]))
    return slope(optimizers, steps)
