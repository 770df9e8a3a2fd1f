"""Rules that go by layers: the pieces of θ in their own shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Count, Fraction, NonNegative, Positive, log_range
from suite.optimizers.base import Optimizer, Oracle, State, joined, optimizer, pieces, zeros

if TYPE_CHECKING:
    from torch import Tensor


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """a/b for norms, and 1 where either vanishes: such a piece is moved at the plain rate."""
    return (a / b).where((a > 0) & (b > 0), 1.0)


@optimizer(reference="You, Gitman & Ginsburg 2017", tune={"lr": log_range(1e-2, 1000.0)})
def lars(lr: Positive = 1.0, alpha: Fraction = 0.9, trust: Positive = 0.001, decay: NonNegative = 0.0) -> Optimizer:
    """Layer-wise adaptive rate scaling: momentum whose steps are in proportion to each layer's norm.

    For each piece w with gradient g: c = η‖w‖/(‖g‖ + λ‖w‖), v ← αv + ε c (g + λw), w ← w − v, with
    η as ``trust`` and λ as ``decay``. Where ‖w‖ or the divisor is 0, c = 1.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        _, g = oracle.gradient(theta)
        d = [
            _quotient(trust * w.norm(), u.norm() + decay * w.norm()) * (u + decay * w)
            for w, u in zip(pieces(oracle, theta), pieces(oracle, g), strict=True)
        ]
        v = alpha * state["v"] + lr * joined(d)
        return theta - v, {"v": v}

    return Optimizer(lambda oracle, theta: {"v": zeros(theta)}, step)


@optimizer(reference="You et al. 2020, algorithm 2", tune={"lr": log_range(1e-5, 1.0)})
def lamb(
    lr: Positive = 0.001,
    rho1: Fraction = 0.9,
    rho2: Fraction = 0.999,
    delta: Positive = 1e-6,
    decay: NonNegative = 0.0,
) -> Optimizer:
    """LAMB: Adam's steps in proportion to each layer's norm.

    For each piece w: d = ŝ/(√r̂ + δ) + λw, w ← w − ε ‖w‖/‖d‖ d; λ is ``decay``. Where ‖w‖ or ‖d‖
    is 0 the factor is 1. Some libraries leave out the corrections in ŝ and r̂.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        _, g = oracle.gradient(theta)
        t = state["t"] + 1
        s = rho1 * state["s"] + (1 - rho1) * g
        r = rho2 * state["r"] + (1 - rho2) * (g * g)
        d = s / (1 - rho1**t) / ((r / (1 - rho2**t)).sqrt() + delta) + decay * theta
        scaled = [
            _quotient(w.norm(), u.norm()) * u for w, u in zip(pieces(oracle, theta), pieces(oracle, d), strict=True)
        ]
        return theta - lr * joined(scaled), {"t": t, "s": s, "r": r}

    return Optimizer(lambda oracle, theta: {"t": 0.0, "s": zeros(theta), "r": zeros(theta)}, step)


@optimizer(reference="Jordan et al. 2024", tune={"lr": log_range(1e-5, 1.0)})
def muon(
    lr: Positive = 0.01,
    alpha: Fraction = 0.95,
    rho1: Fraction = 0.9,
    rho2: Fraction = 0.999,
    delta: Positive = 1e-8,
    decay: NonNegative = 0.0,
    iterations: Count = 5,
) -> Optimizer:
    """Muon: momentum made orthogonal by Newton–Schulz, for matrices; AdamW for everything else.

    For a piece W of two or more dimensions, taken as a matrix [m, n] of its first against all
    others: M ← αM + (1 − α)G, the look-ahead N = αM + (1 − α)G, and
    W ← (1 − ελ)W − 0.2 ε √max(m, n) O with O the orthogonal matrix nearest to N, as
    Newton–Schulz finds it in ``iterations`` rounds. The factor 0.2 √max(m, n) gives O the size of
    an Adam step (Liu et al. 2025), so that matrices and vectors can share ε.

    As torch.optim.Muon with adjust_lr_fn="match_rms_adamw", which takes matrices only and
    computes O in bfloat16.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        _, g = oracle.gradient(theta)
        t = state["t"] + 1
        momentum = alpha * state["momentum"] + (1 - alpha) * g
        s = rho1 * state["s"] + (1 - rho1) * g
        r = rho2 * state["r"] + (1 - rho2) * (g * g)
        ahead = alpha * momentum + (1 - alpha) * g
        adam = s / (1 - rho1**t) / ((r / (1 - rho2**t)).sqrt() + delta)
        choices = zip(pieces(oracle, ahead), pieces(oracle, adam), strict=True)
        d = [_rotation(n, iterations) if n.dim() > 1 else a for n, a in choices]
        theta = (1 - lr * decay) * theta - lr * joined(d)
        return theta, {"t": t, "momentum": momentum, "s": s, "r": r}

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"t": 0.0, "momentum": zeros(theta), "s": zeros(theta), "r": zeros(theta)}

    return Optimizer(init, step)


def _rotation(piece: Tensor, iterations: int) -> Tensor:
    """0.2 √max(m, n) times the orthogonal matrix nearest to a piece."""
    matrix = piece.reshape(piece.shape[0], -1)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    x = newton_schulz(wide, iterations)
    x = x if wide is matrix else x.mT
    return (0.2 * max(matrix.shape) ** 0.5) * x.reshape(piece.shape)


def newton_schulz(x: Tensor, iterations: int) -> Tensor:
    """UVᵀ of X = UΣVᵀ [m, n], m <= n, roughly: singular values end between about 0.7 and 1.2.

    X ← aX + (bA + cA²)X with A = XXᵀ, from X/‖X‖. The polynomial is Jordan's, steep at 0, so that
    five rounds do for small singular values too.
    """
    from problems.layers import linear  # x, w -> xwᵀ with bits that do not depend on other lanes

    x = x / x.norm().clamp(min=1e-7)
    for _ in range(iterations):
        a = linear(x, x)
        x = 3.4445 * x + linear(-4.7750 * a + 2.0315 * linear(a, a), x.mT)
    return x
