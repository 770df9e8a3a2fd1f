"""Changes to what training minimizes; what evaluation measures stays as it was."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from problems.bounds import Fraction, NonNegative
from problems.names import UsageError
from problems.problem import Batch, Pieces, Problem, problem

if TYPE_CHECKING:
    from torch import Tensor


@problem(section="7.5.1", source="Deep Learning, section 7.5.1; Szegedy et al. 2016")
def label_smoothing(problem: Problem, alpha: Fraction = 0.1) -> Problem:
    """Another problem with soft targets in training: (1 − α) on the label and α/K on each of the K classes.

    The training loss becomes (1 − α)·(−log p_y) + α·mean_c(−log p_c), at best the entropy of the soft
    targets, (1 − α + α/K) log 1/(1 − α + α/K) + (K − 1)(α/K) log(K/α), and no longer at infinite weights.
    Evaluation measures the plain cross-entropy, so that losses with and without can be compared.

    Args:
        alpha: α.

    As torch.nn.functional.cross_entropy's ``label_smoothing``; the book puts ε/(K − 1) on the others only.

    Raises:
        UsageError: the loss is not the softmax cross-entropy of labels.

    Source: *Deep Learning*, section 7.5.1; Szegedy et al. 2016, section 7.
    """
    import torch

    inner = problem
    if not _is_cross_entropy(inner):
        raise UsageError(
            f"label_smoothing: the loss of {inner.name} is not the softmax cross-entropy of labels; "
            "smooth the labels of a classifier before anything else is done to its loss"
        )

    def criterion(outputs: Tensor, batch: Batch) -> Tensor:
        spread = -torch.log_softmax(outputs, -1).mean()
        return (1 - alpha) * inner.criterion(outputs, batch) + alpha * spread

    return dataclasses.replace(
        inner,
        name=f"label_smoothing({inner.name})",
        criterion=criterion,
        evaluated=inner.evaluated or inner,
        minimum=None,
        flow=None,
    )


def _is_cross_entropy(made: Problem) -> bool:
    """Whether the criterion is that of ``layers.cross_entropy``: it is asked about random outputs of the right form."""
    import torch

    from problems.layers import cross_entropy

    batch = made.train.tensors
    labels = batch[-1][:4]
    if len(batch) < 2 or labels.is_floating_point():
        return False
    classes = int(batch[-1].max()) + 1
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(*labels.shape, classes, generator=generator).to(labels.device)
    try:
        found = made.criterion(outputs, tuple(t[:4] for t in batch))
        return bool(torch.isclose(found, cross_entropy(outputs, labels)))
    except (RuntimeError, IndexError):
        return False


@problem(section="7.1.1", source="Deep Learning, section 7.1.1")
def l2(problem: Problem, decay: NonNegative = 1e-4) -> Problem:
    """Another problem with a penalty ½λ‖w‖² on its weights in training, λ = ``decay``; biases and scales are free.

    Evaluation measures the loss without it. Its gradient is that of the ``weight_decay`` strategy, which
    takes in every entry of θ.

    Raises:
        UsageError: the problem has neither weights nor coordinates.

    Source: *Deep Learning*, section 7.1.1, equation 7.2.
    """
    import torch

    inner = problem
    weights = [piece.name for piece in inner.layout if piece.role in ("weight", "other")]
    if not weights:
        raise UsageError(f"l2: {inner.name} has neither weights nor coordinates to keep small; take it without")

    def penalty(pieces: Pieces) -> Tensor:
        total = 0.5 * decay * torch.stack([pieces[name].square().sum() for name in weights]).sum()
        return total if inner.penalty is None else total + inner.penalty(pieces)

    return dataclasses.replace(
        inner,
        name=f"l2({inner.name})",
        penalty=penalty,
        evaluated=inner.evaluated or inner,
        minimum=None,
        flow=None,
    )
