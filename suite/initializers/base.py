"""What an initializer is: (problem, generator) -> θ₀ [D], on the CPU in float32; and what a rule for biases is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from problems import starts
from problems.names import NotApplicable
from problems.problem import MADE_OF, Problem
from problems.registry import Registry
from problems.starts import Draw

if TYPE_CHECKING:
    from torch import Generator, Tensor

Initializer = Callable[[Problem, "Generator"], "Tensor"]
Bias = Callable[[Problem, Mapping[str, "Tensor"]], None]  # changes the pieces of θ₀ that it concerns in place

initializer: Registry[Initializer] = Registry(
    "initializer",
    "suite.initializers",
    groups={"book": lambda entry: "section" in entry.meta},
    beside=MADE_OF,
)
bias: Registry[Bias] = Registry("bias", "suite.initializers.biases", plural="biases")


def weights(draw: Draw) -> Initializer:
    """An initializer that draws every weight and sets every bias by its own rule.

    Args:
        draw: fills a weight tensor in place, given its piece (shape, fan-in, fan-out).

    Weights are drawn in the layout's order from one generator. A bias gets the value that
    its layer asks for (0, the forget gate's 1, a ReLU layer's 0.05), whatever draws the weights.

    Raises:
        NotApplicable: θ has no weights, as the coordinates of a test surface.
    """

    def start(problem: Problem, generator: Generator) -> Tensor:
        if not any(piece.role == "weight" for piece in problem.layout):
            raise NotApplicable(f"{problem.name} has no weights to draw, only a start of its own; take default")
        return starts.start(problem.layout, draw)(generator)

    return start
