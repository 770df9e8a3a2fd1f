"""A value that is reduced where the loss no longer falls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Plateau:
    """The value of each lane, times a factor whenever its loss has not improved for a while.

    Args:
        value, factor, threshold, end: as ``suite.schedules.reduce_on_plateau`` has them, or tensors [lanes] of such.
        patience, every, cooldown: the same of all lanes.
    """

    def __init__(
        self, value: Any, factor: Any, patience: int, threshold: Any, every: int, cooldown: int, end: Any
    ) -> None:
        self.value, self.factor, self.threshold, self.end = value, factor, threshold, end
        self.patience, self.every, self.cooldown = patience, every, cooldown
        self.losses = 0  # heard since the last mean
        self.lanes: dict[str, Tensor] = {}  # what each lane stands at: empty before the first loss

    def __call__(self, step: int) -> float | Tensor:
        now: float | Tensor = self.lanes.get("now", self.value)
        return now

    def hear(self, losses: Tensor) -> None:
        """Take in the losses [lanes] of a step's minibatches."""
        losses = losses.detach().to(getattr(self.value, "device", losses.device), torch.float64)
        if not self.lanes:
            begin = {"now": self.value, "total": 0.0, "best": torch.inf, "bad": 0.0, "cooling": 0.0}
            self.lanes = {name: torch.zeros_like(losses) + value for name, value in begin.items()}
        self.lanes["total"] = self.lanes["total"] + losses
        self.losses = (self.losses + 1) % self.every
        if not self.losses:
            self._judge(self.lanes["total"] / self.every, **self.lanes)

    def _judge(self, mean: Tensor, now: Tensor, total: Tensor, best: Tensor, bad: Tensor, cooling: Tensor) -> None:
        """As ``ReduceLROnPlateau.step(mean)``, of all lanes."""
        better = mean < best * (1 - self.threshold)
        bad = torch.where(better | (cooling > 0), 0.0, bad + 1)
        over = bad > self.patience
        lower = torch.maximum(now * self.factor, torch.zeros_like(now) + self.end * self.value)
        self.lanes = {
            "now": torch.where(over, lower, now),
            "total": torch.zeros_like(total),
            "best": torch.where(better, mean, best),
            "bad": torch.where(over, 0.0, bad),
            "cooling": torch.where(over, float(self.cooldown), (cooling - 1).clamp(min=0)),
        }

    def follow(self, other: Plateau, lanes: Sequence[int]) -> None:
        """Go on where some lanes of another stand."""
        self.losses, self.lanes = other.losses, {name: own[list(lanes)] for name, own in other.lanes.items()}
