"""Newton's method (algorithm 8.8) and its relatives for saddles and for many parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Count, Fraction, Natural, NonNegative, OneOf, Positive, log_range
from suite.optimizers.base import Needs, Optimizer, Oracle, State, among, dot, optimizer, repeat, zeros
from suite.optimizers.line_search import armijo

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = 1e-4  # share of the largest |eigenvalue| that the least one is raised to
_FULL = Needs(full_batch=True)
_DENSE = Needs(full_batch=True, matrices=8)  # the Hessian, its products as they come, and factors or eigenvectors


def _grown(values: Tensor, alpha: Tensor | float) -> Tensor:
    values = values + alpha
    return values + (FLOOR * values.abs().max() - values.min()).clamp(min=0)


def _folded(values: Tensor, alpha: Tensor | float) -> Tensor:
    return values.abs() + alpha


ALPHA = log_range(1e-6, 100.0)


def matrix(count: int) -> float:
    """About how many gradients a step is worth that makes the whole Hessian of so many parameters, column by column."""
    return 1.0 + count


@optimizer(section="8.6.1", algorithm="8.8", slow=True, tune={"alpha": ALPHA})
def newton(lr: Positive = 1.0, alpha: NonNegative = 0.0, grow: bool = False) -> Optimizer:
    """Newton's method: θ ← θ − ε(H + αI)⁻¹g with H the Hessian at θ (equations 8.27 and 8.28).

    Args:
        lr: ε; 1 is the book's step.
        alpha: regularization; with 0 a saddle attracts like a minimum.
        grow: raise α to the least value at which the least eigenvalue of H + αI is 1e-4 of the
            largest |eigenvalue|, so that every step descends.

    Where H + αI is singular its pseudo-inverse takes its place: directions without
    curvature are left alone. The whole matrix is needed: D products with H a step. Full batch.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        from suite.optimizers._dense import solved

        _, g = oracle.gradient(theta)
        return theta - lr * solved(oracle.hessian(theta), g, alpha, _grown if grow else None), state

    return Optimizer(lambda oracle, theta: {}, step, needs=_DENSE)


