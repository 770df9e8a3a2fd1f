"""Section 8.7.1: batch normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from problems.bounds import Count, Positive
from problems.names import Spec, parse
from suite.claims.base import Experiment, Observation, claim, exactly, share, typical
from suite.claims.lab import Lab, arm, ratios

if TYPE_CHECKING:
    from torch import Tensor

    from problems.problem import Problem

IOFFE = "Deep Learning, section 8.7.1; Ioffe & Szegedy 2015"


def made(text: str) -> Problem:
    """A problem from its text, in float64."""
    import torch

    from problems.problem import problem

    return problem.build(problem.bind(text)).to("cpu", torch.float64)


def changed(transform: str, problem: str, really: bool = True) -> str:
    """A problem's text with a transform around it, or as it is."""
    return str(Spec(transform, (parse(problem),))) if really else problem


def made_start(net: Problem, seed: int = 0) -> Tensor:
    """θ₀ of a problem in the type of its data."""
    import torch

    assert net.start is not None
    return net.start(torch.Generator().manual_seed(seed)).to(net.like.dtype)


@claim(section="8.7.1", source="Deep Learning, section 8.7.1, equation 8.34", control="depth=2")
def higher_order_terms(depth: Count = 30, lr: Positive = 0.1) -> Experiment:
    """What a gradient step on a deep chain does by terms of higher order can outweigh what its first order foretells.

    One step on ``scalar_chain`` at a rate of 0.1 in float64: how far the change of the loss is from −ε‖g‖², and how far
    from −ε‖g‖² + ½ε²gᵀHg, both relative to ε‖g‖². The product of l weights of 1 becomes (1 + ε)^l. The control is a
    chain of two.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": 1, "eval_every": 1, "dtype": "float64", "probes": "curvature(every=1)"}
        runs = lab.train({"": arm(f"scalar_chain(depth={depth})", f"sgd(lr={lr})", **options)}, 1)[""]
        [[(_, before), (_, after)]] = runs.course("train_loss")
        squared, curved = (runs.course(name)[0][0][1] for name in ("gTg", "gTHg"))
        first = lr * squared
        second = first - 0.5 * lr**2 * curved
        return [
            exactly("change beyond the first order / first order", abs(after - before + first) / first, above=1),
            exactly("change beyond the second order / first order", abs(after - before + second) / first, above=1),
        ]

    return experiment


@claim(section="8.7.1", source="Deep Learning, section 8.7.1", control="normalized=False")
def lower_layers_harmless(normalized: bool = True, depth: Count = 5) -> Experiment:
    """In a normalized linear chain lower weights have no effect on the output, but for their signs.

    A chain ŷ = w_l … w₁x of units without biases on 1000 normal x in float64, normalized in training's way: how far
    outputs go, relative to themselves, when lower weights are tripled, and how far from −1 times themselves when one
    changes its sign. The control is the chain without normalization.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        text = f"suite.claims._tasks:linear_chain(depth={depth})"
        net = made(str(Spec("batch_norm", (parse(text),), (("delta", 1e-12),))) if normalized else text)
        theta = made_start(net)

        def outputs(factor: float, layer: str) -> Tensor:
            pieces = dict(net.layout.split(theta.clone()))
            pieces[layer] = factor * pieces[layer]
            return net.outputs(pieces, net.train.tensors)

        lower = [f"layer{i}.weight" for i in range(1, depth)]
        plain = outputs(1, lower[0])
        moved = max(float((outputs(3, name) - plain).norm() / plain.norm()) for name in lower)
        turned = max(float((outputs(-1, name) + plain).norm() / plain.norm()) for name in lower)
        return [
            exactly("change of outputs where a lower weight is tripled", moved, below=1e-6),
            exactly("distance from the outputs' opposite where one changes its sign", turned, below=1e-6),
        ]

    return experiment


