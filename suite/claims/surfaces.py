"""Sections 8.2.1 to 8.2.3: ill-conditioning, local minima and saddle points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Bound, Count, Fraction, OneOf
from suite.claims.base import Experiment, Observation, claim, exactly, share, typical
from suite.claims.courses import drawn, made_of, objective, trained
from suite.claims.lab import Lab, Runs, arm, ratios

if TYPE_CHECKING:
    from torch import Tensor

    from problems.problem import Pieces, Problem

STAGES = (0, 20, 40, 60, 100, 300)  # steps of descent at whose points critical ones are looked for
TENTH = 0.1  # of training, at its beginning and at its end


@claim(section="8.2.1", source="Deep Learning, section 8.2.1", control="problem='digits_logistic'")
def curvature_outgrows_the_gradient(
    problem: str = "digits_mlp", optimizer: str = "sgd(lr=0.1)", epochs: Count = 20, seeds: Count = 15
) -> Experiment:
    """In many nets ‖g‖ hardly shrinks along training while gᵀHg, for which rates must shrink, grows more than tenfold.

    Means over the last tenth of training, relative to those over the first, of the minibatches' ‖g‖ at every step and
    gᵀHg at every other; hardly is by no more than a half, and the training loss must fall below a tenth, so that
    training succeeds. The control has no hidden layer.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked = arm(problem, optimizer, epochs=epochs, probes="gradient_norm, curvature(every=2)")
        runs = lab.train({"": asked}, seeds)[""]
        return [
            typical("‖g‖, late / early", _late_by_early(runs, "gradient_norm"), above=0.5),
            typical("gᵀHg, late / early", _late_by_early(runs, "gTHg"), above=10),
            typical("training loss, end / start", _fallen(runs, "train_loss"), below=0.1),
        ]

    return experiment


@claim(section="8.2.1", source="Deep Learning, figure 8.1", control="problem='digits_logistic'")
def gradient_grows_while_learning(
    problem: str = "digits_deep_mlp", optimizer: str = "momentum(lr=0.01)", epochs: Count = 10, seeds: Count = 15
) -> Experiment:
    """The gradient's norm may grow in the course of training while the validation loss falls to a low value.

    Means of the minibatches' ‖g‖ over the last tenth of training, relative to those over the first, for a net of eleven
    layers that shows it (figure 8.1 has a convolutional net, problem=cifar10_3c3d, and its validation 0-1 loss); a
    validation loss below a fifth of its start is low. The control has no hidden layer.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        runs = lab.train({"": arm(problem, optimizer, epochs=epochs, probes="gradient_norm")}, seeds)[""]
        return [
            typical("‖g‖, late / early", _late_by_early(runs, "gradient_norm"), above=1),
            typical("validation loss, end / start", _fallen(runs, "valid_loss"), below=0.2),
        ]

    return experiment


def _late_by_early(runs: Runs, measure: str) -> list[float]:
    """The mean over the last tenth of the course relative to that over the first, of each seed."""
    found = []
    for course in runs.course(measure):
        values = [value for _, value in course]
        count = max(1, round(TENTH * len(values)))
        found.append(sum(values[-count:]) / sum(values[:count]))
    return found


def _fallen(runs: Runs, measure: str) -> list[float]:
    return [course[-1][1] / course[0][1] for course in runs.course(measure)]


@claim(section="8.2.2", source="Deep Learning, section 8.2.2", control="matched=False")
def hidden_units_are_interchangeable(matched: bool = True, width: Annotated[int, Bound(2, 4)] = 3) -> Experiment:
    """Hidden units may change places, n!^m ways for m layers of n, and rectified ones their scales, at equal loss.

    A perceptron with two hidden layers on digits, in float64 after training a little: the largest change of the
    loss, relative to it, over all orders of the units of both layers, and over factors α from 0.01 to 100 of
    one layer's weights and biases with 1/α for the weights that come after. The control leaves these as they are.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(f"digits_mlp(hidden=({width}, {width}))")
        theta = trained(made, "sgd(lr=0.1)", drawn(made, [0]), [100]).points[100][0]
        orders = list(_in_other_orders(made.layout.split(theta), width, matched))
        scales = [_scaled(made.layout.split(theta), 10.0**k, matched) for k in (-2, -1, 1, 2)]
        points = {tuple(_flat(pieces).tolist()) for pieces in orders}
        return [
            exactly(f"different points among the {len(orders)} orders / all", len(points) / len(orders), above=0.999),
            exactly("change of the loss by order", _change(made, theta, orders), below=1e-12),
            exactly("change of the loss by scale", _change(made, theta, scales), below=1e-12),
        ]

    return experiment


