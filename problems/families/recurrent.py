"""Recurrent nets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from problems.bounds import Bound, Count, Natural, Real
from problems.data import mnist_family, synthetic, text
from problems.data.splits import Splits, held_out, sequences_of_rows
from problems.layout import Piece
from problems.models import character_model, classifier, recurrent_net, regressor
from problems.names import UsageError
from problems.problem import Batch, Metric, Problem, Target, problem
from problems.starts import glorot_uniform, lecun_uniform, start

if TYPE_CHECKING:
    from torch import Generator, Tensor

Length = Annotated[int, Bound(4)]
CLOSE = 0.04  # Hochreiter & Schmidhuber's criterion of a sequence processed correctly


def _share_correct(outputs: Tensor, batch: Batch) -> Tensor:
    return ((outputs - batch[1]).abs() < CLOSE).to(outputs.dtype).mean()


def _adding(
    name: str, length: int, shortest: int | None, sequences: int, data_seed: int, target: Target | None, **cell: Any
) -> Problem:
    if shortest is not None and shortest > length:
        raise UsageError(f"{name}: shortest must be at most length, {length}, got {shortest}")
    model = recurrent_net(2, outputs=1, **cell)
    return regressor(
        name,
        model,
        synthetic.adding(length, sequences, data_seed, shortest),
        metrics={"accuracy": Metric(_share_correct, "higher")},
        start=start(model.layout, lecun_uniform),
        target=target,
        batch_size=32,
        epochs=10,
    )


@problem(source="Hochreiter & Schmidhuber 1997, section 5.4", embedded=True)
def adding_lstm(
    length: Length = 20,
    hidden: Count = 32,
    forget_bias: Real = 1.0,
    sequences: Count = 8192,
    data_seed: Natural = 0,
    shortest: Length | None = None,
) -> Problem:
    """An LSTM that adds the two marked values of a sequence: long-term dependencies without noise.

    Sequences of ``length`` pairs (value, mark) as ``problems.data.synthetic.adding`` makes them; one
    LSTM layer and a linear output; mean squared error. ``accuracy`` is the share of sequences
    with an absolute error below 0.04, the source's criterion. Starts at weights U(−1/√m, 1/√m),
    biases 0, the forget gate's at ``forget_bias``.

    Always answering the mean, 0.5, gives a loss of about 1/24 = 0.0417.

    Args:
        sequences: for training; a quarter of that for validation and for test.
        shortest: lengths are drawn from ``shortest`` … ``length``, as for a curriculum over length; None for one.

    Source: Hochreiter & Schmidhuber 1997, section 5.4, with sequences of one length; *Deep
    Learning*, section 10.10.1 for the forget gate.
    """
    target = Target("valid_accuracy", 0.9, "higher", "reached by Adam at rate 0.003 in 2 epochs")
    return _adding(
        "adding_lstm", length, shortest, sequences, data_seed, target, hidden=hidden, forget_bias=forget_bias
    )


@problem(source="Hochreiter & Schmidhuber 1997; Bengio et al. 1994", embedded=True)
def adding_rnn(
    length: Length = 20,
    hidden: Count = 32,
    sequences: Count = 8192,
    data_seed: Natural = 0,
    shortest: Length | None = None,
) -> Problem:
    """``adding_lstm`` with a plain recurrent layer, h ← tanh(Wx + Uh + b), whose gradients vanish or explode.

    Args:
        length, hidden, sequences, shortest: as for ``adding_lstm``.

    Source: Hochreiter & Schmidhuber 1997, section 5.4; Bengio, Simard & Frasconi 1994; *Deep
    Learning*, section 8.2.5.
    """
    target = Target("valid_loss", 0.02, "lower", "half the loss of the mean; reached by Adam at rate 0.001 in 4 epochs")
    return _adding("adding_rnn", length, shortest, sequences, data_seed, target, hidden=hidden, cell="rnn")


def _copying(
    name: str,
    symbols: int,
    delay: int,
    sequences: int,
    data_seed: int,
    value: float,
    origin: str,
    **cell: Any,
) -> Problem:
    letters = 8
    model = recurrent_net(letters + 2, outputs=letters + 2, every_step=True, **cell)

    def recalled(outputs: Tensor, batch: Batch) -> Tensor:
        right = outputs[:, -symbols:].argmax(-1) == batch[1][:, -symbols:]
        return right.to(outputs.dtype).mean((0, 1))

    return classifier(
        name,
        model,
        synthetic.copying(symbols, delay, letters, sequences, data_seed),
        metrics={"accuracy": Metric(recalled, "higher")},
        start=start(model.layout, lecun_uniform),
        target=Target("valid_accuracy", value, "higher", origin),
        batch_size=32,
        epochs=10,
    )


@problem(source="Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016", embedded=True)
def copy_lstm(
    symbols: Count = 5,
    delay: Count = 10,
    hidden: Count = 32,
    forget_bias: Real = 1.0,
    sequences: Count = 4096,
    data_seed: Natural = 0,
) -> Problem:
    """An LSTM that repeats what it read ``delay`` steps ago: a test of memory.

    Sequences as ``problems.data.synthetic.copying`` makes them, of 8 letters; softmax cross-entropy,
    a mean over all steps. ``accuracy`` is the share of the ``symbols`` last letters that are
    right. Starts as ``adding_lstm``. Without memory the loss is at best
    symbols · log 8/(delay + 2·symbols).

    Source: Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016, section 5.1 (there with 10
    symbols and delays from 100 on).
    """
    origin = "twice as good as guessing among eight letters; reached by Adam at rate 0.003 in 10 epochs"
    net = {"hidden": hidden, "forget_bias": forget_bias}
    return _copying("copy_lstm", symbols, delay, sequences, data_seed, 0.25, origin, **net)


@problem(source="Arjovsky et al. 2016", embedded=True)
def copy_rnn(
    symbols: Count = 5, delay: Count = 10, hidden: Count = 32, sequences: Count = 4096, data_seed: Natural = 0
) -> Problem:
    """``copy_lstm`` with a plain recurrent layer.

    Args:
        symbols, delay, hidden, sequences: as for ``copy_lstm``.

    Source: Arjovsky, Shah & Bengio 2016, section 5.1; *Deep Learning*, section 8.2.5.
    """
    origin = "better than guessing, 0.125; reached by Adam at rate 0.003 in 3 epochs, then lost again"
    return _copying("copy_rnn", symbols, delay, sequences, data_seed, 0.15, origin, hidden=hidden, cell="rnn")


def _mnist_sequences(
    name: str, data: Splits, hidden: int, valid: int, value: float, origin: str, **cell: Any
) -> Problem:
    model = recurrent_net(data.train.tensors[0].shape[2], hidden, 10, **cell)
    measure = "valid_accuracy" if valid else "test_accuracy"
    return classifier(
        name,
        model,
        held_out(data, valid, name),
        start=start(model.layout, lecun_uniform),
        target=Target(measure, value, "higher", origin),
        batch_size=128,
        epochs=10,
    )


@problem(source="Le, Jaitly & Hinton 2015", data="mnist")
def mnist_rows_lstm(hidden: Count = 64, forget_bias: Real = 1.0, valid: Natural = 0) -> Problem:
    """An LSTM that reads MNIST row by row: 28 steps of 28 pixels.

    Softmax cross-entropy of a linear layer on the last state; pixels/255. Starts as ``adding_lstm``.

    Args:
        valid: the last so many of the 60000 training images become a validation split.

    Source: after Le, Jaitly & Hinton 2015, section 4.2, who read pixel by pixel.
    """
    data = sequences_of_rows(mnist_family.load("mnist"), 28)
    origin = "reached by Adam at rate 0.003 in 1 epoch"
    return _mnist_sequences("mnist_rows_lstm", data, hidden, valid, 0.95, origin, forget_bias=forget_bias)


@problem(source="Le, Jaitly & Hinton 2015", data="mnist")
def mnist_rows_rnn(hidden: Count = 64, valid: Natural = 0) -> Problem:
    """``mnist_rows_lstm`` with a plain recurrent layer.

    Args:
        hidden, valid: as for ``mnist_rows_lstm``.

    Source: after Le, Jaitly & Hinton 2015, section 4.2; *Deep Learning*, section 8.2.5.
    """
    data = sequences_of_rows(mnist_family.load("mnist"), 28)
    origin = "reached by Adam at rate 0.001 in 3 epochs"
    return _mnist_sequences("mnist_rows_rnn", data, hidden, valid, 0.9, origin, cell="rnn")


@problem(source="Le, Jaitly & Hinton 2015", data="mnist")
def mnist_pixels_lstm(hidden: Count = 64, forget_bias: Real = 1.0, every: Count = 1, valid: Natural = 0) -> Problem:
    """An LSTM that reads MNIST pixel by pixel: 784 steps.

    As ``mnist_rows_lstm``; a step costs about thirty of its steps.

    Args:
        every: read only every so many-th pixel, for shorter sequences.
        valid: the last so many of the 60000 training images become a validation split.

    Source: Le, Jaitly & Hinton 2015, section 4.2 (there with 100 units).
    """
    data = sequences_of_rows(mnist_family.load("mnist"), 1, every)
    origin = "a round number; no training here was long enough to check it"
    return _mnist_sequences("mnist_pixels_lstm", data, hidden, valid, 0.9, origin, forget_bias=forget_bias)


def glorot_by_layer(weight: Tensor, piece: Piece, generator: Generator) -> None:
    """Glorot uniform, which is U(−1/√m, 1/√m) for the gates of an LSTM taken as one layer from 2m to 4m units."""
    draw = lecun_uniform if piece.name.startswith("lstm") else glorot_uniform
    draw(weight, piece, generator)


def characters(name: str, cut: tuple[Splits, int], target: Target | None, **net: Any) -> Problem:
    """A character language model on sequences of so many symbols."""
    data, symbols = cut
    model = character_model(symbols, **net)
    return classifier(
        name, model, data, start=start(model.layout, glorot_by_layer), target=target, batch_size=50, epochs=20
    )


@problem(source="DeepOBS char-RNN (Schneider et al. 2019); Karpathy 2015", data="shakespeare")
def shakespeare_lstm(
    length: Count = 50,
    embedding: Count = 128,
    hidden: Count = 128,
    depth: Count = 2,
    forget_bias: Real = 1.0,
    carry: bool = True,
) -> Problem:
    """A character language model on tiny Shakespeare: embedding 128, two LSTM layers of 128.

    Softmax cross-entropy of the next character, a mean over all 50 steps of a sequence; ``accuracy``
    is the share of characters predicted. Starts at Glorot uniform weights, U(−1/√m, 1/√m) in the LSTM
    layers (the same for four gates taken as one layer), biases 0, the forget gate's at ``forget_bias``.

    The state is carried: a minibatch of 50 reads on at 50 places of the text, each sequence beginning
    with the state in which the one before ended, and with 0 at the beginning of an epoch. Gradients
    do not go back beyond the sequence. Evaluation carries the state in the same way.

    Without what the source has beside: dropout (a fifth of each layer's inputs and outputs), the text
    of *War and Peace*, 200 epochs, and random starts of the output's biases. There the state is carried and
    set to 0 likewise (at each change between training and evaluation).

    Args:
        length: characters in a sequence.
        depth: LSTM layers.
        carry: False begins every sequence with zero state, and draws them in any order.

    Source: DeepOBS's tolstoi_char_rnn (Schneider, Balles & Hennig 2019) in architecture, start and
    batches; text of Karpathy 2015.
    """
    target = Target("valid_loss", 1.8, "lower", "2.6 bits a character; reached by Adam at rate 0.003 in 2 epochs")
    net = {"embedding": embedding, "hidden": hidden, "depth": depth, "forget_bias": forget_bias, "carry": carry}
    return characters("shakespeare_lstm", text.sequences(str(text.shakespeare()), length), target, **net)


@problem(source="the user's file; DeepOBS char-RNN (Schneider et al. 2019)")
def text_lstm(
    file: str,
    length: Count = 50,
    embedding: Count = 128,
    hidden: Count = 128,
    depth: Count = 2,
    forget_bias: Real = 1.0,
    carry: bool = True,
) -> Problem:
    """``shakespeare_lstm`` on any text file.

    Args:
        file: UTF-8 text, maybe in .gz or .xz; a path as given or below SUITE_DATA.
        length, embedding, hidden, depth, forget_bias, carry: as for ``shakespeare_lstm``.

    Source: the file; DeepOBS's tolstoi_char_rnn (Schneider, Balles & Hennig 2019) in architecture.
    """
    net = {"embedding": embedding, "hidden": hidden, "depth": depth, "forget_bias": forget_bias, "carry": carry}
    return characters("text_lstm", text.sequences(file, length), None, **net)
