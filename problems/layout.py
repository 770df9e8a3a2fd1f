"""How the flat parameter vector θ is made of named pieces."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from problems.names import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["weight", "bias", "scale", "precision", "other"]


@dataclass(frozen=True)
class Piece:
    """One named part of θ.

    Args:
        role: a ``weight`` is drawn by an initializer, a ``bias`` is set by its own rule, a ``scale`` is a
            factor (γ of a normalization), a ``precision`` the logarithm of one, and ``other`` (the
            coordinates of a test surface) starts where the problem says.
        fan_in, fan_out: the numbers of inputs to and outputs of one unit; a convolution
            kernel counts its receptive field. Weights must have them.
        fill: the value of a bias; several values fill equal parts (the gates of an LSTM).
        recurrent: a weight that takes a layer's state to its next one.
    """

    name: str
    shape: tuple[int, ...]
    role: Role = "weight"
    fan_in: int = 0
    fan_out: int = 0
    fill: tuple[float, ...] = (0.0,)
    recurrent: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def gates(self) -> int:
        """How many matrices a weight stacks along its first axis: the gates of a recurrent layer, else 1."""
        return self.shape[0] * math.prod(self.shape[2:]) // self.fan_out if self.role == "weight" else 1


def dense(name: str, inputs: int, outputs: int, bias: float | None = 0.0) -> list[Piece]:
    """The pieces of a fully connected layer: weight [outputs, inputs] and bias [outputs]."""
    pieces = [Piece(f"{name}.weight", (outputs, inputs), "weight", inputs, outputs)]
    if bias is not None:
        pieces.append(Piece(f"{name}.bias", (outputs,), "bias", fill=(bias,)))
    return pieces


def conv(name: str, inputs: int, outputs: int, side: int, bias: float | None = 0.0) -> list[Piece]:
    """The pieces of a square 2-D convolution: kernel [outputs, inputs, side, side] and bias [outputs]."""
    area = side * side
    pieces = [Piece(f"{name}.weight", (outputs, inputs, side, side), "weight", inputs * area, outputs * area)]
    if bias is not None:
        pieces.append(Piece(f"{name}.bias", (outputs,), "bias", fill=(bias,)))
    return pieces


def recurrent(name: str, inputs: int, hidden: int, gates: Sequence[float]) -> list[Piece]:
    """The pieces of a recurrent layer with stacked gates; ``gates`` are their biases.

    ``input`` is [gates*hidden, inputs], ``hidden`` is [gates*hidden, hidden]. Each gate is a
    layer of ``hidden`` units of its own, so fan_out counts one gate.
    """
    rows = len(gates) * hidden
    return [
        Piece(f"{name}.input", (rows, inputs), "weight", inputs, hidden),
        Piece(f"{name}.hidden", (rows, hidden), "weight", hidden, hidden, recurrent=True),
        Piece(f"{name}.bias", (rows,), "bias", fill=tuple(gates)),
    ]


@dataclass(frozen=True)
class Layout(Sequence[Piece]):
    """The pieces of θ in order; piece i occupies ``offset(i) : offset(i) + size``."""

    pieces: tuple[Piece, ...]

    def __post_init__(self) -> None:
        names = [piece.name for piece in self.pieces]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise UsageError(f"layout: the name {min(twice)!r} is used for two pieces")

    @cached_property
    def size(self) -> int:
        """D, the number of parameters."""
        return sum(piece.size for piece in self.pieces)

    @cached_property
    def spans(self) -> Mapping[str, tuple[int, int]]:
        """name -> (first index, last index + 1) in θ."""
        spans, at = {}, 0
        for piece in self.pieces:
            spans[piece.name] = (at, at + piece.size)
            at += piece.size
        return spans

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # Sequence's overloads, as a tuple has them
        return self.pieces[index]

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def named(self, name: str) -> Piece:
        """The piece of a name; unknown names get did-you-mean."""
        for piece in self.pieces:
            if piece.name == name:
                return piece
        near = difflib.get_close_matches(name, [p.name for p in self.pieces], n=1)
        hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(p.name for p in self.pieces)
        raise UsageError(f"layout: no piece {name!r}; {hint}")

    def of(self, layer: str) -> list[Piece]:
        """The pieces of a layer: those named as it up to their last dot."""
        return [piece for piece in self.pieces if piece.name.rpartition(".")[0] == layer]

    def weight_of(self, layer: str) -> Piece:
        """The weight W of a layer's sums Wx + b; not the one by which a recurrent layer's state goes on."""
        return next(piece for piece in self.of(layer) if piece.role == "weight" and not piece.recurrent)

    def branches(self) -> list[list[str]]:
        """The layers with weights of each residual branch, in order: those whose names begin as that of its factor."""
        weights = [piece.name.rpartition(".")[0] for piece in self.pieces if piece.role == "weight"]
        scales = [piece.name for piece in self.pieces if piece.role == "scale"]
        blocks = [name.removesuffix("scale") for name in scales if name.endswith(".scale")]
        return [[layer for layer in weights if layer.startswith(block)] for block in blocks]

    def split(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of θ [..., D], one a piece, of shape [..., *piece.shape]; nothing is copied."""
        if theta.shape[-1] != self.size:
            raise ValueError(f"layout: theta must end in {self.size} numbers, got shape {tuple(theta.shape)}")
        return {
            piece.name: theta[..., start:stop].view((*theta.shape[:-1], *piece.shape))
            for piece, (start, stop) in zip(self.pieces, self.spans.values(), strict=True)
        }

    def join(self, pieces: Mapping[str, Tensor]) -> Tensor:
        """The inverse of :meth:`split`, as a new tensor."""
        import torch

        ordered = [pieces[piece.name] for piece in self.pieces]
        lead = ordered[0].shape[: ordered[0].dim() - len(self.pieces[0].shape)]
        return torch.cat([tensor.reshape(*lead, -1) for tensor in ordered], dim=-1)
