"""Deep linear nets, whose learning dynamics are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from problems.bounds import Bound, Count, Natural, Positive
from problems.models import mlp
from problems.problem import Batch, Data, Known, Problem, Target, problem

if TYPE_CHECKING:
    from torch import Generator, Tensor

OUTPUTS, INPUTS, EXAMPLES = 8, 16, 64


def mode_strength(strength: float, begin: float, layers: int, time: float) -> float:
    """The strength u(t) of one mode of a deep linear net under gradient flow.

    du/dt = l u^(2 − 2/l) (s − u) from u(0) = ``begin`` towards s = ``strength``, for l layers. With
    one or two layers it has the closed forms::

        l = 1:  u = s − (s − u₀) e^(−t)          l = 2:  u = s e^(2st) / (e^(2st) − 1 + s/u₀)

    and for more it is integrated numerically, to 1e-10.

    Source: Saxe, McClelland & Ganguli 2013, equations 8 and 14-15 (their τ is 1).
    """
    if layers == 1:
        return strength - (strength - begin) * math.exp(-time)
    if layers == 2:
        decayed = math.exp(-2 * strength * time)
        return strength / (1 - decayed + strength / begin * decayed)
    from scipy.integrate import solve_ivp

    def slope(t: float, u: Any) -> Any:
        return layers * abs(u) ** (2 - 2 / layers) * (strength - u)

    return float(solve_ivp(slope, (0, time), [begin], rtol=1e-10, atol=1e-12).y[0, -1]) if time else begin


def _orthonormal(rows: int, columns: int, random: Any) -> Any:
    """A matrix [rows, columns] with orthonormal columns."""
    import numpy as np

    return np.linalg.qr(random.normal(size=(rows, columns)))[0]


@problem(source="Saxe et al. 2013", embedded=True)
def linear_net(
    depth: Count = 2,
    hidden: Annotated[int, Bound(4)] = 8,
    begin: Annotated[float, Bound(0, 1, open_low=True, open_high=True)] = 0.01,
    strongest: Positive = 4.0,
    data_seed: Natural = 0,
) -> Problem:
    """A deep linear net that learns four modes one after the other: mean of ½‖y − W_l … W₁x‖².

    64 inputs of 16 dimensions, whitened (XᵀX/n = I), and y = Mx for a map M into 8 dimensions with
    singular values 4, 3, 2, 1 (times strongest/4). The start is aligned: W_l … W₁ has the
    singular vectors of M, each mode with strength u₀ = ``begin``, spread equally over the layers, in
    randomly rotated hidden spaces. So each mode follows ``mode_strength``, and the loss is
    ½ Σ (s − u(t))² for gradient flow (``Problem.flow``). The minimum is 0.

    Args:
        depth: the number l of weight matrices.
        hidden: the width of every hidden layer.

    Source: Saxe, McClelland & Ganguli 2013, section 1; *Deep Learning*, section 8.2.2.
    """
    import numpy as np
    import torch

    random = np.random.RandomState(data_seed)
    x = math.sqrt(EXAMPLES) * _orthonormal(EXAMPLES, INPUTS, random)
    left, right = _orthonormal(OUTPUTS, 4, random), _orthonormal(INPUTS, 4, random)
    strengths = [strongest * share for share in (1.0, 0.75, 0.5, 0.25)]
    y = x @ (left * strengths @ right.T).T
    model = mlp((INPUTS, *[hidden] * (depth - 1), OUTPUTS), activation=None, bias=None)

    def start(generator: Generator) -> Tensor:
        spaces = [torch.from_numpy(right)]
        for _ in range(depth - 1):
            drawn = torch.randn(hidden, 4, generator=generator, dtype=torch.float64)
            spaces.append(torch.linalg.qr(drawn).Q)
        spaces.append(torch.from_numpy(left))
        each = begin ** (1 / depth)
        weights = [each * after @ before.T for before, after in pairwise(spaces)]
        return torch.cat([weight.flatten() for weight in weights]).float()

    def flow(time: float) -> float:
        return 0.5 * sum((s - mode_strength(s, begin, depth, time)) ** 2 for s in strengths)

    def half_squared_error(outputs: Tensor, batch: Batch) -> Tensor:
        return 0.5 * (outputs - batch[1]).square().sum(1).mean()

    return Problem(
        "linear_net",
        model.layout,
        lambda pieces, batch, *between: model.apply(pieces, batch[0], *between),
        half_squared_error,
        Data((torch.from_numpy(x).float(), torch.from_numpy(y).float())),
        hidden=model.hidden,
        activation=model.activation,
        units=model.units,
        start=start,
        target=Target("train_loss", 1e-3 * flow(0.0), "lower", "a thousandth of the loss at the start"),
        minimum=Known(0.0, None, "the map is within reach of the net"),
        flow=flow,
        batch_size=EXAMPLES,
        epochs=500,
    )
