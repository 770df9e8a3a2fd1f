"""An optimizer of torch's kind that fails at its second step."""

from __future__ import annotations

import torch


class Broken(torch.optim.SGD):
    """SGD that gives up."""

    def step(self, closure=None):
        if getattr(self, "taken", 0):
            raise RuntimeError("no such luck")
        self.taken = 1
        return super().step(closure)
