"""Convex problems with one layer: what an optimizer must be able to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from problems.bounds import Count, Natural, NonNegative, Positive
from problems.data import builtin, mnist_family, synthetic, tables
from problems.data.splits import Splits, flattened, held_out
from problems.layout import Layout, Piece, dense
from problems.models import classifier, mlp, regressor
from problems.problem import Batch, Data, Known, Pieces, Problem, Target, problem
from problems.starts import lecun_uniform, start

if TYPE_CHECKING:
    from torch import Tensor


def least_squares(train: Data) -> tuple[float, Tensor]:
    """The least mean squared error of y ≈ xwᵀ + b over a split, and its (w, b) in one vector; in float64."""
    import torch

    x, y = (t.double() for t in train.tensors)
    with_one = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    # gelsd (an SVD) also where columns depend on each other
    solution = torch.linalg.lstsq(with_one, y, driver="gelsd").solution
    return float((with_one @ solution - y).square().mean()), solution[:, 0]


@problem(source="synthetic; Deep Learning, section 5.1.4", embedded=True, compare_steps=400)
def linear_regression(features: Count = 20, noise: NonNegative = 0.5, data_seed: Natural = 0) -> Problem:
    """Linear regression with Gaussian inputs and a closed-form optimum: mean of (wᵀx + b − y)².

    x [features] and the coefficients of y = w*ᵀx + b* + noise·ε are standard normal, as is ε; 1000
    training, 250 validation and 250 test examples. Starts at w ~ U(−1/√m, 1/√m), b = 0.

    The minimum is the least-squares solution; its loss is near noise².

    Source: *Deep Learning*, section 5.1.4; the data are synthetic.
    """
    data = synthetic.regression(features, noise, data_seed)
    model = mlp((features, 1))
    least, theta = least_squares(data.train)
    return regressor(
        "linear_regression",
        model,
        data,
        start=start(model.layout, lecun_uniform),
        target=Target("train_loss", 1.05 * least + 1e-6, "lower", "5 % above the least-squares minimum"),
        minimum=Known(least, theta, "least squares in closed form"),
        batch_size=16,
        epochs=20,
    )


@problem(source="synthetic; Deep Learning, section 8.4", embedded=True)
def gaussian_regression(features: Count = 20, noise: Positive = 0.5, data_seed: Natural = 0) -> Problem:
    """Linear regression that learns its precision β too: mean of −log N(y | wᵀx + b, 1/β).

    = mean of ½(β (wᵀx + b − y)² − log β + log 2π) on the data of ``linear_regression``. θ holds w, b and
    log β, which starts at 0. Outputs are (wᵀx + b, log β). The minimum has the least-squares w and b,
    and 1/β equal to their mean squared error.

    Source: *Deep Learning*, sections 5.5.1, 6.2.2.1 and 8.4; the data are synthetic.
    """
    import torch

    from problems.layers import linear

    data = synthetic.regression(features, noise, data_seed)
    layout = Layout((*dense("layer1", features, 1), Piece("log_precision", (1,), "precision")))

    def predict(pieces: Pieces, batch: Batch) -> Tensor:
        mean = linear(batch[0], pieces["layer1.weight"], pieces["layer1.bias"])
        return torch.cat([mean, pieces["log_precision"].expand_as(mean)], 1)

    def criterion(outputs: Tensor, batch: Batch) -> Tensor:
        squared = (outputs[:, :1] - batch[1]).square()
        return 0.5 * (outputs[:, 1:].exp() * squared - outputs[:, 1:] + math.log(2 * math.pi)).mean()

    least, theta = least_squares(data.train)
    best = 0.5 * (1 + math.log(2 * math.pi * least))
    return Problem(
        "gaussian_regression",
        layout,
        predict,
        criterion,
        *data,
        start=start(layout, lecun_uniform),
        target=Target("train_loss", best + 0.05, "lower", "0.05 nats above the minimum"),
        minimum=Known(best, torch.cat([theta, theta.new_tensor([-math.log(least)])]), "least squares in closed form"),
        batch_size=16,
        epochs=20,
    )


def logistic(name: str, data: Splits, decay: float, target: Target | None, epochs: int) -> Problem:
    """Softmax regression from zero, with ½·decay·‖W‖² in the loss: convex, strictly so for decay > 0."""
    features = data.train.tensors[0].shape[1]
    classes = 1 + max(int(part.tensors[1].max()) for part in data if part is not None)
    model = mlp((features, classes))

    def penalty(pieces: Pieces) -> Tensor:
        return 0.5 * decay * pieces["layer1.weight"].square().sum()

    return classifier(
        name,
        model,
        data,
        penalty=penalty if decay else None,
        start=start(model.layout),
        target=target,
        batch_size=min(32, len(data.train)),
        epochs=epochs,
    )


@problem(source="Deep Learning, section 6.2.2.3; UCI digits", data="digits", embedded=True)
def digits_logistic(decay: NonNegative = 0.0) -> Problem:
    """Softmax regression on scikit-learn's 8 × 8 digits: convex.

    Cross-entropy + ½·decay·‖W‖² (biases free). Starts at 0, where the cross-entropy is log 10.

    Source: *Deep Learning*, section 6.2.2.3; data of Alpaydin & Kaynak 1998.
    """
    target = Target("valid_accuracy", 0.93, "higher", "reached by SGD at rate 0.1 in 9 to 11 epochs")
    return logistic("digits_logistic", builtin.digits(), decay, target, epochs=20)


@problem(source="DeepOBS mnist_logreg (Schneider et al. 2019)", data="mnist", aliases=("mnist_logreg",))
def mnist_logistic(decay: NonNegative = 0.0, valid: Natural = 0) -> Problem:
    """Softmax regression on MNIST: convex.

    Cross-entropy + ½·decay·‖W‖² (biases free), pixels/255. Starts at 0, where the
    cross-entropy is log 10. The source takes batches of 128 for 50 epochs, here they are of 32 for 10.

    Args:
        valid: the last so many of the 60000 training images become a validation split.

    Source: DeepOBS (Schneider, Balles & Hennig 2019), with 0 for its decay as there.
    """
    data = flattened(held_out(mnist_family.load("mnist"), valid, "mnist_logistic"))
    measure = "valid_accuracy" if valid else "test_accuracy"
    target = Target(measure, 0.915, "higher", "reached by SGD at rate 0.3 in 2 epochs")
    return logistic("mnist_logistic", data, decay, target, epochs=10)


@problem(source="the user's file")
def table_logistic(file: str, target: str = "", decay: NonNegative = 0.0, data_seed: Natural = 0) -> Problem:
    """Softmax regression on a table of the user's: CSV, LIBSVM or NPZ.

    Cross-entropy + ½·decay·‖W‖² (biases free) of standardized inputs; the distinct values of the
    target are the classes. Starts at 0. 70 % of the rows for training, 15 % each for validation and test.

    Args:
        file: a path, as given or below SUITE_DATA (``problems.data.tables.read`` has the formats).
        target: the column of a CSV file that holds the class, a number or a word; the last by default.

    Source: the file; *Deep Learning*, section 6.2.2.3.
    """
    return logistic("table_logistic", tables.split(file, target, classes=True, seed=data_seed), decay, None, epochs=20)
