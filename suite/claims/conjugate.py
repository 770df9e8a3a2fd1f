"""Section 8.6.2: conjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from problems.bounds import Count, Natural, Positive
from suite.claims.base import Experiment, Observation, claim, exactly, typical
from suite.claims.lab import Arm, Lab, Runs, arm, ratios
from suite.claims.tuning import short, tuned

if TYPE_CHECKING:
    from torch import Tensor

EXACT = "conjugate_gradients(search=exact)"
STEEPEST = "gradient_descent(search=exact)"


@claim(section="8.6.2", source="Deep Learning, figure 8.6", control=f"optimizer='{EXACT}'")
def steepest_descent_zigzags(optimizer: str = STEEPEST, size: Count = 16, steps: Count = 40) -> Experiment:
    """Steepest descent with exact line searches zigzags: each direction is orthogonal to the one before.

    Directions on a quadratic in float64, and the next but one beside the first: what one search had put right the
    following ones undo, so that it is searched again. Again means: cosines of more than 0.9 in the end. The control
    takes conjugate directions.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        way = _directions(f"quadratic(size={size}, condition=100)", optimizer, steps)
        return [
            exactly("largest |cosine| of consecutive directions", _cosines(way, 1).abs().max().item(), below=1e-6),
            exactly("cosine of a direction and the next but one, in the end", _cosines(way, 2)[-1].item(), above=0.9),
        ]

    return experiment


def _directions(problem: str, optimizer: str, steps: int) -> Tensor:
    """The directions [steps, D] of a path, as unit vectors."""
    from suite.claims.paths import visited

    way = visited(problem, optimizer, steps).diff(dim=0)
    return way[way.norm(dim=1) > 0] / way.norm(dim=1, keepdim=True)[way.norm(dim=1) > 0]


def _cosines(way: Tensor, apart: int) -> Tensor:
    """The cosines between directions that are so many steps apart."""
    return (way[:-apart] * way[apart:]).sum(1)


@claim(section="8.6.2", source="Deep Learning, section 8.6.2", control=f"optimizer='{STEEPEST}'")
def conjugate_directions(optimizer: str = EXACT, size: Count = 8, condition: Positive = 10.0) -> Experiment:
    """Directions of conjugate gradients are conjugate, dᵢᵀHdⱼ = 0, so that no search undoes what another achieved.

    All pairs of the n directions that lead to the minimum of a quadratic in float64, a small one, as rounding makes
    later directions less and less conjugate: the largest |dᵢᵀHdⱼ| relative to √(dᵢᵀHdᵢ dⱼᵀHdⱼ). The control takes
    steepest descent.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        from suite.claims.paths import eigen

        problem = f"quadratic(size={size}, condition={condition})"
        values, vectors = eigen(problem, torch.zeros(size, dtype=torch.float64))
        scaled = _directions(problem, optimizer, size) @ (vectors * values.sqrt())
        scaled = scaled / scaled.norm(dim=1, keepdim=True)
        apart = (scaled @ scaled.T).fill_diagonal_(0.0).abs().max()
        return [exactly("largest cosine in the norm of H", float(apart), below=1e-6)]

    return experiment


@claim(
    section="8.6.2",
    source="Deep Learning, section 8.6.2; Hestenes & Stiefel 1952",
    control=f"optimizer='{STEEPEST}'",
)
def conjugate_gradients_take_n_searches(
    optimizer: str = EXACT, size: Count = 8, condition: Positive = 10.0
) -> Experiment:
    """Conjugate gradients reach the minimum of a quadratic in n dimensions with at most n line searches.

    Loss in float64 after n steps, of a small quadratic, as rounding makes directions less and less conjugate; and after
    two, where H has but two different eigenvalues (of a matrix whose entries are rounded to 10⁻⁷). The control takes
    steepest descent.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        arms = {
            spectrum: arm(
                f"quadratic(size={size}, condition={condition}, spectrum={spectrum})",
                optimizer,
                steps=steps,
                eval_every=steps,
                dtype="float64",
            )
            for spectrum, steps in {"log": size, "outliers": 2}.items()
        }
        left = {}
        for spectrum, runs in lab.train(arms, 1).items():
            [[(_, start), *_, (_, end)]] = runs.course("train_loss")
            left[spectrum] = end / start
        return [
            exactly(f"loss after {size} searches / before", left["log"], below=1e-20),
            exactly("loss after two searches / before, two eigenvalues", left["outliers"], below=1e-10),
        ]

    return experiment


