"""Quadratics and the Gaussian: problems whose every step can be computed by hand."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from problems.bounds import Bound, Count, Natural, OneOf
from problems.data.synthetic import gaussian_points, random_rotation
from problems.layout import Layout, Piece
from problems.problem import Batch, Data, Known, Pieces, Problem, Target, problem
from problems.starts import start

if TYPE_CHECKING:
    from torch import Tensor


def _value(pieces: Pieces, batch: Batch) -> Tensor:
    """½(θ−x)ᵀQ(θ−x) for each x [batch, D]."""
    from problems.layers import linear

    away = pieces["theta"] - batch[0]
    return 0.5 * (away * linear(away, pieces["Q"])).sum(1)


@lru_cache
def _deep_matrix() -> Any:
    """Q = RᵀΛR of the problem below, in float64."""
    import numpy as np

    random = np.random.RandomState(42)
    eigenvalues = np.concatenate([random.uniform(0.0, 1.0, 90), random.uniform(30.0, 60.0, 10)])
    rotation = random_rotation(100, random)
    return rotation.T @ np.diag(eigenvalues) @ rotation


@problem(source="DeepOBS quadratic_deep (Schneider et al. 2019)", embedded=True, compare_steps=400)
def quadratic_deep() -> Problem:
    """A noisy quadratic with the spectrum of a deep net: ½(θ−x)ᵀQ(θ−x) averaged over a batch.

    Of the 100 eigenvalues of Q, 90 are drawn from U(0, 1) and 10 from U(30, 60), and Q = RᵀΛR for
    a random rotation R (``random_rotation``), all from ``RandomState(42)``. The points x are
    1000 draws of N(0, 0.6² I), from ``RandomState(42)`` for training and ``RandomState(43)``
    for test. θ₀ = 1. The largest eigenvalue is 53.12902, the trace 477.61228.

    The minimum is at the mean of the training points: ½ tr(QC) with their covariance C.

    Source: DeepOBS (Schneider, Balles & Hennig 2019), after Chaudhari et al. 2017, Entropy-SGD.
    """
    import torch

    train = gaussian_points(1000, 100, 0.6, seed=42)
    matrix = torch.from_numpy(_deep_matrix())
    points = train.tensors[0].double()
    away = points - points.mean(0)
    least = 0.5 * float((away @ matrix * away).sum(1).mean())
    layout = Layout((Piece("theta", (100,), "other", fill=(1.0,)),))
    return Problem(
        "quadratic_deep",
        layout,
        _value,
        lambda values, batch: values.mean(),
        train,
        test=Data(gaussian_points(1000, 100, 0.6, seed=43).tensors, drop_partial=True),
        fixed={"Q": matrix.float()},
        start=start(layout),
        target=Target("train_loss", 1.01 * least, "lower", "1 % above the exact minimum"),
        minimum=Known(least, points.mean(0), "at the mean of the training points"),
        batch_size=128,
        epochs=100,
    )


Spectrum = Annotated[str, OneOf(("log", "linear", "outliers"))]
AtLeastOne = Annotated[float, Bound(1, open_high=True)]


def eigenvalues(size: int, condition: float, spectrum: str) -> Any:
    """Eigenvalues [size] from 1/condition up to 1, ascending.

    ``log`` spaces them evenly in the logarithm, ``linear`` evenly; ``outliers`` has a tenth of
    them at 1 and the others at 1/condition, as the Hessians of nets.
    """
    import numpy as np

    if spectrum == "outliers":
        return np.where(np.arange(size) < size - max(size // 10, 1), 1 / condition, 1.0)
    if spectrum == "linear":
        return np.linspace(1 / condition, 1.0, size)
    return np.geomspace(1 / condition, 1.0, size)


@problem(source="Deep Learning, section 8.2.1", embedded=True)
def quadratic(
    size: Annotated[int, Bound(2)] = 64,
    condition: AtLeastOne = 1000.0,
    spectrum: Spectrum = "log",
    data_seed: Natural = 0,
) -> Problem:
    """An ill-conditioned quadratic with a chosen spectrum: ½θᵀQθ.

    Q = RᵀΛR for a random rotation R and eigenvalues Λ from 1/condition to 1 (``eigenvalues``).
    θ₀ = Rᵀ1, so that every eigenvector takes an equal part. No noise. The minimum is 0 at 0.

    Source: *Deep Learning*, sections 4.3.1 and 8.2.1.
    """
    import numpy as np
    import torch

    rotation = random_rotation(size, np.random.RandomState(data_seed))
    spread = eigenvalues(size, condition, spectrum)
    begin = tuple(rotation.sum(0).tolist())
    layout = Layout((Piece("theta", (size,), "other", fill=begin),))
    return Problem(
        "quadratic",
        layout,
        _value,
        lambda values, batch: values.mean(),
        Data((torch.zeros(1, size),)),
        fixed={"Q": torch.from_numpy(rotation.T @ np.diag(spread) @ rotation).float()},
        start=start(layout),
        target=Target("train_loss", 1e-3 * 0.5 * float(spread.sum()), "lower", "a thousandth of the loss at the start"),
        minimum=Known(0.0, torch.zeros(size), "a quadratic form with positive eigenvalues"),
        batch_size=1,
        epochs=2000,
    )


@problem(source="Deep Learning, section 8.4", embedded=True)
def gaussian(examples: Count = 1000, data_seed: Natural = 0) -> Problem:
    """Maximum likelihood for a Gaussian with mean μ and precision β: mean of ½(log 2π − log β + β(y − μ)²).

    Data are draws of N(3, 2²). Starts at μ = 0 and β = 1, as the book advises for precisions.
    β is not kept positive: a step too long ends in NaN. The minimum is at the sample mean and
    the inverse of the sample variance s²: ½(log 2πs² + 1).

    Source: *Deep Learning*, section 8.4 (initializing a precision to 1) and section 3.9.3.
    """
    import torch

    points = 3 + gaussian_points(examples, 1, 2.0, data_seed).tensors[0]
    layout = Layout((Piece("mean", (1,), "other"), Piece("precision", (1,), "other", fill=(1.0,))))

    def predict(pieces: Pieces, batch: Batch) -> Tensor:
        away = (batch[0] - pieces["mean"]).square()
        return 0.5 * (math.log(2 * math.pi) - pieces["precision"].log() + pieces["precision"] * away)

    mean, variance = float(points.double().mean()), float(points.double().var(correction=0))
    least = 0.5 * (math.log(2 * math.pi * variance) + 1)
    return Problem(
        "gaussian",
        layout,
        predict,
        lambda values, batch: values.mean(),
        Data((points,)),
        start=start(layout),
        target=Target("train_loss", least + 0.01, "lower", "0.01 above the exact minimum"),
        minimum=Known(least, torch.tensor([mean, 1 / variance], dtype=torch.float64), "sample mean and variance"),
        batch_size=50,
        epochs=50,
    )
