"""Test surfaces of few variables, without data: each with its start, its minimum and its source."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Bound, Count, Positive
from problems.layout import Layout, Piece
from problems.problem import Data, Known, Problem, Target, problem
from problems.starts import start

if TYPE_CHECKING:
    from torch import Tensor


def surface(
    name: str,
    value: Callable[[Tensor], Tensor],
    begin: tuple[float, ...],
    minimum: Known | None = None,
    target: Target | None = None,
    steps: int = 1000,
) -> Problem:
    """A problem of a function θ [D] -> scalar that starts at ``begin``; its data are one empty example."""
    import torch

    layout = Layout((Piece("theta", (len(begin),), "other", fill=begin),))
    return Problem(
        name,
        layout,
        lambda pieces, batch: value(pieces["theta"]),
        lambda outputs, batch: outputs,
        Data((torch.zeros(1, 1),)),
        start=start(layout),
        target=target,
        minimum=minimum,
        batch_size=1,
        epochs=steps,
    )


def _near(least: float, above: float) -> Target:
    return Target("train_loss", least + above, "lower", f"{above:g} above the minimum, which is known")


def _zero(*theta: float) -> Known:
    import torch

    return Known(0.0, torch.tensor(theta), "by inspection: a sum of squares")


@problem(source="Deep Learning, figures 4.6 and 8.5", embedded=True)
def ravine(condition: Positive = 100.0) -> Problem:
    """A long ravine across the axes: ½(u² + κv²) with u along (1, −1), v along (1, 1).

    u = (x₁ − x₂)/√2, v = (x₁ + x₂)/√2; κ = ``condition`` is the condition number (5 in figure
    4.6). Starts at (−20, 10); the minimum is 0 at 0.

    Source: *Deep Learning*, figures 4.6 and 8.5, which give directions but not the start.
    """

    def value(x: Tensor) -> Tensor:
        return 0.25 * ((x[0] - x[1]).square() + condition * (x[0] + x[1]).square())

    return surface("ravine", value, (-20.0, 10.0), _zero(0.0, 0.0), _near(0.0, 1e-3))


@problem(source="Rosenbrock 1960", embedded=True)
def rosenbrock(size: Annotated[int, Bound(2)] = 2, scale: Positive = 0.01) -> Problem:
    """Rosenbrock's banana valley: scale · Σ 100(x_{i+1} − x_i²)² + (1 − x_i)².

    Starts at (−1.2, 1, −1.2, 1, …); the minimum is 0 at (1, …, 1). From four variables on there
    is a local minimum too, near (−1, 1, …, 1).

    Args:
        scale: 1 is the original, whose curvature at the start, about 1500, is out of the reach
            of rates that are usual elsewhere.

    Source: Rosenbrock 1960; start as in Moré, Garbow & Hillstrom 1981, problem 1.
    """

    def value(x: Tensor) -> Tensor:
        return scale * (100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()).sum()

    begin = tuple(-1.2 if i % 2 == 0 else 1.0 for i in range(size))
    return surface("rosenbrock", value, begin, _zero(*[1.0] * size), _near(0.0, 1e-4 * scale), steps=5000)


@problem(source="Deep Learning, section 8.2.3", embedded=True)
def saddle() -> Problem:
    """The classic saddle: x₁² − x₂², without a minimum.

    Starts at (1, 0.001): the way to the saddle point is steep, the way off it begins flat.

    Source: *Deep Learning*, section 8.2.3 and figure 4.5.
    """
    target = Target("train_loss", -1.0, "lower", "well off the saddle point, where the value is 0")
    return surface("saddle", lambda x: x[0].square() - x[1].square(), (1.0, 0.001), target=target, steps=200)


@problem(source="Dauphin et al. 2014", embedded=True)
def monkey_saddle() -> Problem:
    """The monkey saddle: x₁³ − 3x₁x₂², whose Hessian vanishes at the saddle point.

    Starts at (1, 0.01). It has no minimum.

    Source: Dauphin et al. 2014, figure 1; *Deep Learning*, section 8.2.3.
    """
    target = Target("train_loss", -1.0, "lower", "well off the saddle point, where the value is 0")

    def value(x: Tensor) -> Tensor:
        return x[0] * (x[0].square() - 3 * x[1].square())

    return surface("monkey_saddle", value, (1.0, 0.01), target=target)


@problem(source="Pascanu et al. 2013, figure 6", embedded=True)
def cliff(steps: Count = 50) -> Problem:
    """A cliff of a recurrent net: (σ(x_T) − 0.7)² after T steps of x_t = w σ(x_{t−1}) + b from x₀ = 0.5.

    θ = (w, b) starts at (6, −2.95), on the plain beside the cliff. The minimum is 0, along a
    curve that passes through (0, log(0.7/0.3)).

    Source: Pascanu, Mikolov & Bengio 2013, figure 6, of which figure 8.3 of *Deep Learning* is a drawing.
    """
    import torch

    def value(theta: Tensor) -> Tensor:
        x = torch.full_like(theta[0], 0.5)
        for _ in range(steps):
            x = theta[0] * torch.sigmoid(x) + theta[1]
        return (torch.sigmoid(x) - 0.7).square()

    known = Known(0.0, torch.tensor([0.0, math.log(0.7 / 0.3)]), "by inspection: a square")
    return surface("cliff", value, (6.0, -2.95), known, _near(0.0, 1e-3))


@problem(source="Deep Learning, figure 8.4", embedded=True)
def mountain() -> Problem:
    """The wrong side of the mountain: 2/(1 + x²) − x/√(1 + x²), where downhill leads away from low values.

    There is no minimum and no saddle, only a hilltop at x = −1/√15 and two asymptotes: 1 to
    the left, −1 to the right. Starts at x = −1, on the left.

    Source: *Deep Learning*, figure 8.4, with a function made to have its features.
    """

    def value(x: Tensor) -> Tensor:
        r = 1 + x[0].square()
        return 2 / r - x[0] / r.sqrt()

    infimum = Known(-1.0, None, "the asymptote to the right, approached but not reached")
    target = Target("train_loss", 0.0, "lower", "lower than any point on the left")
    return surface("mountain", value, (-1.0,), infimum, target)


@problem(source="Deep Learning, section 8.7.2", embedded=True)
def coupled_pair(alpha: Positive = 0.01) -> Problem:
    """Two variables that pull at each other: (x₁ − x₂)² + α(x₁² + x₂²).

    For small α one variable alone can hardly move, which makes coordinate descent slow;
    Newton's method needs one step. Starts at (1, 1); the minimum is 0 at 0.

    Source: *Deep Learning*, section 8.7.2.
    """

    def value(x: Tensor) -> Tensor:
        return (x[0] - x[1]).square() + alpha * (x[0].square() + x[1].square())

    return surface("coupled_pair", value, (1.0, 1.0), _zero(0.0, 0.0), _near(0.0, 1e-5))


@problem(source="Deep Learning, section 8.7.1", embedded=True)
def scalar_chain(depth: Count = 10, goal: Positive = 2.0) -> Problem:
    """The deep scalar chain: ½(w₁w₂ … w_l − y)² for input 1 and y = ``goal``.

    All weights move at once, so a step's effect has terms of every order up to l. Starts at
    w = 1; a minimum of 0 is at w_i = y^(1/l).

    Source: *Deep Learning*, section 8.7.1 (there ŷ = x w₁ … w_l, any cost of ŷ).
    """

    def value(w: Tensor) -> Tensor:
        product = w[0]
        for i in range(1, depth):
            product = product * w[i]
        return 0.5 * (product - goal).square()

    least = _zero(*[goal ** (1 / depth)] * depth)
    return surface("scalar_chain", value, (1.0,) * depth, least, _near(0.0, 1e-5))
