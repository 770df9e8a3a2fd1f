"""Section 8.1: how learning differs from pure optimization, and what minibatches have to do with it."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Count, Fraction, OneOf, Positive
from suite.claims.base import Experiment, Observation, claim, typical
from suite.claims.courses import by_target, drawn, each_gradient, made_of, measured, objective, over_examples, trained
from suite.claims.lab import ExperimentError, Lab, arm, differences, ratios, slope

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from problems.problem import Batch, Problem

SIZES = (3, 10, 30, 100, 300)
DRAWS = 200  # minibatches of each size
_UNFINISHED = "{} leaves a training error after {} epochs of {}: ask for more epochs"


@claim(section="8.1.2", source="Deep Learning, section 8.1.2", control="surrogate='perceptron'")
def margins_after_zero_error(
    surrogate: Annotated[str, OneOf(("likelihood", "perceptron"))] = "likelihood",
    problem: str = "digits_mlp",
    optimizer: str = "sgd(lr=0.3)",
    epochs: Count = 150,
    seeds: Count = 20,
) -> Experiment:
    """The held-out 0-1 loss often goes on falling after that of training is zero, if the likelihood is maximized.

    The 0-1 loss over the validation and the test split, neither of which decides anything here, at the end of training,
    less that at the first epoch after which no training example is wrong: a few more that are right of 600 are all that
    there is to see. The control trains on the perceptron's criterion, the largest wrong output less the right one where
    that is positive: a surrogate, too, but one that asks for no margin.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = _by(surrogate, problem)
        epoch = len(made.train) // made.batch_size
        at = [epoch * k for k in range(1, epochs + 1)]
        course = trained(made, optimizer, drawn(made, lab.seeds(seeds)), at, seeds=lab.seeds(seeds))
        seen = [measured(made, course.points[step]) for step in at]
        held_out = [_held_out(made, each, "accuracy") for each in seen]
        changes = []
        for seed in range(seeds):
            right = [each["train_accuracy"][seed] == 1 for each in seen]
            if not any(right):
                raise ExperimentError(_UNFINISHED.format(optimizer, epochs, problem))
            changes.append(held_out[right.index(True)][seed] - held_out[-1][seed])
        return [typical("held-out 0-1 loss at the end, less that when training had none", changes, below=0)]

    return experiment


def _by(surrogate: str, problem: str) -> Problem:
    """The problem with a surrogate of the 0-1 loss."""
    made = made_of(problem, "float32")
    return replace(made, criterion=_perceptron) if surrogate == "perceptron" else made


def _held_out(made: Problem, found: dict[str, list[float]], measure: str) -> list[float]:
    """The mean of a measure over the examples of both other splits, of each lane."""
    sizes = {name: len(data) for name, data in made.splits.items() if name != "train"}
    means = zip(*(found[f"{name}_{measure}"] for name in sizes), strict=True)
    return [sum(map(operator.mul, each, sizes.values())) / sum(sizes.values()) for each in means]


def _perceptron(outputs: Tensor, batch: Batch) -> Tensor:
    """max(0, the largest wrong output − the right one), a mean over the examples."""
    right = batch[1][:, None]
    wrong = outputs.scatter(1, right, -math.inf).amax(1)
    return (wrong - outputs.gather(1, right)[:, 0]).clamp(min=0).mean()


