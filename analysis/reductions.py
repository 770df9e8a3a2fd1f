"""How the loss of a batch is made of its examples', so that the whole is the same whatever the chunks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

SAME = 1e-4  # how far two evaluations of one number may be apart, relatively
ROUNDING = 4  # and by how many units in the last place, which are more in half precision

Batch = Any  # a tree of tensors whose first axis counts examples


def lengths(tree: Batch) -> set[int]:
    """The lengths of a tree's tensors."""
    return {len(t) for t in tree_leaves(tree) if isinstance(t, Tensor) and t.dim()}


def part(tree: Batch, start: int, stop: int) -> Batch:
    """Some of the examples of a tree."""
    return tree_map(lambda t: t[start:stop] if isinstance(t, Tensor) and t.dim() else t, tree)


def divisible(function: Callable[[Batch], Any], tree: Batch, reduction: str) -> tuple[float, float] | None:
    """The value of a function of examples, and the mean or sum of its values on two parts, where these differ.

    None where they do not but for rounding, or where it cannot be tried.
    """
    found = lengths(tree)
    if len(found) != 1 or (count := found.pop()) < 2:
        return None
    cut = count // 2
    with torch.no_grad():
        values = [function(tree)]
        try:
            values += [function(part(tree, 0, cut)), function(part(tree, cut, count))]
        except Exception:  # what takes batches of one size alone; each model raises in its own way
            return None
    same = max(SAME, *(ROUNDING * _epsilon(t) for t in (*values, *tree_leaves(tree))))
    whole, *halves = map(float, values)
    shares = (1.0, 1.0) if reduction == "sum" else (cut / count, 1 - cut / count)
    together = sum(share * half for share, half in zip(shares, halves, strict=True))
    largest = max(abs(whole), *(abs(share * half) for share, half in zip(shares, halves, strict=True)))
    return None if not math.isfinite(whole) or abs(together - whole) <= same * largest else (whole, together)


def _epsilon(value: Any) -> float:
    """How coarse a tensor's numbers are; 0 of anything else."""
    known = isinstance(value, Tensor) and value.dtype.is_floating_point
    return float(torch.finfo(value.dtype).eps) if known else 0.0


class Summed:
    """A criterion that divides by something, as the sum that it divides.

    Where classes have weights or targets are ignored, means over chunks do not make up the mean over all:
    each divides by what counts in its own targets.

    Args:
        criterion: a module with a ``reduction``.
    """

    def __init__(self, criterion: nn.Module) -> None:
        self.mean, self.sum = criterion, copy.copy(criterion)
        setattr(self.sum, "reduction", "sum")  # noqa: B010  # torch types a module's attributes as tensors and modules

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """Σᵢ ℓᵢ."""
        found: Tensor = self.sum(outputs, targets)
        return found

    def divisor(self, outputs: Any, targets: Any) -> float:
        """What the mean divides by; that depends on the targets and the shape of the outputs."""
        flat = tree_map(lambda t: torch.full_like(t, 0.5) if torch.is_floating_point(t) else t, outputs)
        total, mean = float(self.sum(flat, targets)), float(self.mean(flat, targets))
        return total / mean if math.isfinite(mean) and mean else 0.0

    def divisors(self, pairs: Iterable[tuple[Any, Any]]) -> list[float] | None:
        """Those of batches of outputs and targets; None where sums or divisors of parts do not add up."""
        found = []
        for i, pair in enumerate(pairs):
            if i == 0 and not (self._adds_up(self, pair) and self._adds_up(self.divisor, pair)):
                return None
            found.append(self.divisor(*pair))
        return found if sum(found) > 0 else None

    @staticmethod
    def _adds_up(function: Callable[[Any, Any], Any], pair: tuple[Any, Any]) -> bool:
        try:
            return divisible(lambda some: function(*some), pair, "sum") is None
        except Exception:  # a module of one's own that does not sum, or not over parts: each raises in its own way
            return False


def summed(criterion: Any) -> Summed | None:
    """A criterion as a sum, where it is a module that says that it divides; else None."""
    how = getattr(criterion, "reduction", None)
    return Summed(criterion) if isinstance(criterion, nn.Module) and how not in (None, "sum", "none") else None


def unpaired(batch: Batch) -> str | None:
    """What a batch is if it is no pair of inputs and targets."""
    if isinstance(batch, (tuple, list)):
        return None if len(batch) == 2 else f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"
