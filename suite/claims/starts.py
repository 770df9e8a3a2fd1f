"""Section 8.4: how weights are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from problems.bounds import Count, Positive
from problems.names import parse_list
from suite.claims.base import Experiment, Observation, claim, share, typical
from suite.claims.descent import slopes
from suite.claims.lab import Lab, arm, differences, ratios

if TYPE_CHECKING:
    from torch import Tensor

    from problems.problem import Problem

Look = tuple[list["Tensor"], list["Tensor"]]
DEPTHS = (3, 10, 30, 100)  # of linear nets
WITHIN = 1e-3  # of the loss of a map of 0 they have learned
MOST = 60  # steps


def drawn(problem: str, start: str, seed: int) -> tuple[Problem, dict[str, Tensor]]:
    """A problem with θ₀ in pieces, as a run of this seed would begin with."""
    from problems.problem import problem as problems
    from suite.initializers import initializer
    from suite.sampler import generator

    made = problems.build(problems.bind(problem))
    theta = initializer.build(initializer.bind(start))(made, generator(seed, "start"))
    return made, dict(made.layout.split(theta))


def looked(problem: str, start: str, seed: int, examples: int = 512) -> Look:
    """Each layer's sums [examples, units] at a start, and the gradients of the loss for them."""
    from suite.initializers.data_dependent import layers_of, look, minibatch
    from suite.sampler import generator

    made, pieces = drawn(problem, start, seed)
    return look(made, pieces, minibatch(made, examples, generator(seed, "look")), layers_of(made))


@claim(section="8.4", source="Deep Learning, section 8.4", control="starts='default'")
def symmetry_must_be_broken(
    starts: str = "symmetric, constant(0.1), zeros",
    problem: str = "digits_mlp",
    optimizer: str = "sgd(lr=0.1)",
    steps: Count = 400,
    seeds: Count = 10,
) -> Experiment:
    """Hidden units that start with the same parameters stay alike for ever, and do the work of one.

    400 steps of SGD from starts whose 32 hidden units are alike: how far the incoming weights of any two lie apart
    afterwards, relative to the largest, and the accuracy on the test split against that from the problem's own random
    start. The control begins at random.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        names = [str(spec) for spec in parse_list(starts)]
        options: dict[str, Any] = {"steps": steps, "eval_every": steps}
        arms = {start: arm(problem, optimizer, start, **options) for start in dict.fromkeys((*names, "default"))}
        accuracy = {start: runs.final("test_accuracy") for start, runs in lab.train(arms, seeds).items()}
        found = []
        for start in names:
            apart = [_apart(problem, optimizer, start, steps, seed) for seed in lab.seeds(seeds)]
            relative = ratios(accuracy[start], accuracy["default"])
            found.append(typical(f"distance between two units, {start}", apart, below=1e-6))
            found.append(typical(f"accuracy / that from a random start, {start}", relative, below=0.5))
        return found

    return experiment


def _apart(problem: str, optimizer: str, start: str, steps: int, seed: int) -> float:
    """The largest difference between a weight of a first hidden unit and another's, after training; 0 if all are 0."""
    from suite.curvature import Training, points

    training = Training(problem, optimizer, start, seed)
    made = training.made()
    [(_, theta)] = points(training, [steps], made)
    rows = made.layout.split(theta)[f"{made.hidden[0]}.weight"]
    largest = float(rows.abs().max())
    return float((rows.amax(0) - rows.amin(0)).max()) / largest if largest else 0.0


@claim(
    section="8.4",
    source="Deep Learning, section 8.4",
    control="problem='batch_norm(digits_deep_mlp(depth=6, activation=tanh))'",
)
def scale_in_between(
    problem: str = "digits_deep_mlp(depth=6, activation=tanh)",
    small: Positive = 0.01,
    middle: Positive = 0.18,
    large: Positive = 2.0,
    seeds: Count = 15,
) -> Experiment:
    """Small initial weights lose the signal, too large ones saturate units: in between is best.

    600 steps of a tanh net of six layers of 32 units from N(0, std²) with a std of 0.01, 0.18 (1/√m) and 2, each at
    the best of 11 rates; accuracy on the test split, of which the middle should have five points more. The control
    normalizes each layer's sums by the batch, so that their scale at the start is gone.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        stds = {"small": small, "middle": middle, "large": large}
        arms = {key: arm(problem, "sgd", f"gaussian(std={std})", steps=600) for key, std in stds.items()}
        found = {key: runs.final("test_accuracy") for key, runs in lab.tune(arms, seeds).items()}
        return [
            typical(
                "accuracy from the middle less that from small", differences(found["middle"], found["small"]), 0.05
            ),
            typical(
                "accuracy from the middle less that from large", differences(found["middle"], found["large"]), 0.05
            ),
        ]

    return experiment


@claim(
    section="8.4", source="Deep Learning, equation 8.23; Glorot & Bengio 2010", control="initializer='lecun_uniform'"
)
def normalized_keeps_variances(
    initializer: str = "glorot_uniform", problem: str = "linear_net(depth=12, hidden=128)", seeds: Count = 12
) -> Experiment:
    """Between equally wide layers the normalized initialization keeps the variance of activations and of gradients.

    It is a compromise of these two aims, which agree where layers are equally wide: a linear net, for which it was
    derived, of layers of 128 units. The factor by which the variance changes from one hidden layer to the next, for
    activations on the way up and for gradients on the way down. The control takes U(−1/√m, 1/√m), whose variance of
    1/(3m) makes the factor a third.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        looks = [looked(problem, initializer, seed) for seed in lab.seeds(seeds)]
        up = [_factor([t.var() for t in sums[:-1]]) for sums, _ in looks]
        down = [_factor([t.var() for t in reversed(gradients[:-1])]) for _, gradients in looks]
        return [
            typical("factor of the variance of activations by layer", up, 0.9, 1.1),
            typical("factor of the variance of gradients by layer", down, 0.9, 1.1),
        ]

    return experiment