@claim(
    section="8.1.2",
    source="Deep Learning, section 8.1.2",
    control="stop='gradient_norm(tol=0.001)', optimizer='lbfgs'",
)
def early_stopping_is_steep(
    stop: str = "early(patience=5)",
    problem: str = "digits_mlp",
    optimizer: str = "sgd(lr=0.1)",
    epochs: Count = 1000,
    seeds: Count = 15,
) -> Experiment:
    """Early stopping often ends training while the derivatives of the surrogate loss are still large.

    The norm of the training loss's gradient where the validation 0-1 loss makes training stop, relative to that at the
    start; an optimizer counts as converged once it is a thousandth, and large is more than ten times as much. The
    control stops by the gradient itself, as pure optimization does.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        rule = f"either({stop}, gradient_norm(tol=1e-9))"
        asked = arm(problem, optimizer, epochs=epochs, eval_every="epoch", stop=rule)
        courses = lab.train({"": asked}, seeds)[""].course("train_gradient_norm")
        return [typical("gradient norm at the stop / at the start", [c[-1][1] / c[0][1] for c in courses], above=0.01)]

    return experiment


@claim(section="8.1.3", source="Deep Learning, equation 5.46 and section 8.1.3", control="examples='in_order'")
def standard_error_root_n(
    examples: Annotated[str, OneOf(("independent", "in_order"))] = "independent",
    problem: str = "digits_mlp",
    seeds: Count = 15,
) -> Experiment:
    """The error of a gradient from n examples falls as 1/√n, so that 100 times the examples make it 10 times as exact.

    The root mean square distance of minibatch gradients from the gradient over all training examples, at the starts of
    all seeds, of 200 minibatches for each of the sizes 3, 10, … 300, drawn with replacement. The control takes examples
    one after the other, from a random one on, of data in order of class, so that they are not independent.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(problem)
        made = over_examples(made, by_target(made))
        own = lab.seeds(seeds)
        starts = zip(own, drawn(made, own), strict=True)
        errors = [_errors(made, start, seed, examples) for seed, start in starts]
        return [
            typical("power of n that the error falls by", [slope(SIZES, each) for each in errors], -0.55, -0.45),
            typical("error with 3 examples / with 300", [each[0] / each[-1] for each in errors], 8.0, 12.5),
        ]

    return experiment


def _errors(made: Problem, theta: Tensor, seed: int, examples: str) -> list[float]:
    """√(mean ‖g_B − g‖²) over minibatches of each size."""
    import torch

    from suite.sampler import generator

    apart = each_gradient(made, theta)
    apart -= apart.mean(0)
    stream, found = generator(seed, "minibatches"), []
    for size in SIZES:
        counts = torch.zeros(DRAWS, len(apart), dtype=apart.dtype)
        chosen = _chosen(len(apart), size, examples, stream)
        counts.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=apart.dtype))
        found.append(float((counts @ apart / size).square().sum(1).mean().sqrt()))
    return found


def _chosen(count: int, size: int, examples: str, stream: Generator) -> Tensor:
    """The examples [DRAWS, size] of so many minibatches."""
    import torch

    if examples == "independent":
        return torch.randint(count, (DRAWS, size), generator=stream)
    return (torch.randint(count, (DRAWS, 1), generator=stream) + torch.arange(size)) % count


@claim(section="8.1.3", source="Deep Learning, section 8.1.3", control="alpha=10")
def curvature_needs_larger_batches(
    problem: str = "digits_logistic",
    alpha: Positive = 0.001,
    size: Count = 100,
    most: Count = 64,
    seeds: Count = 12,
) -> Experiment:
    """A step by H⁻¹g usually needs minibatches many times as large as one by g to be as exact.

    ‖d_B − d‖/‖d‖ of the direction d = (H + αI)⁻¹g, with both from one minibatch B of examples drawn with replacement,
    against that of d = g from 100, at the starts of all seeds; the minibatch is doubled until H⁻¹g is as exact, and
    many times is more than ten (the book has 10,000 examples against 100). α = 0.001 makes a convex problem's H
    invertible, with a condition of about a thousand; the worse the condition, the more are needed: with α = 10⁻⁵ eight
    times as many. The control's α is so large that the directions are nearly alike.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(problem)
        own = lab.seeds(seeds)
        starts = zip(own, drawn(made, own), strict=True)
        times = [_times(made, start, seed, alpha, size, most) for seed, start in starts]
        return [typical(f"examples that H⁻¹g needs / {size} of g, at equal relative errors", times, above=10)]

    return experiment


def _times(made: Problem, theta: Tensor, seed: int, alpha: float, size: int, most: int) -> float:
    """How many times as many examples H⁻¹g needs as g does; infinite where ``most`` are too few."""
    import torch

    from suite.sampler import generator

    g, step = _directions(made, theta, alpha)
    stream = generator(seed, "minibatches")

    def batch(n: int) -> Problem:
        return over_examples(made, torch.randint(len(made.train), (n,), generator=stream))

    allowed = float((_directions(batch(size), theta, alpha)[0] - g).norm() / g.norm())
    times = 1
    while times <= most:
        if float((_directions(batch(times * size), theta, alpha)[1] - step).norm() / step.norm()) <= allowed:
            return float(times)
        times *= 2
    return math.inf


def _directions(made: Problem, theta: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """g and (H + αI)⁻¹g [D] over the training examples."""
    import torch

    from analysis.operators import hessian

    here = objective(made, theta)
    g = here.gradient()
    return g, torch.linalg.solve(hessian(here).dense() + alpha * torch.eye(len(g), dtype=g.dtype), g)


@claim(section="8.1.3", source="Deep Learning, section 8.1.3", control="epoch=60")
def first_pass_generalizes(
    epoch: Count = 1,
    problem: str = "digits_mlp",
    optimizer: str = "sgd(lr=0.1)",
    within: Fraction = 0.1,
    seeds: Count = 15,
) -> Experiment:
    """While no example is repeated, minibatch descent follows the gradient of the generalization error.

    Losses of the minibatches before each step of the first epoch, which at that moment nothing was fitted to, are then
    unbiased estimates of the generalization error. Their mean over the epoch, relative to that of the loss over the
    validation and test splits at the same points, is 1 but for 10 % that the splits' own errors may make. The control
    does so in the sixtieth epoch.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(problem, "float32")
        steps = len(made.train) // made.batch_size
        at = range((epoch - 1) * steps, epoch * steps + 1)
        course = trained(made, optimizer, drawn(made, lab.seeds(seeds)), at, seeds=lab.seeds(seeds))
        unseen = [_held_out(made, measured(made, course.points[step]), "loss") for step in at[:-1]]
        fitted = course.losses[at[0] :].mean(0).tolist()
        shown = ratios(fitted, [sum(losses) / steps for losses in zip(*unseen, strict=True)])
        return [typical("loss of minibatches / of unseen examples", shown, 1 - within, 1 + within)]

    return experiment