@optimizer(section="8.6.1", reference="Dauphin et al. 2014", slow=True, tune={"alpha": log_range(1e-6, 100.0)})
def saddle_free_newton(lr: Positive = 1.0, alpha: NonNegative = 1e-3, krylov: Natural = 0) -> Optimizer:
    """Saddle-free Newton: θ ← θ − ε(|H| + αI)⁻¹g, with |H| = Q|Λ|Qᵀ for H = QΛQᵀ.

    Directions of negative curvature are followed downhill, where Newton's method climbs.

    Args:
        krylov: 0 for the whole Hessian; k for its restriction to the Krylov space of g, Hg, …,
            H^(k−1)g (k products a step), in which θ then moves.

    Dauphin et al. add the last step to the Krylov space and choose α anew at each step. Full batch.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        from suite.optimizers._dense import solved

        _, g = oracle.gradient(theta)
        if krylov:
            basis, matrix = krylov_space(oracle, theta, g, min(krylov, len(theta)))
            return theta - lr * dot(basis.mT, solved(matrix, dot(basis, g), alpha, _folded)), state
        return theta - lr * solved(oracle.hessian(theta), g, alpha, _folded), state

    return Optimizer(lambda oracle, theta: {}, step, needs=_FULL if krylov else _DENSE)


def krylov_space(oracle: Oracle, theta: Tensor, g: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """An orthonormal basis V [k, D] of span(g, Hg, …, H^(k−1)g) and VHVᵀ [k, k].

    Lanczos with full reorthogonalization, twice; where the space is exhausted, rows are 0.
    """
    import torch

    rows = [_unit(g, g.norm())]
    products = []
    for j in range(k):
        products.append(oracle.hvp(theta, rows[j]))
        if j == k - 1:
            break
        basis, w = torch.stack(rows), products[j]
        for _ in range(2):
            w = w - dot(basis.mT, dot(basis, w))
        rows.append(_unit(w, products[j].norm()))
    basis = torch.stack(rows)
    return basis, torch.stack([dot(basis, product) for product in products])


def _unit(w: Tensor, scale: Tensor) -> Tensor:
    """w/‖w‖, or 0 where w is but rounding beside ``scale``."""
    size = w.norm()
    return (w / size).where(size > 1e-10 * scale, 0.0)


@optimizer(section="8.6.2", reference="Martens 2010", slow=True, tune={"damping": log_range(1e-4, 100.0)})
def hessian_free(
    damping: Positive = 1.0,
    rounds: Count = 50,
    decay: Fraction = 0.95,
    tolerance: Positive = 5e-4,
    matrix: Annotated[str, OneOf(("ggn", "hessian"))] = "ggn",
) -> Optimizer:
    """Hessian-free optimization: θ ← θ + ap with (B + λI)p = −g solved by conjugate gradients.

    λ, at first ``damping``, becomes 3λ/2 where the loss falls by less than 1/4 of what the
    quadratic model said, and 2λ/3 where it falls by more than 3/4. Conjugate gradients start at
    ``decay`` times the last p and end after ``rounds`` products, at a direction of negative
    curvature, or when the model's relative progress per round over the last max(10, i/10)
    rounds is below ``tolerance``. a is found by backtracking. Where p is no descent, −g takes its place.

    B is the generalized Gauss–Newton matrix, as Martens takes it, which has no negative
    curvature where the criterion is convex in the outputs; or the Hessian. Full batch.
    """

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"damping": damping, "p": zeros(theta)}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        value, g = oracle.gradient(theta)
        trust = state["damping"]
        start = decay * state["p"]
        p, residual = _solve(oracle, matrix, theta, -g, trust, start, rounds, tolerance)
        descends = dot(g, p) < 0
        direction = torch.where(descends, p, -g)
        taken = armijo(oracle, theta, value, g, direction, torch.ones_like(value))
        a = taken.length
        bent = dot(p, -g - residual) - trust * dot(p, p)
        model = a * dot(g, p) + a * a / 2 * bent
        ratio = torch.where(descends & taken.found & (model < 0), (taken.value - value) / model, 0.0)
        trust = torch.where(ratio < 0.25, trust * 1.5, torch.where(ratio > 0.75, trust / 1.5, trust))
        moved = torch.where(a > 0, theta + a * direction, theta)
        return moved, {"damping": trust.clamp(1e-20, 1e20), "p": torch.where(descends, p, 0.0)}

    return Optimizer(init, step, needs=replace(_FULL, searches=True))


def _solve(
    oracle: Oracle,
    matrix: str,
    theta: Tensor,
    b: Tensor,
    trust: float | Tensor,
    x: Tensor,
    rounds: int,
    tolerance: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """(B + λI)x = b by conjugate gradients: x, and b − (B + λI)x."""
    import torch

    def product(oracle: Oracle, v: Tensor) -> Tensor:
        return oracle.ggn(theta, v) if matrix == "ggn" else oracle.hvp(theta, v)

    r = b - product(oracle, x) - trust * x
    least = (torch.finfo(b.dtype).eps * b.norm()).square()
    numbers = torch.arange(rounds, device=b.device)

    def go_on(state: State, active: Tensor) -> tuple[State, Tensor]:
        x, r, d, models, i = state
        ad = product(among(oracle, active), d) + trust * d
        bent = dot(d, ad)
        active = active & (bent > 0)
        a = torch.where(active, dot(r, r) / bent, 0.0)
        x, after = x + a * d, r - a * ad
        d = torch.where(active, after + dot(after, after) / dot(r, r) * d, d)
        r = torch.where(active, after, r)
        model = -0.5 * dot(x, b + r)  # ½xᵀAx − bᵀx
        models = torch.where(numbers == i, model, models)
        back = (i // 10).clamp(min=10)
        active = active & (dot(r, r) > least)
        progress = (model - torch.where(numbers == i - back, models, 0.0).sum()) / model
        active = active & ~((i >= back) & (model < 0) & (progress < back * tolerance))
        return (x, r, d, models, i + 1), active

    start = (x, r, r, b.new_zeros(rounds), torch.zeros((), dtype=torch.int64, device=b.device))
    x, r, *_ = repeat(go_on, start, dot(r, r) > least, rounds)
    return x, r
