"""Section 8.3.1: stochastic gradient descent, its noise, and its rate."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from problems.bounds import Count, Natural, Positive
from problems.names import UsageError, parse
from suite.claims.base import Experiment, Observation, claim, typical
from suite.claims.lab import Arm, Lab, Runs, arm, ratios, slope

RATES = (0.0025, 0.005, 0.01, 0.02)  # far below the largest at which the problem is stable
ROUNDING = 2.0**-52  # of the minimum: what less than this is in excess of it, is nothing


def excess(runs: Runs) -> list[list[tuple[int, float]]]:
    """(step, L − L*) of the training loss by seed, with the minimum L* that the problem knows; infinite from where a
    run diverged on.
    """
    from problems.problem import problem

    made = problem.build(parse(runs[0].run.problem))
    if made.minimum is None:
        raise UsageError(f"{made.name} knows no minimum of its loss; take a problem that does, as linear_regression")
    least = made.minimum.loss
    rounding = max(ROUNDING * least, sys.float_info.min)
    found = [[(k, max(loss - least, rounding)) for k, loss in each] for each in runs.course("train_loss")]
    for each, course in zip(runs, found, strict=True):
        if each.status == "diverged":
            rest = range(course[-1][0] + 1, each.run.steps + 1)
            course += [(k, math.inf) for k in rest if k % each.run.eval_every == 0 or k == each.run.steps]
    return found


def between(courses: Sequence[Sequence[tuple[int, float]]], low: float, high: float) -> list[float]:
    """By seed the mean of what was found at steps of (low, high]."""
    return [fmean(value for step, value in each if low < step <= high) for each in courses]


def last(courses: Sequence[Sequence[tuple[int, float]]]) -> list[float]:
    """By seed what was found last."""
    return [each[-1][1] for each in courses]


def slopes(found: Mapping[int, Sequence[float]] | Mapping[float, Sequence[float]]) -> list[float]:
    """By seed the power p of y ∝ xᵖ, from x -> y of each seed."""
    return [slope(found, y) for y in zip(*found.values(), strict=True)]


@claim(
    section="8.3.1",
    source="Deep Learning, section 8.3.1; Robbins & Monro 1951",
    control="problem='linear_regression(noise=0)'",
)
def noise_floor(problem: str = "linear_regression", batch_size: Count = 16, seeds: Count = 15) -> Experiment:
    """At a constant rate SGD stops at an excess error that is in proportion to the rate, for sampling goes on.

    6000 steps at four rates from 0.0025 to 0.02 on minibatches drawn independently; the excess of the training loss
    over its minimum is averaged over the last quarter, for the power of ε, and compared with the quarter before. To
    first order theory has ε·tr Σ/4. The control has data without noise, so that all examples agree at the minimum and
    the noise of their gradients vanishes there.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": 6000, "eval_every": 60, "batch_size": batch_size, "dtype": "float64"}
        arms = {lr: arm(problem, f"sgd(lr={lr})", order="with_replacement", **options) for lr in RATES}
        found = {lr: excess(runs) for lr, runs in lab.train(arms, seeds).items()}
        before = between(found[RATES[0]], 3000, 4500)
        after = {lr: between(courses, 4500, 6000) for lr, courses in found.items()}
        return [
            typical("excess in the last quarter / in the one before", ratios(after[RATES[0]], before), 0.8, 1.25),
            typical("power of ε that the excess grows by", slopes(after), 0.9, 1.1),
        ]

    return experiment


@claim(
    section="8.3.1",
    source="Deep Learning, equations 8.12 and 8.13; Robbins & Monro 1951",
    control="schedule='constant'",
)
def decaying_rate_converges(
    schedule: str = "inverse(steps=100)", problem: str = "linear_regression", lr: Positive = 0.05, seeds: Count = 15
) -> Experiment:
    """With rates whose sum is infinite and whose squares' sum is not, SGD converges, as 1/k if strongly convex.

    20 000 steps with ε_k = ε/(1 + k/100) on minibatches drawn independently; the power of k that the excess of the
    training loss falls by, from its means over four spans that begin at 2000 steps. The book's O(1/k) is a bound that
    nothing beats here, for the least curvature times ε·100 is above ½. The control has a constant rate.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        value = str(parse(schedule).replace(value=lr))
        options: dict[str, Any] = {"steps": 20_000, "eval_every": 200, "order": "with_replacement", "dtype": "float64"}
        found = excess(lab.train({"": arm(problem, f"sgd(lr={value})", **options)}, seeds)[""])
        spans = {3000: (2000, 4000), 5500: (4000, 7000), 9000: (7000, 11_000), 15_500: (11_000, 20_000)}
        means = {middle: between(found, *span) for middle, span in spans.items()}
        return [typical("power of k that the excess goes by", slopes(means), -1.2, -0.8)]

    return experiment


@claim(section="8.3.1", source="Deep Learning, equation 8.14", control="batch_size=0")
def linear_decay(
    problem: str = "quadratic_deep", batch_size: Natural = 16, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """The rate has to be decreased over time: one that decays linearly ends lower than the best constant one.

    400 steps, the rate and the first rate each the best of 21; final excess of the training loss over its minimum. The
    control takes the whole training split at each step, whose gradients have no noise.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked: dict[str, Any] = {"steps": steps, "batch_size": batch_size}
        arms = {text: arm(problem, text, **asked) for text in ("sgd", f"sgd(lr=linear(steps={steps}))")}
        constant, decayed = (last(excess(runs)) for runs in lab.tune(arms, seeds, trials=21).values())
        return [typical("excess with decay / at a constant rate", ratios(decayed, constant), below=1)]

    return experiment