@claim(section="8.7.1", source=IOFFE, control="learned=False")
def same_functions(problem: str = "digits_deep_mlp(depth=5)", learned: bool = True) -> Experiment:
    """With γ and β a normalized net can be any function that the net without normalization can be.

    For the weights of a drawn net γ = √(σ² + δ) and β = μ + b are set layer by layer from the population's μ and σ²,
    with biases b drawn from a normal; how far the two nets' outputs in evaluation are apart, relative to their size,
    in float64. The control leaves γ at 1 and β at 0.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        delta = 1e-5
        plain, net = made(problem), made(changed("batch_norm", problem))
        old = dict(plain.layout.split(made_start(plain)))
        generator = torch.Generator().manual_seed(1)
        for layer in plain.hidden:
            bias = old[f"{layer}.bias"]
            old[f"{layer}.bias"] = torch.randn(bias.shape, generator=generator, dtype=bias.dtype)
        new = {**net.layout.split(made_start(net)), **{p.name: old[p.name] for p in net.layout if p.name in old}}
        for layer in net.hidden if learned else ():
            found = net.prepared(net.layout.join(new))
            new[f"{layer}.gamma"] = (found[f"{layer}.variance"] + delta).sqrt()
            new[f"{layer}.beta"] = found[f"{layer}.mean"] + old[f"{layer}.bias"]
        wanted = plain.outputs(old, plain.train.tensors)
        outputs = net.outputs({**new, **net.prepared(net.layout.join(new))}, net.train.tensors)
        return [
            exactly("distance of outputs / their size", float((outputs - wanted).norm() / wanted.norm()), below=1e-9)
        ]

    return experiment


@claim(section="8.7.1", source=IOFFE, control="population=False")
def single_examples(problem: str = "digits_deep_mlp", population: bool = True) -> Experiment:
    """With the population's statistics a normalized net can be evaluated on a single example.

    Outputs for each of 100 examples alone against those for the 100 together at the start, relative to their size, in
    float64. The control takes the statistics of what is looked at, as training does.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        net = made(changed("batch_norm", problem))
        theta = made_start(net)
        pieces = {**net.layout.split(theta), **(net.prepared(theta) if population else {})}
        batch = tuple(t[:100] for t in net.train.tensors)
        together = net.outputs(pieces, batch)
        alone = torch.cat([net.outputs(pieces, tuple(t[i : i + 1] for t in batch)) for i in range(100)])
        return [
            exactly("distance of outputs / their size", float((alone - together).norm() / together.norm()), below=1e-12)
        ]

    return experiment


@claim(section="8.7.1", source=IOFFE, control="normalized=False")
def normalized_rates(
    problem: str = "digits_deep_mlp(depth=19)", times: Positive = 5, normalized: bool = True, seeds: Count = 15
) -> Experiment:
    """With batch normalization a deep net trains at a rate at which it diverges or stalls without.

    SGD at 5 times the best of 11 rates of the net without, as Ioffe & Szegedy have it; 400 steps each. A net has
    trained if its training loss fell to half at least. The control normalizes neither.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        [best] = lab.tune({"": arm(problem, "sgd", steps=400)}, seeds).values()
        lr = times * float(parse(best[0].run.optimizer).options["lr"])
        options: dict[str, Any] = {"steps": 400, "eval_every": 400}
        texts = {True: changed("batch_norm", problem, normalized), False: problem}
        found = lab.train({key: arm(text, f"sgd(lr={lr:g})", **options) for key, text in texts.items()}, seeds)
        trained = {
            key: [
                end < 0.5 * course[0][1]
                for end, course in zip(r.final("train_loss"), r.course("train_loss"), strict=True)
            ]
            for key, r in found.items()
        }
        return [
            share(f"nets that train at a rate of {lr:g} with normalization", trained[True], above=0.5),
            share(f"nets that train at a rate of {lr:g} without", trained[False], below=0.5),
        ]

    return experiment


@claim(section="8.7.1", source=IOFFE, control="normalized=False")
def normalized_speed(
    problem: str = "digits_deep_mlp(depth=19)", normalized: bool = True, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """With batch normalization a deep net learns more in as many steps.

    400 steps of SGD, each with the best of 11 rates; the final training loss with normalization against that without.
    The control normalizes neither.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        texts = (problem, changed("batch_norm", problem, normalized))
        found = [lab.tune({"": arm(text, "sgd", steps=steps)}, seeds)[""].final("train_loss") for text in texts]
        return [typical("training loss with normalization / without", ratios(found[1], found[0]), below=1)]

    return experiment


