"""How training changes from step to step: the one way in which a problem may depend on the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from problems.names import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

Stream = Callable[[], "Generator"]  # the random stream of a step, anew at each call


@dataclass(frozen=True)
class Course:
    """What training does at step k = 0, 1, 2, …: a function of k and of the run's seed alone.

    It reaches the loss with the step's minibatch, so whoever trains on minibatches follows it, and all
    evaluations of a step see the same. Evaluation over whole splits knows nothing of it.

    Args:
        examples: (k, taken [b], stream) -> the training examples of step k's minibatch in place of those
            that it would have otherwise; both are indices, on the CPU. None leaves them.
        pieces: further pieces for ``predict`` to find in training: name -> (k, stream) -> what it is at step
            k, on the CPU in float32, of the same shape at every step.
        who: the transforms that it is of, for messages.
    """

    examples: Callable[[int, Tensor, Stream], Tensor] | None = None
    pieces: Mapping[str, Callable[[int, Stream], Tensor]] = field(default_factory=dict)
    who: str = ""

    def after(self, inner: Course | None) -> Course:
        """The course of a problem that had one already: the inner one's and this.

        Raises:
            UsageError: both choose the examples.
        """
        if inner is None:
            return self
        if self.examples and inner.examples:
            raise UsageError(f"{self.who}: the examples are chosen by {inner.who} already; leave one of them out")
        pieces = {**inner.pieces, **self.pieces}
        return Course(self.examples or inner.examples, pieces, f"{self.who} and {inner.who}")

    def to(self, device: torch.device, dtype: torch.dtype) -> Course:
        """The same with its pieces on a device, in a floating-point type."""

        def moved(piece: Callable[[int, Stream], Tensor]) -> Callable[[int, Stream], Tensor]:
            return lambda k, stream: piece(k, stream).to(device, dtype)

        return dataclasses.replace(self, pieces={name: moved(piece) for name, piece in self.pieces.items()})


def progress(k: int, steps: int, stages: int) -> float:
    """How far a series of ``stages`` equally long stages over ``steps`` steps is at step k: ⌊k·stages/steps⌋/stages, at
    most 1."""
    return min(k * stages // steps, stages) / stages