@claim(section="8.1.3", source="Deep Learning, section 8.1.3", control="epochs=1")
def further_passes_help(
    problem: str = "digits_mlp", optimizer: str = "sgd", epochs: Count = 20, seeds: Count = 15
) -> Experiment:
    """Further passes over the same examples lower the test loss, though the gap to the training loss grows.

    The final test loss after 20 epochs, relative to that after one, and what the gap between test and training loss
    grows by, with a rate that is tuned for each. The control makes one pass in place of 20.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        lengths = {"one": 1, "several": epochs}
        found = lab.tune({key: arm(problem, optimizer, epochs=n) for key, n in lengths.items()}, seeds)
        test = {key: runs.final("test_loss") for key, runs in found.items()}
        gap = {key: differences(test[key], runs.final("train_loss")) for key, runs in found.items()}
        return [
            typical("test loss after several passes / after one", ratios(test["several"], test["one"]), below=1),
            typical("gap after several passes, less that after one", differences(gap["several"], gap["one"]), above=0),
        ]

    return experiment


@claim(section="8.1.2", source="Deep Learning, section 8.1.2", control="surrogate='perceptron'")
def likelihood_tells_more(
    surrogate: Annotated[str, OneOf(("likelihood", "perceptron"))] = "likelihood",
    problem: str = "digits_mlp",
    optimizer: str = "sgd(lr=0.3)",
    epochs: Count = 150,
    seeds: Count = 15,
) -> Experiment:
    """Maximizing the likelihood can learn more from the same examples than making the 0-1 loss of training zero.

    The held-out 0-1 loss at the end of training by the likelihood, less that at the end of training by the perceptron's
    criterion, whose gradient is zero where no training example is wrong. Both train at one rate, which was tuned for
    neither, and must end without such an example. The control trains by the perceptron's criterion in its place.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        ends = {}
        for name in (surrogate, "perceptron"):
            made = _by(name, problem)
            last = epochs * (len(made.train) // made.batch_size)
            course = trained(made, optimizer, drawn(made, lab.seeds(seeds)), [last], seeds=lab.seeds(seeds))
            found = measured(made, course.points[last])
            if min(found["train_accuracy"]) < 1:
                raise ExperimentError(_UNFINISHED.format(optimizer, epochs, problem))
            ends[name] = [1 - right for right in _held_out(made, found, "accuracy")]
        return [
            typical(
                "held-out 0-1 loss, less that by the perceptron's criterion",
                differences(ends[surrogate], ends["perceptron"]),
                below=0,
            )
        ]

    return experiment
