"""Section 8.6: approximate second-order methods."""

from __future__ import annotations

from collections.abc import Sequence

from problems.bounds import Count
from suite.claims.base import Experiment, Observation, claim, exactly
from suite.claims.lab import Lab, arm


@claim(section="8.6.1", source="Deep Learning, equation 8.27", control="optimizer='gradient_descent'")
def newton_jumps(optimizer: str = "newton(alpha=0)", size: Count = 64) -> Experiment:
    """Newton's method jumps to the minimum of a positive definite quadratic in one step.

    One step on ½θᵀQθ of condition 1000 in float64; the control takes one of steepest descent with a line search.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked = arm(f"quadratic(size={size})", optimizer, steps=1, eval_every=1, dtype="float64")
        [[(_, start), (_, end)]] = lab.train({"": asked}, 1)[""].course("train_loss")
        return [exactly("loss after one step / before", end / start, below=1e-20)]

    return experiment
