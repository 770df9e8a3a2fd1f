"""The points that an optimizer visits, in float64: on a problem, and where the gradients are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def visited(problem: str, optimizer: str, steps: int, seed: int = 0, initializer: str = "default") -> Tensor:
    """θ₀, θ₁, … [steps + 1, D] on the full batch."""
    import torch

    from suite.curvature import Training, points

    training = Training(problem, optimizer, initializer, seed, batch_size=0, dtype="float64")
    return torch.stack([theta for _, theta in points(training, range(steps + 1), training.made())])


def gradients(problem: str, where: Tensor) -> Tensor:
    """The gradient of the training loss at each of the points [n, D]."""
    import torch

    from suite.curvature import Seen, Training

    made = Training(problem, dtype="float64").made()
    return torch.stack([Seen().objective(made, theta).gradient() for theta in where])


def losses(problem: str, where: Tensor) -> list[float]:
    """The training loss at each of the points [n, D]."""
    from suite.curvature import Seen, Training

    made = Training(problem, dtype="float64").made()
    return [Seen().objective(made, theta).value() for theta in where]


def answers(optimizer: str, given: Tensor) -> Tensor:
    """The steps [n, D] that an optimizer answers to a sequence of gradients [n, D].

    The k-th minibatch has the loss gₖᵀθ, whose gradient is gₖ wherever θ is.
    """
    import torch

    from problems.layout import Layout, Piece
    from problems.problem import Data, Problem
    from problems.starts import start
    from suite.curvature import Training, points

    layout = Layout((Piece("theta", (given.shape[1],), "other", fill=(0.0,) * given.shape[1]),))
    made = Problem(
        "gradients",
        layout,
        lambda pieces, batch: batch[0] @ pieces["theta"],
        lambda values, batch: values.mean(),
        Data((given.double(),)),
        start=start(layout),
        batch_size=1,
    )
    training = Training(made.name, optimizer, batch_size=1, order="sequential", dtype="float64")
    return torch.stack([theta for _, theta in points(training, range(len(given) + 1), made)]).diff(dim=0)


def eigen(problem: str, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues [D] of the training loss's Hessian at θ, ascending, and its eigenvectors in columns [D, D]."""
    import torch

    from analysis.operators import hessian
    from suite.curvature import Seen, Training

    made = Training(problem, dtype="float64").made()
    values, vectors = torch.linalg.eigh(hessian(Seen().objective(made, theta)).dense())
    return values, vectors
