"""Sections 8.3.2 and 8.3.3: momentum, and Nesterov's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from problems.bounds import Count, Natural, Positive
from suite.claims.base import Experiment, Observation, claim, exactly, typical
from suite.claims.descent import between, excess, last, slopes
from suite.claims.lab import Lab, arm, ratios, slope

CONDITIONS = (10, 30, 100, 300, 1000)
WITHIN = 1e-8  # of the first loss
ALPHAS = (0.5, 0.9, 0.99)  # the book's
AT = (30, 100, 300, 1000)  # steps at which an excess is looked at


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


@claim(section="8.3.2", source="Deep Learning, section 8.3.2", control="accelerated=False")
def terminal_velocity(accelerated: bool = True, lr: Positive = 1e-9) -> Experiment:
    """Under a gradient that stays the same, momentum's steps grow to a length of ε‖g‖/(1 − α).

    ½(w − 2)² from w = 1 in float64, with an ε so small that in 2000 steps the gradient changes by 2 parts in 10 000
    at most; the length of the last step for the book's α of 0.5, 0.9 and 0.99. The control takes steps of −εg.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": 2000, "probes": "path_length, gradient_norm", "dtype": "float64"}
        texts = {a: f"momentum(lr={lr}, alpha={a})" if accelerated else f"sgd(lr={lr})" for a in ALPHAS}
        arms = {alpha: arm("scalar_chain(depth=1)", text, **options) for alpha, text in texts.items()}
        found = {}
        for alpha, runs in lab.train(arms, 1).items():
            [way], [norms] = runs.course("path_length"), runs.course("gradient_norm")
            (_, before), (_, after) = way[-2:]
            found[alpha] = (after - before) / (lr * norms[-1][1] / (1 - alpha))
        return [exactly(f"step / (ε‖g‖/(1 − α)), α = {a:g}", value, 0.999, 1.001) for a, value in found.items()]

    return experiment


@claim(section="8.3.2", source="Deep Learning, section 8.3.2", control="times=1")
def momentum_is_a_rate(
    problem: str = "digits_mlp", lr: Positive = 0.005, times: Positive = 10, seeds: Count = 15
) -> Experiment:
    """Momentum with α = 0.9 is like a rate ten times as large: it trains as gradient descent at ε/(1 − α) does.

    600 steps of momentum at a rate ε of 0.005, small enough that steps are far from those at which either is
    unstable; final training loss against that of gradient descent at 10ε. The control takes ε itself.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": 600, "eval_every": 600}
        texts = (f"momentum(lr={lr}, alpha=0.9)", f"sgd(lr={times * lr})")
        found = lab.train({text: arm(problem, text, **options) for text in texts}, seeds)
        momentum, plain = (runs.final("train_loss") for runs in found.values())
        return [typical("loss with momentum / at the larger rate", ratios(momentum, plain), 0.9, 1.1)]

    return experiment


@claim(section="8.3.2", source="Deep Learning, section 8.3.2", control="batch_size=0")
def shrink_rates_first(
    problem: str = "quadratic_deep", batch_size: Natural = 16, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """To raise α over time matters less than to shrink ε over time.

    400 steps with ε decaying linearly at α = 0.9, and with α rising linearly from the book's least, 0.5, to its
    largest, 0.99, at a constant ε; each with the best of 21 rates. Final excess of the training loss over its
    minimum. The control takes the whole training split at each step, whose gradients have no noise that a smaller ε
    would quieten. (An α that rises to 0.9 alone is behind there, too.)
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        shrinking = f"momentum(lr=linear(steps={steps}), alpha=0.9)"
        raising = f"momentum(alpha=warmup(0.99, steps={steps}, start={0.5 / 0.99}))"
        arms = {text: arm(problem, text, steps=steps, batch_size=batch_size) for text in (shrinking, raising)}
        shrunk, raised = (last(excess(runs)) for runs in lab.tune(arms, seeds, trials=21).values())
        return [typical("excess with a shrinking ε / with a rising α", ratios(shrunk, raised), below=1)]

    return experiment


