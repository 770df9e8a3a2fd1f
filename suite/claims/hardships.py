"""Sections 8.2.4 to 8.2.7: cliffs, long-term dependencies, and what cannot be seen from where one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Count, OneOf, Positive, Unit
from suite.claims.base import Experiment, Observation, claim, typical
from suite.claims.courses import drawn, made_of, measured, trained
from suite.claims.lab import Lab, arm, ratios

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from problems.problem import Problem

RADII = (0.5, 0.8, 1.25, 2.0)  # λ: the largest absolute eigenvalue of a recurrent matrix
LENGTH, FIRST = 60, 20  # steps of a sequence; from which on the largest eigenvalue has it all


@claim(section="8.2.4", source="Pascanu et al. 2013", control="norm=1e9")
def clipping_at_cliffs(
    norm: Positive = 0.1, lr: Positive = 0.1, problem: str = "cliff", steps: Count = 800, seeds: Count = 20
) -> Experiment:
    """At a cliff one gradient step throws the parameters far away, which clipping the gradient prevents.

    From starts around that of ``cliff``, on the plain beside it, N(0, 0.1²) away in both parameters: the longest step
    without clipping, relative to the longest with it, and the lowest of the last hundred losses with clipping, relative
    to that without. Both go by the same rate, with which the plain is crossed in a few hundred steps. The control clips
    at a norm that no gradient has.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        made = made_of(problem)
        own = lab.seeds(seeds)
        away = torch.stack([torch.randn(made.size, generator=_stream(seed)) for seed in own])
        starts = drawn(made, own) + 0.1 * away
        plain, clipped = (
            trained(made, text, starts, range(steps + 1))
            for text in (f"sgd(lr={lr})", f"clip(sgd(lr={lr}), norm={norm})")
        )
        ends = [course.losses[-100:].amin(0).tolist() for course in (clipped, plain)]
        return [
            typical(
                "longest step, plain / clipped", ratios(_longest(plain.points), _longest(clipped.points)), above=10
            ),
            typical("loss in the end, clipped / plain", ratios(*ends), below=1),
        ]

    return experiment


def _longest(points: dict[int, Tensor]) -> list[float]:
    """The longest step of each lane."""
    import torch

    way = torch.stack([points[step] for step in sorted(points)])
    return (way[1:] - way[:-1]).norm(dim=2).nan_to_num(nan=float("inf")).amax(0).tolist()


def _stream(seed: int) -> Generator:
    from suite.sampler import generator

    return generator(seed, "away")


