"""What a person would write without the suite: plain PyTorch loops over the same problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from problems.problem import Problem


def module_of(problem: Problem) -> nn.Module:
    """A hand-written ``nn.Module`` of a standard problem's architecture."""
    shapes = {piece.name: piece.shape for piece in problem.layout}
    if any(len(shape) == 4 for shape in shapes.values()):
        return nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Linear(1024, 10),
        )  # fmt: skip
    weights = [shape for shape in shapes.values() if len(shape) == 2]
    layers: list[nn.Module] = []
    for outputs, inputs in weights:
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def hand_loop(
    problem: Problem, make: Callable[[Any], torch.optim.Optimizer], batch: int, steps: int
) -> Callable[[], None]:
    """``steps`` steps of the usual loop: minibatches indexed from tensors, ``nn.Module``, ``torch.optim``."""
    x, y = problem.train.tensors
    model = module_of(problem).to(x.device)
    optimizer = make(model.parameters())
    loss: Callable[[Tensor, Tensor], Tensor] = (
        nn.functional.mse_loss if y.is_floating_point() else nn.functional.cross_entropy
    )

    def run() -> None:
        for _ in range(steps):
            index = torch.randint(len(x), (batch,), device=x.device)
            optimizer.zero_grad()
            loss(model(x[index]), y[index]).backward()
            optimizer.step()

    return run
