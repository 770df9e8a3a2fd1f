"""Sections 8.5 to 8.5.2: the learning rate, delta-bar-delta, AdaGrad and RMSProp."""

from __future__ import annotations

import math
from collections.abc import Sequence

from problems.bounds import Count, Fraction, Natural, Positive
from problems.names import parse
from suite.claims.base import Experiment, Observation, claim, exactly, typical
from suite.claims.lab import Lab, ratios
from suite.claims.tuning import OWN, TRIALS, against, changed, chosen, late, named, numbers, short, tuned

NETS = "digits_mlp, digits_denoising, digits_deep_mlp"


@claim(section="8.5", source="Deep Learning, sections 8.5 and 11.4.1", control="setting='rho2'")
def rate_matters_most(
    setting: str = "lr",
    optimizer: str = "adam",
    problem: str = "digits_mlp",
    factor: Positive = 10.0,
    steps: Count = 400,
    seeds: Count = 15,
) -> Experiment:
    """The learning rate is perhaps the setting that has most to say in how well an optimizer does.

    Each setting in turn is made tenfold and a tenth, the others as they are when the rate is tuned; of a decay rate ρ
    it is the memory 1/(1 − ρ) that is changed. What a setting has to say is the loss at the worse of the two, relative
    to the tuned one. The control asks of ρ₂ what is claimed of the rate.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        best = tuned(lab, {"": short(problem, optimizer, steps)}, 1)[""]
        spec = parse(best[0].run.optimizer)
        arms = {
            (name, number): short(problem, str(spec.replace(**{name: number})), steps)
            for name in numbers(optimizer)
            for number in changed(optimizer, name, spec.options[name], factor)
        }
        losses = {key: late(runs)[OWN:] for key, runs in lab.train(arms, OWN + seeds).items()}
        cost = {name: list(map(max, *(losses[key] for key in arms if key[0] == name))) for name, _ in arms}
        others = map(max, *(values for name, values in cost.items() if name != setting), [0.0] * seeds)
        what = f"loss with {setting} changed / with the setting that has most to say of the others"
        return [typical(what, ratios(cost[setting], others), above=1)]

    return experiment


@claim(section="8.5", source="Deep Learning, section 8.5; Jacobs 1988", control="minibatch=0")
def delta_bar_delta_full_batch(
    minibatch: Natural = 32, up: Positive = 0.05, problem: str = "digits_mlp", steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """Delta-bar-delta makes gradient descent faster on the full batch, and cannot be used on minibatches.

    Both are tuned by their first rate, on the full batch and on minibatches; rates that rise do so by ``up`` of the
    first one. On minibatches the signs of the gradient turn by chance, so that rates shrink. Weak evidence of the
    second: with a fixed first rate, with SGD's best rate and with other numbers of steps the gain is gone on
    minibatches, but harm is not shown. The control takes all examples in place of minibatches.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        def ratio(size: int) -> list[float]:
            rates = [float(f"{rate:.4g}") for rate in (10 ** (i / 2 - 4) for i in range(TRIALS))]
            texts = {
                "other": [f"delta_bar_delta(lr={rate}, up={up * rate})" for rate in rates],
                "sgd": [f"sgd(lr={rate})" for rate in rates],
            }
            arms = {k: [short(problem, text, steps, batch_size=size) for text in each] for k, each in texts.items()}
            return ratios(*map(late, chosen(lab, arms, seeds).values()))

        name = f"minibatches of {minibatch}" if minibatch else "the full batch again"
        return [
            typical("loss of delta-bar-delta / of gradient descent, full batch", ratio(0), below=1),
            typical(f"loss of delta-bar-delta / of SGD, {name}", ratio(minibatch), above=1),
        ]

    return experiment


@claim(section="8.5.1", source="Deep Learning, section 8.5.1; Duchi et al. 2011", control="problem='linear_regression'")
def adagrad_suits_convex(problem: str = "digits_logistic", steps: Count = 400, seeds: Count = 15) -> Experiment:
    """On a convex problem AdaGrad does better than SGD where some features are rare.

    Softmax regression on digits, of whose pixels some are hardly ever dark: AdaGrad against SGD, both tuned. The book
    speaks of convex problems at large, the paper of rare features. In the control all features are alike, and convex it
    is, too: there is nothing to adapt to.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        found = against(lab, problem, ("adagrad", "sgd"), steps, seeds)
        return [typical("loss of AdaGrad / of SGD", found, below=1)]

    return experiment


@claim(section="8.5.1", source="Deep Learning, section 8.5.1", control="problems='quadratic_deep'")
def adagrad_slows_too_soon(
    problems: str = NETS, memory: Fraction = 0.99999, steps: Count = 1000, seeds: Count = 15
) -> Experiment:
    """On deep nets AdaGrad's accumulated gradients can make the rate decrease too soon and too much.

    AdaGrad against itself without the decrease, both tuned. Adam without a first moment, ρ₁ = 0, and with a ρ₂ beyond
    the length of the run has r̂ₜ = Σ g²/t, the mean of all squared gradients: its step is that of AdaGrad with a rate ∝
    √t. Nets get 1000 steps, since 400 tell nothing. The control is a convex problem with noise, where a rate has to
    decrease.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        both = ("adagrad", f"adam(rho1=0, rho2={memory})")
        found = {each: against(lab, each, both, steps, seeds) for each in named(problems)}
        return [
            typical(f"{each}: loss of AdaGrad / without its decrease", losses, above=1)
            for each, losses in found.items()
        ]

    return experiment


@claim(section="8.5.2", source="Deep Learning, section 8.5.2; Hinton 2012", control="rho=0.9999")
def rmsprop_suits_nets(rho: Fraction = 0.9, problems: str = NETS, steps: Count = 1000, seeds: Count = 15) -> Experiment:
    """RMSProp, which changes AdaGrad's sum into a moving average, does better than AdaGrad where a loss is not convex.

    Nets on digits, both tuned. The control has a ρ whose memory is beyond the length of the run: then nothing
    is forgotten, and RMSProp is AdaGrad with another rate.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        both = (f"rmsprop(rho={rho}, delta=1e-10)", "adagrad")
        found = {each: against(lab, each, both, steps, seeds) for each in named(problems)}
        return [typical(f"{each}: loss of RMSProp / of AdaGrad", losses, below=1) for each, losses in found.items()]

    return experiment


@claim(section="8.5.2", source="Deep Learning, section 8.5.2", control="optimizer='adagrad(lr=1)'")
def rmsprop_forgets(
    optimizer: str = "rmsprop(lr=1, rho=0.9)", memory: Positive = 10.0, large: Positive = 100.0
) -> Experiment:
    """RMSProp discards history from the extreme past: after huge gradients its steps soon recover.

    After 100 gradients of size G = 100 come gradients of 1. A step is half of the rate again when what is left of
    G², ρᵗG², is 3: after about log(G²/3)/(1 − ρ) steps, where 1/(1 − ρ) is the ``memory``. That it is soon
    means: within 2 log G memories. The control, AdaGrad, has kept 100 G² for ever.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        from suite.claims.paths import answers

        given = torch.ones(1000, 1, dtype=torch.float64)
        given[:100] = large
        after = answers(optimizer, given)[100:].abs().flatten()
        waited = next((k for k, size in enumerate(after) if size >= 0.5), math.inf)
        return [exactly("steps until half of the rate is back / memory", waited / memory, below=2 * math.log(large))]

    return experiment
