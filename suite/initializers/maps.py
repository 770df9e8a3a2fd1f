"""Linear maps from the activations of one layer to those of another: decoders, and regressors on a teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from problems.layout import Piece, conv, dense
from problems.problem import Pieces

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Map:
    """A linear map from activations [batch, *given] to [batch, *wanted].

    Between images [channels, h, w] it is a convolution behind a resizing to the nearest pixel, which undoes what
    strides and poolings did; between sequences [time, features] of one length a dense layer at each step;
    otherwise a dense layer between all entries.

    Args:
        side: of the convolution, made odd so that it keeps the size.
    """

    name: str
    given: Shape
    wanted: Shape
    side: int = 1

    @property
    def _images(self) -> bool:
        return len(self.given) == len(self.wanted) == 3

    @property
    def _steps(self) -> bool:
        return len(self.given) == len(self.wanted) == 2 and self.given[0] == self.wanted[0]

    @property
    def pieces(self) -> list[Piece]:
        if self._images:
            return conv(self.name, self.given[0], self.wanted[0], self.side | 1)
        if self._steps:
            return dense(self.name, self.given[1], self.wanted[1])
        return dense(self.name, prod(self.given), prod(self.wanted))

    def __call__(self, pieces: Pieces, y: Tensor) -> Tensor:
        from torch.nn.functional import interpolate

        from problems.layers import conv2d, linear

        weight, bias = pieces[f"{self.name}.weight"], pieces[f"{self.name}.bias"]
        if self._images:
            resized = y if self.given[1:] == self.wanted[1:] else interpolate(y, size=self.wanted[1:])
            return conv2d(resized, weight, bias, padding=self.side // 2)
        rows = y.flatten(0, 1) if self._steps else y.flatten(1)
        return linear(rows, weight, bias).view(len(y), *self.wanted)