@claim(section="8.3.1", source="Deep Learning, section 8.3.1", control="problem='linear_regression(noise=0)'")
def batches_need_no_decay(problem: str = "linear_regression", lr: Positive = 0.05, seeds: Count = 15) -> Experiment:
    """Batch gradient descent converges at a constant rate at which minibatches go on to jump around.

    2000 steps at one rate; the excess of the training loss over its minimum, relative to that at the start. The
    control has data without noise, on which minibatches, too, converge.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": 2000, "eval_every": 100, "order": "with_replacement", "dtype": "float64"}
        arms = {size: arm(problem, f"sgd(lr={lr})", batch_size=size, **options) for size in (0, 16)}
        batch, minibatches = (excess(runs) for runs in lab.train(arms, seeds).values())
        start = [each[0][1] for each in batch]
        return [
            typical("excess with all examples / at the start", ratios(last(batch), start), below=1e-10),
            typical("excess with 16 of them / at the start", ratios(last(minibatches), start), above=1e-5),
        ]

    return experiment


@claim(section="8.3.1", source="Deep Learning, section 8.3.1; Bottou & Bousquet 2008", control="batch_size=0")
def rapid_start(problem: str = "gaussian", batch_size: Natural = 10, seeds: Count = 15) -> Experiment:
    """SGD is ahead of batch gradient descent after few passes over the data, and behind after many.

    2 passes and 300, at constant rates, each the best of 11 for that length; final excess of the training loss over
    its minimum. The problem has a moderate condition and is tuned by its training loss: on ``quadratic_deep``, whose
    condition is in the thousands, gradient descent has not begun to converge after 200 passes. The control takes all
    examples at each step in place of minibatches.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        def ahead(epochs: int) -> list[float]:
            arms = {whole: _passes(problem, 0 if whole else batch_size, epochs) for whole in (False, True)}
            small, whole = (last(excess(runs)) for runs in lab.tune(arms, seeds).values())
            return ratios(small, whole)

        return [
            typical("excess with minibatches / with all examples, 2 passes", ahead(2), below=1),
            typical("excess with minibatches / with all examples, 300 passes", ahead(300), above=1),
        ]

    return experiment


def _passes(problem: str, size: int, epochs: int) -> Arm:
    return arm(problem, "sgd", batch_size=size, epochs=epochs, dtype="float64")


@claim(section="8.3.1", source="Deep Learning, section 8.3.1", control="batch_size=0")
def cost_without_examples(batch_size: Natural = 50, lr: Positive = 0.02, seeds: Count = 15) -> Experiment:
    """How long SGD takes to come near the minimum does not grow with the number of training examples.

    Maximum likelihood for a Gaussian from 1000, 10 000 and 100 000 examples; how many of them are looked at, again
    ones counted again, until the loss over all of them is within 0.01 of its minimum. The control looks at all in
    each step.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        sizes = (1000, 10_000, 100_000)
        options: dict[str, Any] = {"steps": 2000, "eval_every": 20, "batch_size": batch_size, "until_target": True}
        arms = {n: arm(f"gaussian(examples={n})", f"sgd(lr={lr})", **options) for n in sizes}
        seen = {
            n: [steps * (batch_size or n) for steps in runs.steps_to_target()]
            for n, runs in lab.train(arms, seeds).items()
        }
        share = ratios(seen[sizes[-1]], [sizes[-1]] * seeds)
        return [
            typical("power of the number of examples that those looked at grow by", slopes(seen), -0.1, 0.1),
            typical("share of 100 000 examples that are looked at", share, below=1),
        ]

    return experiment


@claim(
    section="8.3.1",
    source="Deep Learning, section 8.3.1; Smith et al. 2018",
    control="lr=0.0005",
)
def growing_minibatches(
    problem: str = "linear_regression", lr: Positive = 0.05, every: Count = 200, seeds: Count = 15
) -> Experiment:
    """Minibatches that grow lower the excess error as a rate that shrinks does.

    At one rate: minibatches of 16 that double each 200 steps up to 256 against as many examples in minibatches of 16;
    and against minibatches of 16 whose rate is halved where the others double. The final excess of the training loss
    over its minimum, the second to a factor of 2. The control's rate is so small that no floor is reached: more steps
    are better.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        steps = 5 * every
        options: dict[str, Any] = {"batch_size": 16, "order": "with_replacement", "dtype": "float64"}
        halved = f"sgd(lr=step({lr}, every={every}, factor=0.5))"
        arms = {
            "growing": arm(problem, f"sgd(lr={lr})", steps=steps, grow_every=every, eval_every=steps, **options),
            "constant": arm(problem, f"sgd(lr={lr})", steps=31 * every, eval_every=31 * every, **options),
            "halved": arm(problem, halved, steps=steps, eval_every=steps, **options),
        }
        growing, constant, shrinking = (last(excess(runs)) for runs in lab.train(arms, seeds).values())
        return [
            typical("excess with growing minibatches / with as many examples", ratios(growing, constant), below=1),
            typical("excess with growing minibatches / with shrinking rates", ratios(growing, shrinking), 0.5, 2),
        ]

    return experiment