def _factor(values: Sequence[Tensor]) -> float:
    """What each value is of the one before, as a geometric mean."""
    return float(values[-1] / values[0]) ** (1 / (len(values) - 1))


@claim(section="8.4", source="Deep Learning, section 8.4; Glorot & Bengio 2010", control="depth=2")
def normalized_on_nonlinear(depth: Count = 11, optimizer: str = "sgd", seeds: Count = 15) -> Experiment:
    """The normalized initialization, made for linear nets, serves nonlinear ones, too.

    600 steps of a tanh net of 11 layers from it and from U(−1/√m, 1/√m), each at the best of 11 rates; accuracy on
    the test split, of which it should have five points more. The control has two layers, through which every signal
    comes.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        problem = f"digits_deep_mlp(depth={depth}, activation=tanh)"
        arms = {start: arm(problem, optimizer, start, steps=600) for start in ("glorot_uniform", "lecun_uniform")}
        ours, others = (runs.final("test_accuracy") for runs in lab.tune(arms, seeds).values())
        return [typical("accuracy from it less that from the other", differences(ours, others), above=0.05)]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4; Saxe et al. 2013", control="initializer='gaussian(std=0.05)'")
def orthogonal_at_any_depth(initializer: str = "orthogonal", width: Count = 64, seeds: Count = 12) -> Experiment:
    """From orthogonal matrices the number of steps that a linear net needs does not depend on its depth.

    Full-batch steps of linear nets of 3, 10, 30 and 100 layers of 64 units until the loss is a thousandth of that of
    a map of 0, at most 60, at a rate of ¼ over the depth (of powers of 2 over the depth, 1 is the largest at which
    they train, but few steps tell little apart, and the most steps of any depth over the fewest tell more of the
    draws than of depth). The power of the depth that the steps grow by, and the share of seeds that learn at all
    depths. The control draws small weights one by one.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        made, _ = drawn("linear_net(strongest=1)", "default", 0)
        goal = WITHIN * 0.5 * float(made.train.tensors[1].square().sum(1).mean())
        options: dict[str, Any] = {"steps": MOST, "eval_every": MOST, "probes": "loss"}
        nets = {depth: f"linear_net(depth={depth}, hidden={width}, strongest=1)" for depth in DEPTHS}
        arms = {n: arm(net, f"sgd(lr={0.25 / n})", initializer, **options) for n, net in nets.items()}
        found = lab.train(arms, seeds)
        steps = {n: runs.steps_until("minibatch_loss", lambda loss: loss <= goal) for n, runs in found.items()}
        learned = [max(each) < MOST for each in zip(*steps.values(), strict=True)]
        capped = {n: [min(each, MOST) for each in arrived] for n, arrived in steps.items()}
        return [
            share("learned at every depth", learned, above=0.5),
            typical("power of the depth that steps grow by", slopes(capped), -0.1, 0.1),
        ]

    return experiment


