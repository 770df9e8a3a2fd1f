"""Regression on real tables."""

from __future__ import annotations

from problems.bounds import Natural, Widths
from problems.data import housing, tables
from problems.data.splits import Splits
from problems.models import mlp, regressor
from problems.problem import Problem, Target, problem
from problems.starts import he_normal, start


def _perceptron(name: str, data: Splits, hidden: tuple[int, ...], target: Target | None) -> Problem:
    model = mlp((data.train.tensors[0].shape[1], *hidden, 1))
    return regressor(
        name,
        model,
        data,
        start=start(model.layout, he_normal),
        target=target,
        batch_size=min(64, len(data.train)),
        epochs=20,
    )


@problem(source="Pace & Barry 1997", data="california")
def california_mlp(hidden: Widths = (64, 32), data_seed: Natural = 0) -> Problem:
    """A perceptron with ReLU layers that predicts house values in California: 13-64-32-1 by default.

    Mean squared error of the standardized value, so that 1 is the error of the mean. Starts at
    weights N(0, 2/m), biases 0.

    Args:
        hidden: widths of the hidden layers; () is linear regression.

    Source: data of Pace & Barry 1997; *Deep Learning*, chapter 6; start of He et al. 2015.
    """
    target = Target("valid_loss", 0.3, "lower", "70 % of the variance; reached by Adam at rate 0.003 in 1 epoch")
    return _perceptron("california_mlp", housing.load(data_seed), hidden, target)


@problem(source="the user's file")
def table_mlp(file: str, target: str = "", hidden: Widths = (64, 32), data_seed: Natural = 0) -> Problem:
    """A perceptron with ReLU layers for regression on a table of the user's: CSV, LIBSVM or NPZ.

    Mean squared error of the standardized target. Inputs are standardized; 70 % of the rows for
    training, 15 % each for validation and test. Starts at weights N(0, 2/m), biases 0.

    Args:
        file: a path, as given or below SUITE_DATA (``problems.data.tables.read`` has the formats).
        target: the column of a CSV file to predict; the last by default.
        hidden: widths of the hidden layers; () is linear regression.

    Source: the file; *Deep Learning*, chapter 6; start of He et al. 2015.
    """
    return _perceptron("table_mlp", tables.split(file, target, classes=False, seed=data_seed), hidden, None)
