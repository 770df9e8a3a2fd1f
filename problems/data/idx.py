"""The IDX format of the MNIST family: a magic number, the dimensions, then unsigned bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from problems.data.folders import contents, damaged

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = {3: 0x803, 1: 0x801}  # unsigned bytes, by the number of dimensions


def read(path: Path, dimensions: int) -> Tensor:
    """The array of an IDX file, compressed or not, as uint8.

    Raises:
        DataDamaged: wrong magic number, or more or fewer bytes than the dimensions say.
    """
    import numpy as np
    import torch

    raw = contents(path)
    head = 4 + 4 * dimensions
    if len(raw) < head:
        raise damaged(path, f"has {len(raw)} bytes, too few for an IDX header of {head}")
    magic, *shape = struct.unpack(f">{1 + dimensions}i", raw[:head])
    if magic != MAGIC[dimensions]:
        raise damaged(path, f"magic number must be {MAGIC[dimensions]} ({dimensions} dimensions), got {magic}")
    expected = head + int(np.prod(shape, dtype=np.int64))
    if min(shape) < 1 or len(raw) != expected:
        raise damaged(path, f"must have {expected} bytes for shape {tuple(shape)}, has {len(raw)}")
    # bytearray: torch warns of memory that cannot be written to
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=head).view(*shape)


def read_pair(images: Path, labels: Path, classes: int, side: int = 28) -> tuple[Tensor, Tensor]:
    """Images [n, 1, side, side] as pixels/255 and their labels [n] in 0 … classes − 1.

    Raises:
        DataDamaged: sizes disagree, or a label is out of range.
    """
    x, y = read(images, 3), read(labels, 1)
    if x.shape[1:] != (side, side):
        raise damaged(images, f"images must be {side} × {side}, are {x.shape[1]} × {x.shape[2]}")
    if len(x) != len(y):
        raise damaged(labels, f"has {len(y)} labels for {len(x)} images")
    if int(y.max()) >= classes:
        raise damaged(labels, f"labels must be in 0 … {classes - 1}, found {int(y.max())}")
    return x.unsqueeze(1).float().div_(255), y.long()
