"""Section 8.4: where biases and precisions begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from problems.bounds import Count, Positive, Real
from problems.names import UsageError, parse
from suite.claims.base import Experiment, Observation, claim, share, typical
from suite.claims.lab import Lab, arm, differences, ratios


@claim(section="8.4", source="Deep Learning, section 8.4", control="bias='zero'")
def output_biases_from_marginals(
    bias: str = "marginal",
    problem: str = "copy_rnn",
    optimizer: str = "adam(lr=0.003)",
    steps: Count = 20,
    seeds: Count = 12,
) -> Experiment:
    """Output biases from the marginal statistics of the targets spare training the work of finding them.

    Small weights, N(0, 0.01²), and labels most of which are of one class: the first training loss against the entropy
    of the labels, which it is if the outputs are the marginal distribution; and the loss after 20 steps of Adam
    against that from biases of 0. The control takes 0 for the biases in question.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": steps, "eval_every": steps}
        starts = {key: f"biased(gaussian(std=0.01), {rule})" for key, rule in (("ours", bias), ("zero", "zero"))}
        arms = {key: arm(problem, optimizer, start, **options) for key, start in starts.items()}
        ours, zero = (runs.course("train_loss") for runs in lab.train(arms, seeds).values())
        entropy = _entropy(problem)
        after = ratios([each[-1][1] for each in ours], [each[-1][1] for each in zero])
        return [
            typical("first loss / entropy of the labels", [each[0][1] / entropy for each in ours], 0.98, 1.02),
            typical("loss later / that from biases of 0", after, below=1),
        ]

    return experiment


def _entropy(problem: str) -> float:
    """−Σ p log p of the shares p of the training labels, in nats.

    Raises:
        UsageError: the problem has no labels.
    """
    import torch

    from problems.problem import problem as problems

    labels = problems.build(problems.bind(problem)).train.tensors[-1]
    if labels.is_floating_point():
        raise UsageError(f"{problem} has no labels, whose entropy could be had; take a classifier, as digits_mlp")
    p = torch.bincount(labels.flatten()).double() / labels.numel()
    return float(torch.special.entr(p).sum())


@claim(section="8.4", source="Deep Learning, section 8.4", control="value=-0.1")
def relu_biases_wake_units(
    value: Real = 0.1, initializer: str = "default", problem: str = "digits_mlp(hidden=(64,))", seeds: Count = 15
) -> Experiment:
    """Biases of 0.1 in place of 0 keep rectified units from being saturated at the start.

    The share of 64 hidden units that are 0 on every training example before the first step, less that with biases of
    0. The control takes −0.1.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        options: dict[str, Any] = {"steps": 1, "batch_size": 0, "probes": "dead_units"}
        starts = [f"biased({initializer}, relu({bias}))" for bias in (value, 0)]
        found = lab.train({start: arm(problem, "sgd", start, **options) for start in starts}, seeds)
        ours, zero = ([each[0][1] for each in runs.course("dead_units/layer1")] for runs in found.values())
        return [typical("share of dead units less that from biases of 0", differences(ours, zero), below=0)]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4", control="depth=2")
def biases_disturb_walks(
    value: Real = 0.1, depth: Count = 60, optimizer: str = "adam", steps: Count = 200, seeds: Count = 15
) -> Experiment:
    """Biases of 0.1 do not go with a random walk's weights, which expect no strong input from biases.

    200 steps of Adam on a ReLU net of 60 layers of 32 units from a random walk with these biases and with 0, each at
    the best of 11 rates; final training losses. With 30 layers the two are still not told apart. The control has two,
    too few for what the biases add to grow.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        starts = [f"biased(random_walk, relu({bias}))" for bias in (value, 0)]
        arms = {start: arm(f"digits_deep_mlp(depth={depth})", optimizer, start, steps=steps) for start in starts}
        ours, zero = (runs.final("train_loss") for runs in lab.tune(arms, seeds).values())
        return [typical("loss with biases / from biases of 0", ratios(ours, zero), above=1)]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4; Jozefowicz et al. 2015", control="bias=-1")
def gates_begin_open(
    bias: Real = 1,
    problem: str = "adding_lstm(length=30, hidden=16, sequences=1024)",
    optimizer: str = "adam",
    steps: Count = 400,
    seeds: Count = 15,
) -> Experiment:
    """Units that let others take part should begin open: with a bias of 1 of its forget gates an LSTM learns better.

    Sums of two marked values of 30: the test loss after 400 steps of Adam from a bias of 1 against that from 0, each
    at the best of 11 rates. The length was chosen after a look: of 15 values the sums are learned from either, of 30
    not even in 4000 steps from 0, at a rate of 0.01. Takes 40 s. The control's gates begin rather shut, at −1.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        nets = {key: str(parse(problem).replace(forget_bias=begun)) for key, begun in (("ours", bias), ("zero", 0.0))}
        arms = {key: arm(net, optimizer, steps=steps) for key, net in nets.items()}
        ours, zero = (runs.final("test_loss") for runs in lab.tune(arms, seeds).values())
        return [typical(f"test loss with a bias of {bias:g} / of 0", ratios(ours, zero), below=1)]

    return experiment


@claim(section="8.4", source="Deep Learning, section 8.4", control="value=10000")
def precision_of_one(value: Positive = 1, optimizer: str = "sgd(lr=0.02)", seeds: Count = 12) -> Experiment:
    """It is safe to begin with a precision of 1.

    Linear regression that learns its precision, which is 4, too: the share of seeds that come within 0.05 nats of the
    minimum in the problem's own budget of 20 epochs. The control begins at 10 000.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        asked = arm("gaussian_regression", optimizer, f"biased(default, precision({value}))", epochs=20)
        reached = [steps < float("inf") for steps in lab.train({"": asked}, seeds)[""].steps_to_target()]
        return [share("reached the target", reached, above=0.5)]

    return experiment