def _in_other_orders(pieces: Pieces, width: int, matched: bool) -> Iterator[dict[str, Tensor]]:
    """The pieces with the units of both hidden layers in every order."""
    for first, second in product(permutations(range(width)), repeat=2):
        moved = dict(pieces)
        for layer, after, order in ((1, 2, list(first)), (2, 3, list(second))):
            for name in (f"layer{layer}.weight", f"layer{layer}.bias"):
                moved[name] = moved[name][order]
            if matched:
                moved[f"layer{after}.weight"] = moved[f"layer{after}.weight"][:, order]
        yield moved


def _scaled(pieces: Pieces, factor: float, matched: bool) -> dict[str, Tensor]:
    """The pieces with the first layer times α, and what comes after it divided by α."""
    moved = {**pieces, **{name: pieces[name] * factor for name in ("layer1.weight", "layer1.bias")}}
    return {**moved, "layer2.weight": pieces["layer2.weight"] / (factor if matched else 1)}


def _flat(pieces: Pieces) -> Tensor:
    import torch

    return torch.cat([piece.reshape(-1) for piece in pieces.values()])


def _change(made: Problem, theta: Tensor, others: Sequence[Pieces]) -> float:
    """The largest |L(θ′) − L(θ)|/L(θ)."""
    here = float(made.loss(theta, made.train.tensors))
    return max(abs(float(made.loss_of(pieces, made.train.tensors)) / here - 1) for pieces in others)


@claim(section="8.2.2", source="Choromanska et al. 2014; Goodfellow et al. 2015", control="wide=3")
def wide_nets_end_low(
    wide: Count = 16,
    narrow: Count = 3,
    optimizer: str = "lbfgs",
    steps: Count = 100,
    seeds: Count = 20,
) -> Experiment:
    """In wide nets most starts end at a low loss, and all at about the same, which in narrow ones they do not.

    The training loss of digits by a perceptron with one hidden layer, of 16 units and of 3, after 100 steps of L-BFGS
    over all examples, from 20 random starts; low is a hundredth of the loss at the start. Starts are taken in pairs for
    how far their losses lie apart: where wide nets fit every example, hardly at all, as no loss is below 0. The control
    has three units in place of 16.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        arms = {n: arm(f"digits_mlp(hidden=({n},))", optimizer, steps=steps, eval_every=steps) for n in (wide, narrow)}
        found = lab.train(arms, seeds)
        low = [value < 0.01 for value in _fallen(found[wide], "train_loss")]
        apart = {n: _apart(runs.final("train_loss")) for n, runs in found.items()}
        return [
            share("wide nets that end at a low loss", low, above=0.5),
            typical("difference between two ends, wide / narrow", ratios(apart[wide], apart[narrow]), below=1),
        ]

    return experiment


def _apart(values: Sequence[float]) -> list[float]:
    """|a − b| of each pair of neighbours."""
    return [abs(a - b) for a, b in zip(values[::2], values[1::2], strict=False)]


@claim(section="8.2.3", source="Dauphin et al. 2014; Saxe et al. 2013", control="sign='positive'")
def high_critical_points_are_saddles(
    sign: Annotated[str, OneOf(("negative", "positive"))] = "negative",
    problem: str = "linear_net(hidden=6)",
    optimizer: str = "sgd(lr=0.02)",
    seeds: Count = 12,
) -> Experiment:
    """Critical points of high loss are saddles with many descending directions, those of low loss have few.

    Spearman's correlation of the loss and the index, the share of negative eigenvalues of the Hessian, among the
    critical points that minimizing the gradient leads to from six points of a training on all examples, as Dauphin et
    al. look for them, from weights of σ = 0.1 on. The net is linear and deep: of it theory says so, too, and its
    Hessians are small enough to be had whole. (From four random points of σ = 0.4 to 1, which were tried first, four of
    ten seeds found no critical point but the saddle at 0, and it was undecided.)
    The control counts positive eigenvalues, directions that ascend.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        made, own = made_of(problem), lab.seeds(seeds)
        starts = drawn(made, own, "gaussian(std=0.1)")
        points = trained(made, optimizer, starts, STAGES, batch_size=0, seeds=own).points
        found = [_correlation(made, near, sign) for near in torch.stack(list(points.values()), dim=1)]
        return [typical(f"rank correlation of loss and share of {sign} eigenvalues", found, above=0)]

    return experiment


def _correlation(made: Problem, near: Tensor, sign: str) -> float:
    """Spearman's ρ among the critical points near these [k, D]; 0 where all have one loss, or one index."""
    from scipy.stats import spearmanr

    from analysis.critical import critical_point

    found = [critical_point(objective(made, theta), most=30) for theta in near]
    reached = [each for each in found if each.converged]
    losses = [round(each.loss, 6) for each in reached]
    shares = [_share(made, each.theta, sign) for each in reached]
    if len(set(losses)) < 2 or len(set(shares)) < 2:
        return 0.0
    return float(spearmanr(losses, shares).statistic)


