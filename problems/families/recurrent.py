"""Recurrent nets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from problems.bounds import Bound, Count, Natural, Real
from problems.data import synthetic
from problems.models import lstm, regressor
from problems.problem import Batch, Metric, Problem, Target, problem
from problems.starts import lecun_uniform, start

if TYPE_CHECKING:
    from torch import Tensor

Length = Annotated[int, Bound(4)]
CLOSE = 0.04  # Hochreiter & Schmidhuber's criterion of a sequence processed correctly


def _share_correct(outputs: Tensor, batch: Batch) -> Tensor:
    return ((outputs - batch[1]).abs() < CLOSE).to(outputs.dtype).mean()


@problem(source="Hochreiter & Schmidhuber 1997, section 5.4", embedded=True)
def adding_lstm(
    length: Length = 20, hidden: Count = 32, forget_bias: Real = 1.0, sequences: Count = 8192, data_seed: Natural = 0
) -> Problem:
    """An LSTM that adds the two marked values of a sequence: long-term dependencies without noise.

    Sequences of ``length`` pairs (value, mark) as ``problems.data.synthetic.adding`` makes them; one
    LSTM layer and a linear output; mean squared error. ``accuracy`` is the share of sequences
    with an absolute error below 0.04, the source's criterion. Starts at weights U(−1/√m, 1/√m),
    biases 0, the forget gate's at ``forget_bias``.

    Always answering the mean, 0.5, gives a loss of about 1/24 = 0.0417.

    Args:
        sequences: for training; a quarter of that for validation and for test.

    Source: Hochreiter & Schmidhuber 1997, section 5.4, with sequences of one length; *Deep
    Learning*, section 10.10.1 for the forget gate.
    """
    model = lstm(2, hidden, 1, forget_bias)
    return regressor(
        "adding_lstm",
        model,
        synthetic.adding(length, sequences, data_seed),
        metrics={"accuracy": Metric(_share_correct, "higher")},
        start=start(model.layout, lecun_uniform),
        target=Target("valid_accuracy", 0.9, "higher", "reached by Adam at rate 0.003 in 2 epochs"),
        batch_size=32,
        epochs=10,
    )
