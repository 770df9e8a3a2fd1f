"""Flat minima, as later work looks for them (section 8.2.2)."""

from __future__ import annotations

from collections.abc import Sequence

from problems.bounds import Count
from suite.claims.base import Experiment, Observation, claim, typical
from suite.claims.lab import Lab, ratios

PLAIN = "sgd(lr=0.1)"


@claim(section="8.2.2", source="Foret et al. 2021, figure 3", control=f"optimizer='{PLAIN}'")
def sam_finds_flat_minima(
    optimizer: str = f"sam({PLAIN}, rho=0.05)",
    other: str = PLAIN,
    problem: str = "digits_mlp",
    steps: Count = 600,
    seeds: Count = 12,
) -> Experiment:
    """Sharpness-aware minimization ends where the Hessian's largest eigenvalue is smaller than SGD leaves it.

    On the same minibatches with the same rate: the largest eigenvalue at the end with SAM, relative to that without.
    The control has plain SGD in its place.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        with_sam, without = (
            [sharpness(problem, text, steps, seed) for seed in lab.seeds(seeds)] for text in (optimizer, other)
        )
        return [typical("largest eigenvalue with SAM / without", ratios(with_sam, without), below=1)]

    return experiment


def sharpness(problem: str, optimizer: str, step: int, seed: int) -> float:
    """The largest eigenvalue of the training loss's Hessian after so many steps."""
    from suite.curvature import Training, along

    [moment] = along(Training(problem, optimizer, seed=seed), (step,), options={"top": 1})
    return float(moment.spectrum.top.values[0])
