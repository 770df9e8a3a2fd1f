"""Sections 8.7.2 and 8.7.3: coordinate descent and Polyak averaging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from problems.bounds import Count, Positive
from suite.claims.base import Experiment, Observation, claim, exactly, typical
from suite.claims.descent import excess, last, slopes
from suite.claims.lab import Lab, arm, ratios, slope
from suite.claims.normalization import made, made_start

if TYPE_CHECKING:
    from torch import Tensor

# coordinate descent -----------------------------------------------------------------------


@claim(section="8.7.2", source="Deep Learning, section 8.7.2", control="optimizer='newton(alpha=0)'")
def pulling_coordinates(optimizer: str = "coordinate_descent", least: Positive = 0.003) -> Experiment:
    """Coordinate descent is poor where the value of one variable says much about the best value of another.

    ``coupled_pair``: steps until the loss is a millionth of that at the start, for α from 0.03 to 0.003, where theory
    has 1/α; and the loss after both coordinates have had their turn once where they hardly pull at each other, α = 10⁹.
    The control takes Newton's method, which sees the pull.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        steps: dict[float, int] = {}
        for alpha in (10 * least, 3 * least, least):
            most = round(10 / alpha)
            asked = arm(
                f"coupled_pair(alpha={alpha})", optimizer, steps=most, eval_every=most, probes="loss", dtype="float64"
            )
            [course] = lab.train({"": asked}, 1)[""].course("minibatch_loss")
            steps[alpha] = next(step for step, loss in course if loss <= 1e-6 * course[0][1])
        once = lab.train({"": arm("coupled_pair(alpha=1e9)", optimizer, steps=2, eval_every=2, dtype="float64")}, 1)
        [[(_, before), (_, after)]] = once[""].course("train_loss")
        return [
            exactly("power of α that steps go by", slope(steps, steps.values()), -1.1, -0.9),
            exactly("loss after one pass without a pull / before", after / before, below=1e-12),
        ]

    return experiment


@claim(section="8.7.2", source="Deep Learning, equation 8.38", control="parts='dictionary+codes'")
def convex_blocks(parts: str = "dictionary, codes", steps: Count = 200) -> Experiment:
    """Sparse coding is convex in the dictionary and in the codes, each with the other held still, and not in both.

    Chords between 100 pairs of points, in which a block is a normal draw as large as it is after 200 steps of Adam and
    the other is as it is there, and between θ and −θ: the largest excess of the loss in the middle of a chord over the
    mean of both ends, relative to it. Convexity has none. The control takes both for one block.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        from suite.initializers.learning import trained
        from suite.optimizers import optimizer as optimizers

        net, generator = made("digits_sparse_coding"), torch.Generator().manual_seed(0)
        theta = trained(net, optimizers.bind("adam(lr=0.01)"), made_start(net), steps, generator).double()
        pieces = net.layout.split(theta)

        def excess_between(one: Tensor, other: Tensor) -> float:
            ends = [float(net.loss(point, net.train.tensors)) for point in (one, (one + other) / 2, other)]
            return 2 * ends[1] / (ends[0] + ends[2]) - 1

        def drawn(block: Sequence[str]) -> Tensor:
            return net.layout.join(
                {
                    name: piece.std() * torch.randn(piece.shape, generator=generator).double()
                    if name in block
                    else piece
                    for name, piece in pieces.items()
                }
            )

        blocks = [block.strip().split("+") for block in parts.split(",")]
        most = {tuple(b): max(excess_between(drawn(b), drawn(b)) for _ in range(100)) for b in blocks}
        turned = excess_between(theta, -theta)
        if len(blocks) == 1:
            most = {tuple(pieces): max(turned, *most.values())}
        return [
            *(
                exactly(f"excess over chords in {' and '.join(block)}", value, below=1e-12)
                for block, value in most.items()
            ),
            exactly("excess over the chord from θ to −θ", turned, above=0),
        ]

    return experiment


@claim(section="8.7.2", source="Deep Learning, section 8.7.2", control="parts='dictionary+codes'")
def alternating_sparse_coding(parts: str = "codes|dictionary", steps: Count = 400, seeds: Count = 15) -> Experiment:
    """By turns, dictionary and codes, the same steps lower the loss of sparse coding more than in both at once.

    The book takes turns for the efficient solvers of convex problems that each half then has; of turns alone it does
    not say so. 400 steps on all examples at the best of 11 rates: Adam on the codes for ten steps, then on the
    dictionary for ten, against Adam on all; final loss. Each step evaluates one gradient. The codes come first, for
    while they are 0, as they start, the best dictionary is 0 too, and there nothing moves. The control has one block of
    both.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        texts = (f"blocks(adam, by='{parts}', every=10)", "adam")
        found = [
            lab.tune({"": arm("digits_sparse_coding", text, steps=steps)}, seeds)[""].final("train_loss")
            for text in texts
        ]
        return [typical("loss by turns / at once", ratios(*found), below=1)]

    return experiment


