"""Sections 8.7.4 and 8.7.5: supervised pretraining, and models that are easy to optimize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from problems.bounds import Count, Natural, NonNegative
from problems.names import Spec, parse
from suite.claims.base import Experiment, Observation, claim, share, typical
from suite.claims.lab import Lab, Runs, arm, differences, ratios
from suite.claims.normalization import changed

THIN = "digits_deep_mlp(depth=19, width=16)"  # thin and deep as FitNets are (Romero et al. 2015)
TASKS = "suite.claims._tasks"
MEAN = 1 / 24  # the loss of always answering the mean of sums: the variance of (X₁ + X₂)/4, X ~ U(−1, 1)


def trained(runs: Runs, accuracy: float = 0.5) -> list[bool]:
    """Of which seeds the final test accuracy, by which nothing is tuned, is so high; guessing has a tenth."""
    return [each >= accuracy for each in runs.final("test_accuracy")]


def tuned(
    lab: Lab, arms: Mapping[Any, tuple[str, str, str]], seeds: int, trials: int = 11, **options: Any
) -> list[Runs]:
    """The runs of several (problem, optimizer, initializer), each at its best settings."""
    return list(lab.tune({key: arm(*each, **options) for key, each in arms.items()}, seeds, trials).values())


# supervised pretraining -------------------------------------------------------------------


@claim(section="8.7.4", source="Deep Learning, section 8.7.4; Bengio et al. 2007", control="greedy_steps=0")
def greedy_pretraining(
    problem: str = THIN, start: str = "glorot_uniform", greedy_steps: Natural = 100, seeds: Count = 20
) -> Experiment:
    """Greedy supervised pretraining helps to train a deep net, what it costs counted too.

    Each hidden layer in turn is trained for 100 steps as that of a shallow net on those below. Then 400 steps of the
    whole by SGD at the best of 11 rates; final accuracy on the test split less that of nets from the same draw after
    400 steps, and after as many more as pretraining took, each at its own best rate. The book leaves the cost out: of
    what it says the first difference is enough. The control's pretraining takes no steps.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        first = f"greedy_supervised(initializer={start}, steps={greedy_steps})"
        [greedy] = tuned(lab, {"": (problem, "sgd", first)}, seeds, steps=400)
        spent = int(greedy[0].summary.get("start_steps", 0))
        short, long = (
            tuned(lab, {"": (problem, "sgd", start)}, seeds, steps=steps)[0].final("test_accuracy")
            for steps in (400, 400 + spent)
        )
        ours = greedy.final("test_accuracy")
        return [
            typical("accuracy − that from a draw", differences(ours, short), above=0),
            typical("accuracy − that from a draw in all its steps", differences(ours, long), above=0),
        ]

    return experiment


@claim(section="8.7.4", source="Deep Learning, section 8.7.4; Yosinski et al. 2014", control="source_steps=0")
def transferred_layers(
    source_steps: Natural = 1000, layers: Count = 3, examples: Count = 50, seeds: Count = 15
) -> Experiment:
    """A net whose first layers learned another task does better at its own, of which it has few examples.

    To tell the digits 5 to 9 apart by 50 examples, with the first 3 of 5 layers from a net that learned 0 to 4 by all
    of theirs in 1000 steps of Adam: final test accuracy after 200 steps of SGD, which train all layers, at the best of
    11 rates, less that from a draw. With all examples of both tasks a draw reaches an accuracy of 0.95 in as few steps.
    The control's source takes no steps.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        problem, source = f"{TASKS}:digits_from(first=5, examples={examples})", f"{TASKS}:digits_from(first=0)"
        starts = (f"transfer({source}, layers={layers}, steps={source_steps})", "default")
        found = [
            tuned(lab, {"": (problem, "sgd", start)}, seeds, steps=200)[0].final("test_accuracy") for start in starts
        ]
        return [typical("accuracy − that from a draw", differences(*found), above=0)]

    return experiment


@claim(section="8.7.4", source="Deep Learning, section 8.7.4; Romero et al. 2015", control="hint_steps=0")
def hints_for_thin_nets(
    problem: str = THIN, start: str = "glorot_uniform", hint_steps: Natural = 1500, seeds: Count = 15
) -> Experiment:
    """A thin deep net that SGD cannot train from a draw trains after hints from a wider, shallower one.

    19 layers of 16 units; the lower half learns to predict the hidden layer of a trained 64-64-10 teacher for 1500
    steps, then SGD trains the whole for 2500 at the best of 11 rates. From the same draw SGD gets as many steps more as
    hints and teacher took. A net has trained if its final accuracy is 0.5 or more; 1000 steps are few for
    that, after which 8 of 12 had trained with hints and 2 without. The control's hints take no steps.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        hints = f"hints(digits_mlp(hidden=(64,)), initializer={start}, teacher_steps=500, steps={hint_steps})"
        [hinted] = tuned(lab, {"": (problem, "sgd", hints)}, seeds, steps=2500)
        more = int(hinted[0].summary["start_steps"])
        [drawn] = tuned(lab, {"": (problem, "sgd", start)}, seeds, steps=2500 + more)
        return [
            share("nets that train after hints", trained(hinted), above=0.5),
            share("nets that train from the draw, in as many steps in all", trained(drawn), below=0.5),
        ]

    return experiment