@claim(section="8.2.5", source="Deep Learning, equation 8.11", control="scale=1")
def powers_of_the_recurrent_matrix(scale: Positive = 1e-15, hidden: Count = 16, seeds: Count = 12) -> Experiment:
    """Gradients through t steps of one matrix W grow or shrink as λᵗ, λ the largest of its absolute eigenvalues.

    What the output of a plain recurrent net depends on an input 20 to 59 steps ago, ‖∂y/∂x‖, falls or rises with the
    number of steps by a factor that is fitted, for Gaussian W of λ = 0.5, 0.8, 1.25 and 2 and inputs so small that tanh
    is linear: that factor / λ, from 0.9 to 1.1. The control has inputs of size one, at which tanh holds growth back.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(f"adding_rnn(length={LENGTH}, hidden={hidden}, sequences=32)")
        thetas = drawn(made, lab.seeds(seeds), "gaussian(std=0.2)")
        found = {radius: [_factor(made, theta, radius, scale) / radius for theta in thetas] for radius in RADII}
        return [typical(f"factor of a step / λ, λ = {radius:g}", values, 0.9, 1.1) for radius, values in found.items()]

    return experiment


def _factor(made: Problem, theta: Tensor, radius: float, scale: float) -> float:
    """By how much ‖∂y/∂x‖ changes with every further step back, where W has such a spectral radius."""
    import numpy as np
    import torch

    pieces = {name: piece.clone() for name, piece in made.layout.split(theta).items()}
    matrix = pieces["rnn1.hidden"]
    matrix *= radius / torch.linalg.eigvals(matrix).abs().max()
    reach = _reach(
        replace(made, train=replace(made.train, tensors=(made.train.tensors[0] * scale, made.train.tensors[1]))), pieces
    )
    back = np.arange(FIRST, LENGTH)
    return float(np.exp(np.polyfit(back, reach.log().flip(0)[FIRST:].numpy(), 1)[0]))


def _reach(made: Problem, pieces: dict[str, Tensor]) -> Tensor:
    """‖∂(Σ y)/∂x_t‖ for every step t [T], over 32 sequences."""
    import torch

    x = made.train.tensors[0][:32].clone().requires_grad_()
    y = made.outputs(pieces, (x, made.train.tensors[1][:32]))
    [slope] = torch.autograd.grad(y.sum(), x)
    return slope.norm(dim=(0, 2))


@claim(
    section="8.2.5",
    source="Hochreiter & Schmidhuber 1997; Gers et al. 2000",
    control="gated='adding_lstm(length=60, forget_bias=-3)'",
)
def gates_keep_gradients(
    gated: str = "adding_lstm(length=60)", plain: str = "adding_rnn(length=60)", seeds: Count = 15
) -> Experiment:
    """The gradient of a plain recurrent net's output for its early inputs vanishes, that of an LSTM, with gates, less.

    ‖∂y/∂x‖ of the input 50 steps ago, relative to that of the last one, at the starts that their sources prescribe: of
    the plain net below a thousandth, and more of the LSTM than of that. The control's forget gates begin shut.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        kept = {}
        for text in (gated, plain):
            made = made_of(text)
            reach = [_reach(made, made.layout.split(theta)) for theta in drawn(made, lab.seeds(seeds))]
            kept[text] = [float(each[-51] / each[-1]) for each in reach]
        return [
            typical("gradient 50 steps back / of the last step, plain", kept[plain], below=1e-3),
            typical("what is left of it, LSTM / plain", ratios(kept[gated], kept[plain]), above=1),
        ]

    return experiment


@claim(section="8.2.5", source="Sussillo & Abbott 2014", control="initializer='lecun_uniform'")
def deep_nets_keep_gradients(
    initializer: str = "random_walk",
    problem: str = "digits_deep_mlp(depth=50)",
    optimizer: str = "adam(lr=0.001)",
    steps: Count = 700,
    seeds: Count = 12,
) -> Experiment:
    """A very deep feedforward net, whose layers have matrices of their own, keeps its gradients at the right scale.

    The norm of the gradient for the second of fifty layers, relative to that for the last but one, at the start: within
    a factor of ten. And training gets under way: by Adam at the rate that ``digits_deep_mlp`` is solved with, the
    training loss falls below half of what it was within 700 steps. The control draws from U(−1/√m, 1/√m).
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked = arm(
            problem,
            optimizer,
            initializer,
            steps=steps,
            eval_every=steps,
            probes=f"gradient_norm(every={steps}, layers=True)",
        )
        runs = lab.train({"": asked}, seeds)[""]
        layers = [m for m in dict.fromkeys(name for _, name, _ in runs[0].trace) if m.endswith(".weight")]
        ends = [[course[0][1] for course in runs.course(name)] for name in (layers[1], layers[-2])]
        losses = [course[-1][1] / course[0][1] for course in runs.course("train_loss")]
        return [
            typical("gradient norm, second layer / last but one", ratios(*ends), above=0.1, below=10),
            typical("training loss, end / start", losses, below=0.5),
        ]

    return experiment


@claim(section="8.2.7", source="Deep Learning, figure 8.4", control="side='right'")
def wrong_side_of_the_mountain(
    side: Annotated[str, OneOf(("left", "right"))] = "left",
    optimizer: str = "sgd(lr=0.1)",
    steps: Count = 1000,
    seeds: Count = 20,
) -> Experiment:
    """Descent may lead away from all low values without a saddle or a minimum, from the wrong side of a mountain.

    The loss of ``mountain`` after a thousand steps from starts 0.1 to 3 to the left and to the right of the top: above
    0 from the left, where it nears 1, and below 0 from the right, where it nears −1. The control starts to the right
    alone.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        import torch

        made, top = made_of("mountain"), -(15**-0.5)
        away = 0.1 + 2.9 * torch.stack([torch.rand(1, generator=_stream(seed)) for seed in lab.seeds(seeds)]).double()
        ends = {}
        for name, starts in (("left", top - away), ("right", top + away)):
            theta = trained(made, optimizer, starts, [steps]).points[steps]
            ends[name] = measured(made, theta)["train_loss"]
        return [
            typical(f"loss in the end, from the {side}", ends[side], above=0),
            typical("loss in the end, from the right", ends["right"], below=0),
        ]

    return experiment