@claim(section="8.7.1", source=IOFFE, control="normalized=False")
def normalized_trains(
    problem: str = "digits_deep_mlp(depth=19, width=16)",
    start: str = "glorot_uniform",
    normalized: bool = True,
    steps: Count = 1000,
    seeds: Count = 15,
) -> Experiment:
    """With batch normalization a deep net trains that does not without.

    As ``skip_connections_train``: 19 layers of 16 ReLU units from Glorot's draw, 1000 steps of SGD at the best of 11
    rates. A net has trained if its final accuracy on the test split is 0.5 or more. The control normalizes neither.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        ours, plain = (
            lab.tune({"": arm(net, "sgd", start, steps=steps)}, seeds)[""].final("test_accuracy")
            for net in (changed("batch_norm", problem, normalized), problem)
        )
        return [
            share("nets that train with normalization", [each >= 0.5 for each in ours], above=0.5),
            share("nets that train without", [each >= 0.5 for each in plain], below=0.5),
        ]

    return experiment


@claim(section="8.7.1", source=IOFFE, control="deep=2")
def normalized_depth(
    problem: str = "digits_deep_mlp", deep: Count = 19, shallow: Count = 3, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """Batch normalization reduces the problem of coordinating many layers, so that it gains more the more there are.

    The first half is the book's, the second what should follow. 400 steps of SGD, each with the best of 11 rates:
    the final training loss with normalization against that without, for 19 layers relative to the same for 3. That the
    ratio of losses is so much lower for 3, where both are small, is not all: steps until half a nat at these rates are
    0.40 of those without for 3 layers, 0.37 for 11, 0.48 for 19. The control goes from 3 layers to 2.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        gains = []
        for depth in (deep, shallow):
            plain = str(parse(problem).replace(depth=depth))
            losses = [
                lab.tune({"": arm(text, "sgd", steps=steps)}, seeds)[""].final("train_loss")
                for text in (changed("batch_norm", plain), plain)
            ]
            gains.append(ratios(*losses))
        return [typical(f"loss with normalization / without, {deep} layers / {shallow}", ratios(*gains), below=1)]

    return experiment


@claim(section="8.7.1", source=IOFFE, control="normalized=False")
def normalized_starts(
    problem: str = "digits_deep_mlp", lr: Positive = 0.1, normalized: bool = True, seeds: Count = 15
) -> Experiment:
    """With batch normalization it matters less how large the initial weights are.

    Weights of std 0.0625, 0.125, 0.25 (that of the problem's own start), 0.5 and 1; 400 steps of SGD at one rate, and
    how far final accuracies lie apart: the largest over stds less the smallest, a run that diverged counted as 0. With
    normalization against without; the control normalizes neither.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        stds = (0.0625, 0.125, 0.25, 0.5, 1)
        texts = {True: changed("batch_norm", problem, normalized), False: problem}
        options: dict[str, Any] = {"steps": 400, "eval_every": 400}
        arms = {
            (key, std): arm(text, f"sgd(lr={lr})", f"gaussian(std={std})", **options)
            for key, text in texts.items()
            for std in stds
        }
        found = lab.train(arms, seeds)
        apart = {}
        for key in texts:
            by_std = [[max(a, 0.0) for a in found[key, std].final("valid_accuracy")] for std in stds]
            apart[key] = [max(each) - min(each) for each in zip(*by_std, strict=True)]
        return [typical("range of accuracies with normalization / without", ratios(apart[True], apart[False]), below=1)]

    return experiment