# models that are easy to optimize ---------------------------------------------------------


@claim(section="8.7.5", source="Deep Learning, section 8.7.5", control="activation='sigmoid'")
def linear_pieces(
    activation: str = "relu", other: str = "sigmoid", depth: Count = 5, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """Nets of piecewise linear units carry more gradient down and train faster than nets of units that saturate.

    Perceptrons with 4 hidden layers on digits, each from the draw that is made for its units; the share of ‖g‖ of the
    first layer in that of the last before training, and the training loss after 400 steps of SGD with momentum at the
    best of 11 rates, with ReLU against sigmoid units. The control has sigmoid units in both.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        nets = [f"{TASKS}:deep_net(activation='{name}', depth={depth})" for name in (activation, other)]
        shares = []
        for net in nets:
            first, last = (gradient_of(lab, net, f"layer{layer}.weight", seeds) for layer in (1, depth))
            shares.append(ratios(first, last))
        found = [
            tuned(lab, {"": (net, "momentum", "default")}, seeds, steps=steps)[0].final("train_loss") for net in nets
        ]
        return [
            typical("share of gradient in the first layer / with sigmoid units", ratios(*shares), above=1),
            typical("training loss / with sigmoid units", ratios(*found), below=1),
        ]

    return experiment


def gradient_of(lab: Lab, problem: str, piece: str, seeds: int, start: str = "default") -> list[float]:
    """‖g‖ of a piece of θ on the first minibatch, by seed."""
    options: dict[str, Any] = {"steps": 1, "eval_every": 1, "probes": "gradient_norm(layers=True)"}
    runs = lab.train({"": arm(problem, "sgd(lr=0.001)", start, **options)}, seeds)[""]
    return [course[0][1] for course in runs.course(f"gradient_norm/{piece}")]


@claim(
    section="8.7.5",
    source="Deep Learning, section 8.7.5; Srivastava et al. 2015; He et al. 2016",
    control="connected=False",
)
def skip_connections_train(
    problem: str = THIN, start: str = "glorot_uniform", connected: bool = True, steps: Count = 1000, seeds: Count = 15
) -> Experiment:
    """With connections around its layers a deep net trains that does not without.

    19 layers of 16 ReLU units from Glorot's draw, whose signals shrink from layer to layer; 1000 steps of SGD at the
    best of 11 rates. A net has trained if its final accuracy is 0.5 or more. The control has connections in neither.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        nets = (changed("skip_connections", problem, connected), problem)
        skipping, plain = (tuned(lab, {"": (net, "sgd", start)}, seeds, steps=steps)[0] for net in nets)
        return [
            share("nets that train with skip connections", trained(skipping), above=0.5),
            share("nets that train without", trained(plain), below=0.5),
        ]

    return experiment


@claim(section="8.7.5", source="Deep Learning, section 8.7.5; Szegedy et al. 2015; Lee et al. 2015", control="weight=0")
def auxiliary_heads_teach(
    problem: str = THIN, start: str = "glorot_uniform", weight: NonNegative = 0.3, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """Extra outputs on hidden layers bring a larger gradient to the lower layers and help a deep net to train.

    19 layers of 16 ReLU units from Glorot's draw, with a head on each hidden layer but the last, whose losses count
    0.3: ‖g‖ of the first layer before training against that without heads, and final test accuracies of the outputs
    themselves after 400 steps of SGD, each at the best of 11 rates. The control's heads count nothing.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        helped = str(Spec("auxiliary_heads", (parse(problem),), (("weight", weight),)))
        norms = [gradient_of(lab, net, "layer1.weight", seeds, start) for net in (helped, problem)]
        found = [
            tuned(lab, {"": (net, "sgd", start)}, seeds, steps=steps)[0].final("test_accuracy")
            for net in (helped, problem)
        ]
        return [
            typical("gradient of the first layer / without heads", ratios(*norms), above=1),
            typical("accuracy − that without heads", differences(*found), above=0),
        ]

    return experiment


@claim(section="8.7.5", source="Deep Learning, section 8.7.5; Hochreiter & Schmidhuber 1997", control="length=5")
def gates_carry_further(
    length: Count = 30, hidden: Count = 16, plain_hidden: Count = 32, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """An LSTM, with its linear path through time, learns over spans at which a plain recurrent net of its size fails.

    Sums of two marked values of 30, by 16 units with gates (1233 weights) and by 32 plain ones (1153): the shares of
    nets of which the test loss after 400 steps of Adam is below half that of always answering the mean. A look, after
    which the length was chosen, showed that from orthogonal matrices, whose products neither grow nor shrink, the plain
    net learns, too, in 1000 steps: below its loss from there the LSTM's must be. All at the best of 11 rates, in 45 s.
    The control has sums of 5.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        gated, plain = (
            f"adding_{cell}(length={length}, hidden={units}, sequences=1024)"
            for cell, units in (("lstm", hidden), ("rnn", plain_hidden))
        )
        arms = [(gated, "adam", "default"), (plain, "adam", "default"), (plain, "adam", "orthogonal")]
        found = tuned(lab, dict(enumerate(arms)), seeds, steps=steps)
        ours, usual, orthogonal = (runs.final("test_loss") for runs in found)
        return [
            share("LSTMs that learn", [loss < 0.5 * MEAN for loss in ours], above=0.5),
            share("plain nets that learn", [loss < 0.5 * MEAN for loss in usual], below=0.5),
            typical("loss of the LSTM / of the plain net from orthogonal matrices", ratios(ours, orthogonal), below=1),
        ]

    return experiment


@claim(section="8.7.5", source="Deep Learning, section 8.7.5", control="activation='sigmoid'")
def models_over_algorithms(
    activation: str = "relu", depth: Count = 11, steps: Count = 400, seeds: Count = 15
) -> Experiment:
    """To choose a model that is easy to optimize does more than to choose a powerful algorithm.

    The algorithm of the 1980s, SGD with momentum, on a net of 10 hidden layers of ReLU against the best of Adam, NAdam,
    Muon and Sophia on the same net of sigmoid units; training loss after 400 steps, each at the best of 11 settings.
    With 4 hidden layers it does not hold: the model's loss is 4.5 times that of the best algorithm. The control has
    sigmoid units in both.
    """

    def experiment(lab: Lab) -> Sequence[Observation]:
        easy, hard = (f"{TASKS}:deep_net(activation='{name}', depth={depth})" for name in (activation, "sigmoid"))
        [old] = tuned(lab, {"": (easy, "momentum", "default")}, seeds, steps=steps)
        powerful = tuned(
            lab, {name: (hard, name, "default") for name in ("adam", "nadam", "muon", "sophia")}, seeds, steps=steps
        )
        best = min((runs.final("train_loss") for runs in powerful), key=median)
        return [
            typical(
                "training loss of the model / of the best algorithm", ratios(old.final("train_loss"), best), below=1
            )
        ]

    return experiment