@claim(section="8.2.7", source="Deep Learning, section 8.2.7", control="share_left=1")
def near_starts_are_quicker(
    share_left: Unit = 0.5,
    problem: str = "digits_mlp",
    optimizer: str = "sgd(lr=0.1)",
    epochs: Count = 15,
    seeds: Count = 12,
) -> Experiment:
    """Much of the time of training goes into the length of the way: a start half as far off needs far fewer steps.

    Steps until the training loss is twice that in the end of training, from half the way between that end and another
    random start, relative to those from that start itself: a half if nothing but the length counted, and at most 0.6.
    (The nearer start lies in the direction of a solution, too, which length alone does not tell apart.) The control
    goes none of the way.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(problem, "float32")
        epoch = len(made.train) // made.batch_size
        last = epochs * epoch
        own = lab.seeds(seeds)
        ends = trained(made, optimizer, drawn(made, own), [last], seeds=own).points[last]
        goals = [2 * loss for loss in measured(made, ends)["train_loss"]]
        far = drawn(made, lab.seeds(2 * seeds)[seeds:])
        needed = [_needed(made, optimizer, at, 2 * last, goals, own) for at in (ends + share_left * (far - ends), far)]
        return [typical("steps from the nearer start / from the farther", ratios(*needed), below=0.6)]

    return experiment


def _needed(
    made: Problem, optimizer: str, starts: Tensor, most: int, goals: Sequence[float], seeds: Sequence[int]
) -> list[float]:
    """Steps until the training loss of each lane is at its goal, to twenty steps; infinite where it never is."""
    course = trained(made, optimizer, starts, range(0, most + 1, 20), seeds=seeds)
    seen = {step: measured(made, theta)["train_loss"] for step, theta in course.points.items()}
    return [
        next((float(max(step, 1)) for step, losses in seen.items() if losses[lane] <= goal), float("inf"))
        for lane, goal in enumerate(goals)
    ]


@claim(
    section="8.2.7", source="Deep Learning, section 8.2.7", control="optimizer='weight_decay(sgd(lr=0.3), decay=0.01)'"
)
def likelihood_has_no_minimum(
    optimizer: str = "sgd(lr=0.3)", problem: str = "digits_mlp", epochs: Count = 30, seeds: Count = 15
) -> Experiment:
    """The loss of a classifier that can fit its examples has no minimum: it nears 0 while parameters grow for ever.

    The training loss after ten times as many epochs, relative to that after thirty, below a half; and the norm of
    the parameters, which must be larger. The control has weight decay, with which there is a minimum.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made = made_of(problem, "float32")
        at = [epochs * (len(made.train) // made.batch_size) * k for k in (1, 10)]
        points = trained(made, optimizer, drawn(made, lab.seeds(seeds)), at, seeds=lab.seeds(seeds)).points
        first, later = (measured(made, points[step])["train_loss"] for step in at)
        norms = [points[step].norm(dim=1).tolist() for step in at]
        return [
            typical("training loss, ten times as late / then", ratios(later, first), below=0.5),
            typical("norm of the parameters, ten times as late / then", ratios(norms[1], norms[0]), above=1),
        ]

    return experiment