def _share(made: Problem, theta: Tensor, sign: str) -> float:
    """The share of eigenvalues of a sign, over 10⁻⁶ of the largest: what the data's rounding makes of zeros is none."""
    import torch

    from analysis.operators import hessian

    values = torch.linalg.eigvalsh(hessian(objective(made, theta)).dense())
    values = -values if sign == "negative" else values
    return float((values > 1e-6 * values.abs().max()).double().mean())


@claim(section="8.2.3", source="Goodfellow et al. 2015", control="optimizer='newton(alpha=0)'")
def descent_escapes_saddles(
    optimizer: str = "sgd(lr=0.01)", near: Fraction = 0.1, steps: Count = 2000, seeds: Count = 30
) -> Experiment:
    """Gradient descent can in many cases leave the neighbourhood of a saddle point, even where its Hessian vanishes.

    The share of starts around the points of ``saddle`` and ``monkey_saddle``, from a normal of σ = 0.1, that come down
    to a loss of −1, well off the saddle points, in 2000 steps. The control takes Newton's method in place of gradient
    descent.
    """
    return _leaves(optimizer, near, steps, seeds)


@claim(section="8.2.3", source="Dauphin et al. 2014", control="optimizer='newton(alpha=0)'")
def saddle_free_newton_escapes(
    optimizer: str = "saddle_free_newton", near: Fraction = 0.1, steps: Count = 50, seeds: Count = 30
) -> Experiment:
    """Newton's method with |H| in place of H leaves saddle points, which Newton's method jumps to.

    As ``descent_escapes_saddles``, in 50 steps; the control takes Newton's method itself.
    """
    return _leaves(optimizer, near, steps, seeds)


def _leaves(optimizer: str, near: float, steps: int, seeds: int) -> Experiment:
    def experiment(lab: Lab) -> Sequence[Observation]:
        found = []
        for name in ("saddle", "monkey_saddle"):
            made = made_of(name)
            losses = trained(made, optimizer, _around(near, lab.seeds(seeds)), [steps]).losses
            found.append(share(f"starts that leave the point of {name}", (losses < -1).any(0).tolist(), above=0.5))
        return found

    return experiment


def _around(near: float, seeds: Sequence[int]) -> Tensor:
    """Starts [seeds, 2] from N(0, near²)."""
    import torch

    from suite.sampler import generator

    return torch.stack([near * torch.randn(2, generator=generator(seed, "start")) for seed in seeds]).double()


@claim(section="8.2.3", source="Dauphin et al. 2014", control="optimizer='saddle_free_newton'")
def newton_is_drawn_to_saddles(
    optimizer: str = "newton(alpha=0)", near: Fraction = 0.1, steps: Count = 30, seeds: Count = 30
) -> Experiment:
    """Newton's method, which looks for a point of zero gradient, jumps to saddle points.

    The distance from the points of ``saddle`` and ``monkey_saddle`` after 30 steps, relative to that of the starts,
    from a normal of σ = 0.1 around them. The control takes saddle-free Newton in its place.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        found, starts = [], _around(near, lab.seeds(seeds))
        for name in ("saddle", "monkey_saddle"):
            end = trained(made_of(name), optimizer, starts, [steps]).points[steps]
            far = (end.norm(dim=1) / starts.norm(dim=1)).nan_to_num(nan=float("inf")).tolist()
            found.append(typical(f"distance from the point of {name}, end / start", far, below=1e-6))
        return found

    return experiment


@claim(section="8.2.3", source="Goodfellow et al. 2015", control="line='between_ends'")
def straight_line_falls(
    line: Annotated[str, OneOf(("from_the_start", "between_ends"))] = "from_the_start",
    problem: str = "digits_mlp",
    optimizer: str = "sgd(lr=0.1)",
    epochs: Count = 20,
    seeds: Count = 20,
) -> Experiment:
    """On the straight line from the start of training to its end the loss falls all the way, without an obstacle.

    The share of seeds for which the training loss at 51 evenly spaced points of the line never climbs by more than a
    thousandth of its range. The control's line leads from the end of another training to this one's.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        from analysis.landscape import interpolation

        made = made_of(problem, "float32")
        last = epochs * (len(made.train) // made.batch_size)
        own = lab.seeds(seeds)
        points = trained(made, optimizer, drawn(made, own), [0, last], seeds=own).points
        begins = points[0] if line == "from_the_start" else points[last].roll(1, 0)
        pairs = zip(begins, points[last], strict=True)
        falls = [interpolation(objective(made, end), begin, end).monotone() for begin, end in pairs]
        return [share("lines along which the loss falls all the way", falls, above=0.5)]

    return experiment
