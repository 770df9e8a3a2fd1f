"""Tuning by the training loss, for claims about how well an optimizer minimizes it, not about what generalizes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from problems.bounds import Bound
from problems.names import parse
from problems.problem import problem as problems
from problems.selection import selected
from suite.claims.lab import Arm, ExperimentError, K, Lab, Runs, arm, ratios
from suite.optimizers import optimizer as optimizers
from suite.tuning import trials

LATE = 4  # the last quarter of a run's steps is what counts
TRIALS = 11  # settings of each optimizer, as ``compare`` tries
OWN = 2  # seeds that choose among them, and are not reported


def late(runs: Runs) -> list[float]:
    """The mean loss of a run's minibatches over the last quarter of its steps; infinite where it diverged.

    A rate that is best for a given number of steps leaves a noise that the loss at one point would show.
    """

    def mean(losses: Sequence[float]) -> float:
        return statistics.fmean(losses[-max(len(losses) // LATE, 1) :])

    courses = runs.course("minibatch_loss")
    return [math.inf if bad else mean([v for _, v in each]) for bad, each in zip(runs.diverged, courses, strict=True)]


def short(problem: str, optimizer: str, steps: int, **options: Any) -> Arm:
    """An arm of so many steps whose minibatches' losses are recorded, as :func:`late` needs them."""
    return arm(problem, optimizer, steps=steps, eval_every=steps, probes="loss", **options)


def tuned(lab: Lab, arms: Mapping[K, Arm], seeds: int) -> dict[K, Runs]:
    """The runs of each arm with the setting that makes the late loss lowest, on seeds that did not choose it."""
    tried = {
        key: [replace(each, optimizer=str(trial.spec)) for trial in trials(parse(each.optimizer), TRIALS)]
        for key, each in arms.items()
    }
    return chosen(lab, tried, seeds)


def chosen(lab: Lab, arms: Mapping[K, Sequence[Arm]], seeds: int) -> dict[K, Runs]:
    """The same, of settings that are given.

    Raises:
        ExperimentError: an arm diverged with every setting.
    """
    found = lab.train({(key, i): each for key, tried in arms.items() for i, each in enumerate(tried)}, OWN)
    losses = {key: statistics.median(late(runs)) for key, runs in found.items()}
    best = {key: min((losses[key, i], i) for i in range(len(tried)))[1] for key, tried in arms.items()}
    for key, i in best.items():
        if math.isinf(losses[key, i]):
            raise ExperimentError(f"{arms[key][0].optimizer} on {arms[key][0].problem} diverged, as all others did")
    reported = lab.train({key: arms[key][i] for key, i in best.items()}, OWN + seeds)
    return {key: Runs(runs.results[OWN:]) for key, runs in reported.items()}


def against(lab: Lab, problem: str, both: tuple[str, str], steps: int, seeds: int) -> list[float]:
    """The late loss of one optimizer / of the other, both tuned."""
    arms = {text: short(problem, text, steps) for text in both}
    found = tuned(lab, arms, seeds)
    return ratios(*(late(found[text]) for text in both))


def named(text: str) -> list[str]:
    """The problems that a text names, each as a person would write it."""
    return [str(problems.short(problems.bind(spec))) for spec in selected(problems, text)]


def numbers(optimizer: str) -> list[str]:
    """The settings of an optimizer that are numbers on a scale."""
    return [p.name for p in optimizers.find(parse(optimizer).name).parameters if p.kind == "number"]


def changed(optimizer: str, name: str, value: float, factor: float) -> tuple[float, float]:
    """A setting made larger and smaller by a factor; of a decay rate its memory, which is 1 at least."""
    bounds = {p.name: p.bound for p in optimizers.find(parse(optimizer).name).parameters}
    if bounds[name] == Bound(0, 1, open_high=True):
        return 1 - (1 - value) / factor, max(0.0, 1 - (1 - value) * factor)
    return value * factor, value / factor
