"""Section 8.5.4: choosing the right optimization algorithm."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from problems.bounds import Count
from problems.names import parse
from suite.claims.base import Experiment, Observation, claim, exactly, typical
from suite.claims.lab import Lab, Runs, ratios
from suite.claims.tuning import OWN, TRIALS, late, named, short
from suite.tuning import trials

# those that come with the suite and have noise, but for recurrent nets and sparse coding, which take long
PROBLEMS = (
    "digits_mlp, digits_denoising, digits_deep_mlp, digits_autoencoder, digits_logistic, "
    "quadratic_deep, gaussian, gaussian_regression, linear_regression"
)
OPTIMIZERS = "sgd, momentum, rmsprop, rmsprop_nesterov, adadelta, adam"


@claim(section="8.5.4", source="Deep Learning, section 8.5.4; Schaul et al. 2014", control="optimizers='adam'")
def no_single_best(
    optimizers: str = OPTIMIZERS, problems: str = PROBLEMS, steps: Count = 400, seeds: Count = 12
) -> Experiment:
    """No optimization algorithm has emerged as the single best one.

    SGD and its relatives with momentum and adaptive rates, each tuned on each problem: no one may be the best, or
    indistinguishable from the best over paired seeds, on all of them. Weak evidence: on the first six problems, which
    were tried first, it does not hold, as ``rmsprop_nesterov`` is the best or tied on each; the last three decide. The
    control has one to choose from.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        names, wins = optimizers.split(", "), dict.fromkeys(optimizers.split(", "), 0)
        asked = named(problems)
        for each in asked:
            for name in _best(_reported(lab, each, names, steps, seeds)):
                wins[name] += 1
        most = max(wins, key=lambda name: wins[name])
        return [exactly(f"share of {len(asked)} problems on which {most} is best", wins[most] / len(asked), below=1)]

    return experiment


def _best(losses: Mapping[str, Sequence[float]]) -> list[str]:
    """The names of which no other one is told to be better, after Holm's correction for all pairs."""
    import pandas as pd

    from analysis.statistics import pairwise

    if len(losses) == 1:
        return list(losses)
    table = pairwise(pd.DataFrame(losses), "lower")
    beaten = {*table["a"][table["outcome"] == "worse"], *table["b"][table["outcome"] == "better"]}
    return [name for name in losses if name not in beaten]


def _tried(lab: Lab, problem: str, names: Sequence[str], steps: int) -> dict[tuple[str, int], float]:
    """The median late loss of each optimizer with each of its rates, on the seeds that choose."""
    arms = {(name, i): short(problem, text, steps) for name in names for i, text in enumerate(_texts(name))}
    return {key: statistics.median(late(runs)) for key, runs in lab.train(arms, OWN).items()}


@cache
def _texts(name: str) -> list[str]:
    return [str(trial.spec) for trial in trials(parse(name), TRIALS)]


def _reported(
    lab: Lab, problem: str, names: Sequence[str], steps: int, seeds: int, at: Mapping[str, int] | None = None
) -> dict[str, list[float]]:
    """The late losses of each optimizer with the rate that is best for the problem, or with the one that is given."""
    tried = _tried(lab, problem, names, steps)
    best = {name: min((loss, i) for (who, i), loss in tried.items() if who == name)[1] for name in names}
    arms = {name: short(problem, _texts(name)[(at or best)[name]], steps) for name in names}
    return {name: late(Runs(runs.results[OWN:])) for name, runs in lab.train(arms, OWN + seeds).items()}


@claim(
    section="8.5.4",
    source="Deep Learning, section 8.5.4; Schaul et al. 2014",
    control="adaptive='sgd, momentum'",
)
def adaptive_rates_are_robust(
    adaptive: str = "rmsprop, adadelta",
    others: str = "sgd, momentum",
    problems: str = PROBLEMS,
    steps: Count = 400,
    seeds: Count = 12,
) -> Experiment:
    """Algorithms with adaptive rates, as RMSProp and AdaDelta, perform fairly robustly over different tasks.

    Each algorithm gets one rate for all problems, the one that makes the geometric mean of their losses least. With it,
    the worse of the adaptive ones against the better of the others, by the same mean. The control puts these in the
    place of the adaptive ones.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        families = [adaptive.split(", "), others.split(", ")]
        names = list(dict.fromkeys(name for family in families for name in family))
        asked = named(problems)
        at = _for_all([_tried(lab, each, names, steps) for each in asked], names)
        found = [_reported(lab, each, names, steps, seeds, at) for each in asked]
        means = {name: [_geometric(of[name][seed] for of in found) for seed in range(seeds)] for name in names}
        worst = [max(means[name][seed] for name in families[0]) for seed in range(seeds)]
        best = [min(means[name][seed] for name in families[1]) for seed in range(seeds)]
        return [
            typical("loss with one rate for all: worst adaptive / best of the others", ratios(worst, best), below=1)
        ]

    return experiment


def _for_all(tried: Sequence[Mapping[tuple[str, int], float]], names: Sequence[str]) -> dict[str, int]:
    """The rate of each optimizer whose losses on all problems have the least geometric mean."""
    return {name: min(range(TRIALS), key=lambda i: _geometric(of[name, i] for of in tried)) for name in names}


def _geometric(values: Iterable[float]) -> float:
    """The geometric mean; infinite where one is."""
    found = list(values)
    return math.inf if math.inf in found else statistics.geometric_mean(found)