# Polyak averaging -------------------------------------------------------------------------

POLYAK = "Deep Learning, section 8.7.3; Polyak & Juditsky 1992"


@claim(section="8.7.3", source=POLYAK, control="leaping=1")
def averages_across_valleys(leaping: Positive = 1.99, condition: Positive = 100, steps: Count = 100) -> Experiment:
    """Where descent leaps from wall to wall of a valley, the average of its points is close to the bottom.

    100 steps on ``ravine`` at a rate ε with εκ = 1.99, close to the largest that does not diverge, in float64: each
    step goes to the other wall. The loss of the mean of all points against that of the last. The control has εκ = 1.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": steps, "eval_every": steps, "dtype": "float64"}
        rule = f"sgd(lr={leaping / condition})"
        arms = {text: arm(f"ravine(condition={condition})", text, **options) for text in (f"polyak({rule})", rule)}
        [average], [point] = (runs.final("train_loss") for runs in lab.train(arms, 1).values())
        return [exactly("loss of the average / of the last point", average / point, below=1)]

    return experiment


@claim(section="8.7.3", source=POLYAK, control="averaged=False")
def averages_converge(
    problem: str = "linear_regression",
    lr: Positive = 0.1,
    batch_size: Count = 16,
    averaged: bool = True,
    seeds: Count = 20,
) -> Experiment:
    """On a convex problem the average of points at a constant rate converges as 1/k, and as the best estimate does.

    60 000 steps of SGD on minibatches drawn independently: the power of k that the excess of the training loss over its
    minimum falls by from 6000 steps on, when the average's memory of the start, which fades as 1/k², is a quarter of
    it; and in the end against tr(H⁻¹S)/(2mk), which no estimate from k minibatches of m beats asymptotically (S the
    covariance of single gradients at the minimum), to a factor of 1.5.
    The control evaluates the last point.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        steps = 60_000
        options: dict[str, Any] = {"steps": steps, "eval_every": 2000, "order": "with_replacement", "dtype": "float64"}
        rule = f"sgd(lr={lr})"
        text = f"polyak({rule})" if averaged else rule
        found = excess(lab.train({"": arm(problem, text, batch_size=batch_size, **options)}, seeds)[""])
        at = {k: [dict(course)[k] for course in found] for k in (6000, 10_000, 20_000, 40_000, steps)}
        best = least_excess(problem, batch_size) / steps
        return [
            typical("power of k", slopes(at), -1.2, -0.8),
            typical("excess / that of the best estimate", [each / best for each in last(found)], 1 / 1.5, 1.5),
        ]

    return experiment


def least_excess(problem: str, batch_size: int) -> float:
    """tr(H⁻¹S)/(2m): k times the mean excess of the best estimate from k minibatches of m, for large k."""
    import torch
    from torch.func import grad, jacrev, vmap

    net = made(problem)
    assert net.minimum is not None and net.minimum.theta is not None
    theta = net.minimum.theta.double()
    gradients = vmap(lambda *one: grad(net.loss)(theta, tuple(t.unsqueeze(0) for t in one)))(*net.train.tensors)
    covariance = gradients.T @ gradients / len(gradients)
    curvature = jacrev(grad(net.loss))(theta, net.train.tensors)
    return float(torch.linalg.solve(curvature, covariance).trace()) / (2 * batch_size)


@claim(section="8.7.3", source="Deep Learning, section 8.7.3", control="problem='linear_regression'")
def forgetful_averages(
    problem: str = "digits_mlp", lr: Positive = 0.1, steps: Count = 2000, seeds: Count = 15
) -> Experiment:
    """On nets an average that forgets is as good as the last point at least, and better than one of all points.

    2000 steps of SGD at one rate, so that all three see the same points; final training loss of the running mean with
    a decay of 0.99 against that of the last point, and of the mean of all points against that of the running mean.
    The control is convex, where to forget is to waste.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        rule = f"sgd(lr={lr})"
        texts = (f"polyak({rule}, decay=0.99)", f"polyak({rule})", rule)
        options: dict[str, Any] = {"steps": steps, "eval_every": steps}
        found = lab.train({text: arm(problem, text, **options) for text in texts}, seeds)
        running, mean, point = (runs.final("train_loss") for runs in found.values())
        return [
            typical("loss of the running mean / of the last point", ratios(running, point), below=1.05),
            typical("loss of the mean of all / of the running mean", ratios(mean, running), above=1),
        ]

    return experiment