@claim(
    section="8.4",
    source="Deep Learning, section 8.4; Sussillo & Abbott 2014",
    control="initializer='random_walk(gain=0.9)'",
)
def gains_for_deep_nets(
    initializer: str = "random_walk",
    problem: str = "digits_deep_mlp(depth=100, width=64, activation=tanh)",
    optimizer: str = "adam(lr=0.00005)",
    steps: Count = 200,
    seeds: Count = 8,
) -> Experiment:
    """With the right gain Gaussian weights are enough to train very deep nets.

    200 steps of Adam on a tanh net of 100 layers of 64 units, whose gain is measured so that gradients neither grow
    nor shrink on their way back; the training loss against that at the start, of which a third should be gone. The
    rate is near those at which any gain learned best, of 3·10⁻⁵ to 10⁻³. The source has up to 1000 layers; with 200 a
    fifth of the loss is gone after as many steps, so that they would need more. The control has a gain a tenth below
    1.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked = arm(problem, optimizer, initializer, steps=steps, eval_every=steps)
        courses = lab.train({"": asked}, seeds)[""].course("train_loss")
        return [typical("training loss / at the start", [each[-1][1] / each[0][1] for each in courses], below=2 / 3)]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4; Martens 2010", control="initializer='gaussian(std=1)'")
def sparse_sums(initializer: str = "sparse(k=15)", seeds: Count = 12) -> Experiment:
    """With k inputs to each unit the total input of a unit does not depend on how many units there are below.

    The standard deviation of the sums of a second layer over 512 digits, for a first layer of 32 to 1024 units; the
    power of their number that it grows by. The control connects all units by weights of the same size, which gives ½.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        found = {}
        for m in (32, 128, 512, 1024):
            problem = f"digits_mlp(hidden=({m}, 64))"
            looks = [looked(problem, initializer, seed) for seed in lab.seeds(seeds)]
            found[m] = [float(sums[1].std()) for sums, _ in looks]
        return [typical("power of the units below that sums grow by", slopes(found), -0.1, 0.1)]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4; Martens 2010", control="initializer='gaussian(std=1)'")
def sparse_diversity(
    initializer: str = "sparse(k=15)", problem: str = "digits_mlp(hidden=(64,))", seeds: Count = 15
) -> Experiment:
    """Sparse weights make units more diverse at the start.

    The correlation between the sums of two hidden units over the digits, without its sign, as a mean over all pairs
    of 64 units, against that from dense Gaussian weights. (The mean of its square is the same by theory, for the
    variances of weights are.) The control draws dense weights again, others.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        def alike(start: str, first: int) -> list[float]:
            return [_alike(looked(problem, start, first + seed)[0][0]) for seed in lab.seeds(seeds)]

        dense = alike("gaussian(std=1)", 1000)
        return [typical("correlation between units / of dense weights", ratios(alike(initializer, 0), dense), below=1)]

    return experiment


def _alike(sums: Tensor) -> float:
    """The mean |correlation| of two columns of [examples, units]."""
    import torch

    units = sums.shape[1]
    return float((torch.corrcoef(sums.T).abs().sum() - units) / (units * (units - 1)))


@claim(
    section="8.4",
    source="Deep Learning, section 8.4; Mishkin & Matas 2015",
    control="scheme='scaled_by_hand(gaussian(std=0.01), low=1e-30, high=1e30)'",
)
def one_minibatch_sets_scales(
    scheme: str = "scaled_by_hand(gaussian(std=0.01))",
    unscaled: str = "gaussian(std=0.01)",
    problem: str = "digits_deep_mlp(depth=11)",
    seeds: Count = 15,
) -> Experiment:
    """Scales set layer by layer by looking at one minibatch let a deep net learn, at less cost than a search for them.

    A net of 11 layers from weights that are too small, as they are and scaled; 600 steps of SGD, each at the best of
    11 rates. The accuracy on the test split, of which the scaled should have five points more; and the gradients that
    the scaling looks at, against those of a search for one scale among 11. The control's band is so wide that nothing
    is scaled.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        arms = {start: arm(problem, "sgd", start, steps=600) for start in (scheme, unscaled)}
        scaled, plain = lab.tune(arms, seeds).values()
        gain = differences(scaled.final("test_accuracy"), plain.final("test_accuracy"))
        looks = [each.summary.get("start_gradient_calls", 0) / (11 * 600) for each in scaled]
        return [
            typical("accuracy from scaled weights less from unscaled", gain, above=0.05),
            typical("gradients looked at / those of a search", looks, below=0.1),
        ]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4", control="initializer='he_normal'")
def starts_that_fail(
    initializer: str = "gaussian(std=1)",
    problem: str = "digits_deep_mlp(depth=20)",
    optimizer: str = "sgd",
    seeds: Count = 20,
) -> Experiment:
    """Where training begins can decide whether it converges at all, for some starts meet with numbers that overflow.

    600 steps on a net of 20 layers from N(0, 1) and from N(0, 2/m), each at the best of 11 rates: the shares of seeds
    that diverge and that learn, to an accuracy of a half at least. (At one rate of 0.1 for both, hardly a seed
    learned in time from the second.) The control takes the second start for the first.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        starts = {"first": initializer, "second": "he_normal"}
        found = lab.tune({key: arm(problem, optimizer, start, steps=600) for key, start in starts.items()}, seeds)
        learned = [accuracy >= 0.5 for accuracy in found["second"].final("test_accuracy")]
        return [
            share("diverged from the first start", found["first"].diverged, above=0.5),
            share("learned from the second", learned, above=0.5),
        ]

    return experiment
