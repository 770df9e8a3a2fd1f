"""Normalization of what goes through a net."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from problems.bounds import Positive
from problems.layout import Layout, Piece
from problems.models import Bend, Between, untouched
from problems.problem import Batch, Data, Pieces, Problem, problem
from problems.transforms._layers import begun, changed, need, need_new

if TYPE_CHECKING:
    from torch import Tensor

CHUNK, CHUNKS = 1000, 10  # the population is known by at most 10 batches of at most 1000 training examples


@problem(section="8.7.1", equations="8.35-8.37", source="Deep Learning, section 8.7.1; Ioffe & Szegedy 2015")
def batch_norm(problem: Problem, delta: Positive = 1e-5) -> Problem:
    """Another problem with batch normalization between each hidden layer and its nonlinearity.

    The sums H [batch, units] of a layer become γ (H − μ)/√(δ + σ²) + β with the mean μ and the
    variance σ² = mean (H − μ)² of each unit; of each channel over batch and positions after a
    convolution, over batch and steps of Wx in a recurrent layer, whose Uh stays as it is (Laurent et al. 2016,
    Amodei et al. 2016). γ starts at 1, β at 0, that of an LSTM's forget gate where its bias would. The layer's own
    bias, which the mean would take away again, is dropped. Weights start as in the given problem.

    In training μ and σ² are those of the minibatch, and gradients go through them; so a minibatch's
    loss is not a mean over losses of single examples. In evaluation they are the population's at the
    current θ, for training loss and test loss alike: means of μ and m/(m−1) σ² over minibatches of
    the training split (up to ten of m ≤ 1000 examples each, always the same).

    What hooks see of a layer's sums is what the nonlinearity gets, γ and β included.

    Args:
        delta: δ; the book suggests 1e-8, PyTorch takes 1e-5.

    As torch.nn.BatchNorm1d and BatchNorm2d in training. In evaluation those take running averages over
    past minibatches, at past θ; here it depends on θ alone, as in Ioffe & Szegedy's algorithm 2.

    Raises:
        UsageError: the problem does not tell its hidden layers; they are normalized already.

    Source: *Deep Learning*, section 8.7.1; Ioffe & Szegedy 2015; Laurent et al. 2016 (recurrent layers).
    """
    inner = problem
    need("batch_norm", inner, inner.hidden, "to normalize")
    need_new("batch_norm", inner, [f"{layer}.gamma" for layer in inner.hidden], "is normalized")
    layout = _normalized(inner)

    def predict(pieces: Pieces, batch: Batch, between: Between = untouched, *bend: Bend) -> Tensor:
        return inner.predict(pieces, batch, lambda name, x: between(name, _normalize(name, x, pieces, delta)), *bend)

    def prepare(pieces: Pieces, train: Data) -> Pieces:
        chunks = [_collect(inner, pieces, batch, delta) for batch in _chunks(train)]
        return {name: sum(chunk[name] for chunk in chunks) / len(chunks) for name in chunks[0]}  # type: ignore[misc]

    return changed(
        inner,
        partial(batch_norm, delta=delta),
        name=f"batch_norm({inner.name})",
        layout=layout,
        predict=predict,
        prepare=prepare,
        start=begun(inner, layout),
    )


def _normalized(inner: Problem) -> Layout:
    """The layout with γ and β behind the weight of each hidden layer, and without its bias."""
    weights = {inner.layout.weight_of(layer).name: layer for layer in inner.hidden}
    biases = {f"{layer}.bias" for layer in inner.hidden}
    pieces: list[Piece] = []
    for piece in inner.layout:
        if piece.name not in biases:
            pieces.append(piece)
        if layer := weights.get(piece.name):
            units = piece.shape[:1]
            pieces.append(Piece(f"{layer}.gamma", units, "scale", fill=(1.0,)))
            pieces.append(Piece(f"{layer}.beta", units, "bias", fill=_begin(inner.layout.of(layer))))
    return Layout(tuple(pieces))


def _begin(layer: list[Piece]) -> tuple[float, ...]:
    """Where β starts: the gates of a recurrent layer as their biases would, others at 0."""
    gates = any(piece.recurrent for piece in layer)
    return next((piece.fill for piece in layer if gates and piece.role == "bias"), (0.0,))


def _rows(x: Tensor) -> Tensor:
    """Sums [batch, units] as they are, those of a convolution [batch, units, h, w] as [batch·h·w, units].

    Both are then summed over rows alike, whatever lies where, which keeps a lane's bits its own.
    """
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _normalize(name: str, x: Tensor, pieces: Pieces, delta: float) -> Tensor:
    """γ (x − μ)/√(δ + σ²) + β, by the population's μ and σ² if they are among the pieces."""
    mean, variance = pieces.get(f"{name}.mean"), pieces.get(f"{name}.variance")
    rows = _rows(x)
    if mean is None or variance is None:
        mean, variance = _moments(rows)
    scale = pieces[f"{name}.gamma"] * (variance + delta).rsqrt()
    changed = (rows - mean) * scale + pieces[f"{name}.beta"]
    return changed.unflatten(0, (len(x), *x.shape[2:])).movedim(-1, 1)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    mean = rows.mean(0)
    return mean, (rows - mean).square().mean(0)


def _chunks(train: Data) -> list[Batch]:
    """Minibatches of training examples from all over the split, which may lie in the order of their classes."""
    count = min(-(-len(train) // CHUNK), CHUNKS)
    apart = -(-len(train) // (CHUNK * CHUNKS))  # places from one example that is looked at to the next
    return [tuple(t[i * apart :: count * apart] for t in train.tensors) for i in range(count)]


def _collect(inner: Problem, pieces: Pieces, batch: Batch, delta: float) -> dict[str, Tensor]:
    """Means and variances of every hidden layer's sums over one batch."""
    found: dict[str, Tensor] = {}

    def between(name: str, x: Tensor) -> Tensor:
        rows = _rows(x)
        mean, variance = _moments(rows)
        found[f"{name}.mean"] = mean
        found[f"{name}.variance"] = variance * (len(rows) / max(len(rows) - 1, 1))
        return _normalize(name, x, pieces, delta)

    inner.outputs(pieces, batch, between)
    return found