@claim(section="8.6.2", source="Deep Learning, equations 8.30 and 8.31", control="problem='rosenbrock(size=8)'")
def beta_formulas_agree(problem: str = "quadratic(size=16, condition=100)", steps: Count = 12) -> Experiment:
    """On a quadratic the formulas of Fletcher–Reeves and Polak–Ribière are the same.

    Paths in float64 from one start, searched along with dᵀHd: the largest distance of their points, relative to that
    from the start to the first path's end. They differ on the control, which is no quadratic.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from suite.claims.paths import visited

        one, other = (
            visited(problem, f"conjugate_gradients(beta={beta}, search=exact)", steps)
            for beta in ("fletcher_reeves", "polak_ribiere")
        )
        return [exactly("distance of the paths / way", apart(one, other), below=1e-6)]

    return experiment


def apart(one: Tensor, other: Tensor) -> float:
    """The largest distance between the points of two paths, relative to the first one's length as the crow flies."""
    return float((one - other).norm(dim=1).max() / (one[-1] - one[0]).norm())


@claim(section="8.6.2", source="Deep Learning, section 8.6.2", control="optimizer='gradient_descent'")
def nonlinear_conjugate_gradients_train_nets(
    optimizer: str = "conjugate_gradients", problem: str = "digits_mlp", steps: Count = 60, seeds: Count = 15
) -> Experiment:
    """Conjugate gradients train nets, too, and better than steepest descent for as many gradients.

    Full batches: the training loss after so many steps, relative to that of steepest descent with line searches of the
    same kind, which goes on until it has asked for at least as many gradients. The control takes steepest descent
    twice.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked = {"": arm(problem, optimizer, steps=steps, eval_every=steps)}
        ours = lab.train(asked, seeds)[""]
        theirs = _at_least(lab, arm(problem, "gradient_descent"), max(ours.counted("gradient")), steps, seeds)
        pair = ratios(ours.final("train_loss"), theirs.final("train_loss"))
        cost = ratios(theirs.counted("gradient"), ours.counted("gradient"))
        return [
            typical("loss of conjugate gradients / of steepest descent", pair, below=1),
            typical("gradients that steepest descent took / conjugate gradients", cost, above=0.999),
        ]

    return experiment


def _at_least(lab: Lab, asked: Arm, gradients: float, steps: int, seeds: int) -> Runs:
    """Runs of so many steps, or of as many more as it takes until each has asked for so many gradients."""
    while True:
        runs = lab.train({"": replace(asked, options={"steps": steps, "eval_every": steps})}, seeds)[""]
        least = min(runs.counted("gradient"))
        if least >= gradients:
            return runs
        steps = int(steps * max(1.1, 1.05 * gradients / least)) + 1


@claim(section="8.6.2", source="Deep Learning, section 8.6.2; Le et al. 2011", control="first=0")
def conjugate_gradients_after_sgd(
    first: Natural = 74,
    problem: str = "digits_autoencoder(hidden=(8,))",
    optimizer: str = "conjugate_gradients",
    steps: Count = 300,
    seeds: Count = 15,
) -> Experiment:
    """Nonlinear conjugate gradients benefit from a few iterations of stochastic gradient descent first.

    ``first`` steps of SGD, two epochs, with the rate that is best for so many, and conjugate gradients on the
    full batch from there, against these alone from the same drawn weights: gradients of the full batch until
    the problem's target, those of SGD counted by their share of it. Weak evidence: at an SGD rate of 0.03 the ratio
    is above 1, so that it is the rate of the first steps that decides, and on ``digits_mlp``, for as many gradients,
    it could not be told from 1. In the control no step of SGD is taken.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from problems.problem import problem as problems

        made = problems.build(problems.bind(problem))
        layers = sum(piece.role == "weight" for piece in made.layout)
        best = tuned(lab, {"": short(problem, "sgd", max(first, 1))}, 1)[""][0].run.optimizer
        starts = {k: f"transfer(source={problem}, layers={layers}, optimizer={best}, steps={k})" for k in {first, 0}}
        arms = {
            k: arm(problem, optimizer, start, steps=steps, eval_every=1, until_target=True)
            for k, start in starts.items()
        }
        found = {k: gradients_to_target(runs) for k, runs in lab.train(arms, seeds).items()}
        after = [count + first * made.batch_size / len(made.train) for count in found[first]]
        return [typical("gradients to the target, SGD first / alone", ratios(after, found[0]), below=1)]

    return experiment


def gradients_to_target(runs: Runs) -> list[float]:
    """How many gradients were asked for until the target, at which the run ended; infinite where it was not met."""
    met = zip(runs.steps_to_target(), runs.counted("gradient"), strict=True)
    return [count if math.isfinite(step) else math.inf for step, count in met]