@claim(section="8.3.2", source="Deep Learning, section 8.3.2", control="accelerated=False")
def momentum_against_noise(
    problem: str = "linear_regression",
    lr: Positive = 0.02,
    batch_size: Count = 16,
    accelerated: bool = True,
    seeds: Count = 15,
) -> Experiment:
    """Momentum helps against the variance of stochastic gradients.

    On a well conditioned problem, so that there is nothing but noise to help against: 4000 steps of momentum with α =
    0.9 and of gradient descent that is as fast, at a rate of 0.02 = ε/(1 − α). The excess of the training loss over
    its minimum, averaged over the second half; it helps if that is a tenth lower at least, for a bound of 1 could not
    be told from no help. Theory expects one floor for both: each gradient's noise is spread over several steps, and
    goes into θ all the same. The control takes no momentum.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {
            "steps": 4000,
            "eval_every": 40,
            "batch_size": batch_size,
            "order": "with_replacement",
        }
        texts = {"plain": f"sgd(lr={lr})"}
        texts["other"] = f"momentum(lr={lr / 10}, alpha=0.9)" if accelerated else texts["plain"]
        arms = {key: arm(problem, text, dtype="float64", **options) for key, text in texts.items()}
        plain, other = (between(excess(runs), 2000, 4000) for runs in lab.train(arms, seeds).values())
        return [typical("excess with momentum / without", ratios(other, plain), below=0.9)]

    return experiment


@claim(
    section="8.3.3", source="Deep Learning, section 8.3.3; Nesterov 1983; Su et al. 2016", control="accelerated=False"
)
def nesterov_on_convex(accelerated: bool = True) -> Experiment:
    """On convex batch problems Nesterov momentum brings the excess error from 1/k down to 1/k².

    ``quadratic`` with eigenvalues from 10⁻⁷ to 1, evenly in their logarithm, all of whose directions are as far from
    the minimum: there the two bounds bind, for a part of the spectrum in proportion is always about to be learned. ε
    = 1 and α_k = k/(k + 3); the power of k that the loss falls by between 30 steps and 1000. The control descends by
    gradients.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        problem = "quadratic(size=128, condition=1e7)"
        fast = "nesterov(lr=1, alpha=rising(0.999999, steps=3))" if accelerated else "sgd(lr=1)"
        options: dict[str, Any] = {"steps": AT[-1], "eval_every": 10, "dtype": "float64"}
        found = lab.train({text: arm(problem, text, **options) for text in dict.fromkeys(("sgd(lr=1)", fast))}, 1)
        powers = [slope(AT, [dict(runs.course("train_loss")[0])[k] for k in AT]) for runs in found.values()]
        return [
            exactly("power of k of gradient descent", powers[0], -1.1, -0.9),
            exactly("power of k with Nesterov momentum", powers[-1], -2.2, -1.8),
        ]

    return experiment


@claim(section="8.3.3", source="Deep Learning, section 8.3.3", control="batch_size=0")
def nesterov_with_noise(
    problem: str = "linear_regression", batch_size: Natural = 16, lr: Positive = 0.05, seeds: Count = 15
) -> Experiment:
    """With stochastic gradients Nesterov momentum does not improve the rate of convergence, which is 1/k for both.

    20 000 steps with ε_k = ε/(1 + k/100) on minibatches drawn independently, for Nesterov momentum with α = 0.9 and
    ε/10. The power of k that its excess falls by, from four spans that begin at 2000 steps, and the excess against
    that of gradient descent in the last span. The control takes all examples at each step, where there is more than
    1/k to be had.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": 20_000, "eval_every": 200, "order": "with_replacement", "dtype": "float64"}
        texts = (f"sgd(lr=inverse({lr}, steps=100))", f"nesterov(lr=inverse({lr / 10}, steps=100), alpha=0.9)")
        arms = {text: arm(problem, text, batch_size=batch_size, **options) for text in texts}
        plain, fast = (excess(runs) for runs in lab.train(arms, seeds).values())
        end = (11_000, 20_000)
        spans = {3000: (2000, 4000), 5500: (4000, 7000), 9000: (7000, 11_000), 15_500: end}
        return [
            typical("power of k", slopes({middle: between(fast, *span) for middle, span in spans.items()}), -1.2, -0.8),
            typical("excess / that of gradient descent", ratios(between(fast, *end), between(plain, *end)), 0.8, 1.25),
        ]

    return experiment
