"""Section 8.1.3: in which order examples make minibatches, and of how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Count, Natural, OneOf
from suite.claims.base import Experiment, Observation, claim, typical
from suite.claims.courses import by_target, drawn, made_of, measured, over_examples, trained
from suite.claims.lab import Lab, ratios

if TYPE_CHECKING:
    from problems.problem import Problem

RATES = tuple(10 ** (k / 3) for k in range(-7, 3))  # 0.005 to 4.6
TRIES = 2  # seeds on which each rate is tried, others than those that count
LOOKS = 25  # evaluations, evenly spaced


@dataclass(frozen=True)
class Way:
    """How minibatches come about.

    Args:
        order: of :class:`suite.spec.Run`, or ``by_class``: one class after the other.
        size: of a minibatch; 0 for all examples.
        steps: of training.
    """

    order: str
    size: int
    steps: int


@claim(section="8.1.3", source="Deep Learning, section 8.1.3", control="order='sequential'")
def minibatches_must_be_random(
    order: Annotated[str, OneOf(("by_class", "sequential"))] = "by_class",
    problem: str = "digits_mlp",
    optimizer: str = "sgd",
    epochs: Count = 10,
    seeds: Count = 15,
) -> Experiment:
    """It is crucial that minibatches are random: in the order of their classes, examples train far worse.

    The lowest validation loss decides the rate of each, out of ten from 0.005 to 4.6 on seeds of their own, and the
    evaluation at which the test loss is taken; the ratio of test losses, in order / reshuffled for every epoch, and far
    worse is twice as high. The control takes the examples as they lie in the data set, which was shuffled once.
    """
    return _against_reshuffling(order, problem, optimizer, epochs, seeds, "in order / reshuffled", above=2.0)


@claim(section="8.1.3", source="Deep Learning, section 8.1.3", control="order='by_class'")
def shuffling_once_is_enough(
    order: Annotated[str, OneOf(("by_class", "sequential", "shuffle_once"))] = "shuffle_once",
    problem: str = "digits_mlp",
    optimizer: str = "sgd",
    epochs: Count = 10,
    seeds: Count = 30,
) -> Experiment:
    """Shuffling the examples once and passing through them in that order does no significant harm.

    As ``minibatches_must_be_random``, shuffled once / reshuffled for every epoch; harm is significant if the test
    loss is higher by a tenth. The control has the examples in the order of their classes, not shuffled at all.
    """
    return _against_reshuffling(order, problem, optimizer, epochs, seeds, "shuffled once / reshuffled", below=1.1)


def _against_reshuffling(
    order: str, problem: str, optimizer: str, epochs: int, seeds: int, what: str, **bounds: float
) -> Experiment:
    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(problem, "float32")
        steps = epochs * (len(made.train) // made.batch_size)
        ways = [Way(each, made.batch_size, steps) for each in (order, "reshuffle")]
        found = [_test_losses(made, optimizer, way, lab.seeds(seeds + TRIES)) for way in ways]
        return [typical(f"test loss, {what}", ratios(*found), **bounds)]

    return experiment


@claim(section="8.1.3", source="Wilson & Martinez 2003", control="size=400")
def small_batches_regularize(
    size: Natural = 4,
    problem: str = "digits_mlp",
    optimizer: str = "sgd",
    steps: Count = 10000,
    passes: Count = 1500,
    seeds: Count = 15,
) -> Experiment:
    """Small minibatches can regularize: the generalization error is lower than with all examples in one batch.

    10,000 steps of four examples and 1500 of all, by when most validation losses have been at their lowest (600 of all
    end before that, and what training had not done yet would look like what regularization does). The lowest
    validation loss decides the rate of each, out of ten on seeds of their own, and the evaluation at which the test
    loss is taken; the ratio of test losses, four examples / all. The control has 400 of the 1,197 examples in a
    minibatch. About a minute.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(problem, "float32")
        some = Way("reshuffle", size, steps if size < 100 else passes)
        found = [
            _test_losses(made, optimizer, way, lab.seeds(seeds + TRIES)) for way in (some, Way("reshuffle", 0, passes))
        ]
        return [typical("test loss, small batches / all examples", ratios(*found), below=1)]

    return experiment


def _test_losses(made: Problem, optimizer: str, way: Way, seeds: Sequence[int]) -> list[float]:
    """The test loss of each seed where the validation loss is lowest, with the rate at which that is lowest.

    Args:
        seeds: of which the last ``TRIES`` decide the rate, and do not count.
    """
    tries = [(rate, seed) for rate in RATES for seed in seeds[-TRIES:]]
    lowest = [valid for valid, _ in _lowest(made, optimizer, way, tries)]
    by_rate = {rate: median(lowest[i * TRIES : (i + 1) * TRIES]) for i, rate in enumerate(RATES)}
    best = min(by_rate, key=lambda rate: by_rate[rate])
    return [test for _, test in _lowest(made, optimizer, way, [(best, seed) for seed in seeds[:-TRIES]])]


def _lowest(made: Problem, optimizer: str, way: Way, runs: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """(validation loss, test loss) of each (rate, seed) at the evaluation at which the first is lowest."""
    order = way.order
    if order == "by_class":
        made, order = over_examples(made, by_target(made)), "sequential"
    seeds, texts = [seed for _, seed in runs], [f"{optimizer}(lr={rate})" for rate, _ in runs]
    at = sorted({round(way.steps * k / LOOKS) for k in range(1, LOOKS + 1)})
    course = trained(made, texts, drawn(made, seeds), at, batch_size=way.size, order=order, seeds=seeds)
    seen = [measured(made, theta) for theta in course.points.values()]
    pairs = [zip(each["valid_loss"], each["test_loss"], strict=True) for each in seen]
    finite = [[(v, t) if v < float("inf") else (float("inf"), float("inf")) for v, t in each] for each in pairs]
    return [min(lane) for lane in zip(*finite, strict=True)]
