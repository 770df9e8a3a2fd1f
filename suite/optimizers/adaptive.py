"""Relatives of Adam: rates from running moments of the gradient. Written for lanes; torch.optim has most, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Fraction, NonNegative, Positive, log_range
from suite.optimizers.base import Optimizer, State, first_order, optimizer, zeros

if TYPE_CHECKING:
    from torch import Tensor

_RATE = {"lr": log_range(1e-5, 1.0)}


def _moments(theta: Tensor) -> State:
    return {"t": 0.0, "s": zeros(theta), "r": zeros(theta)}


@optimizer(reference="Loshchilov & Hutter 2019", tune=_RATE)
def adamw(
    lr: Positive = 0.001,
    rho1: Fraction = 0.9,
    rho2: Fraction = 0.999,
    delta: Positive = 1e-8,
    decay: NonNegative = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay: θ ← (1 − ελ)θ − ε ŝ/(√r̂ + δ).

    s, r and their corrections as in ``adam``; λ is ``decay``. As torch.optim.AdamW.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        t = state["t"] + 1
        s = rho1 * state["s"] + (1 - rho1) * g
        r = rho2 * state["r"] + (1 - rho2) * (g * g)
        rate = lr / (1 - rho1**t)
        shrunk = (1 - lr * decay) * theta
        return shrunk - rate * s / ((r / (1 - rho2**t)).sqrt() + delta), {"t": t, "s": s, "r": r}

    return first_order(_moments, update)


@optimizer(reference="Dozat 2016", tune=_RATE)
def nadam(
    lr: Positive = 0.002,
    rho1: Fraction = 0.9,
    rho2: Fraction = 0.999,
    delta: Positive = 1e-8,
    psi: NonNegative = 0.004,
) -> Optimizer:
    """Adam with Nesterov momentum: the step uses the first moment as it will be after the next update.

    μₜ = ρ₁(1 − ½·0.96^(tψ)), Πₜ = μ₁⋯μₜ, and
    θ ← θ − ε [ (1 − μₜ)/(1 − Πₜ) g + μₜ₊₁/(1 − Πₜ₊₁) s ] / (√r̂ + δ). As torch.optim.NAdam.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        t = state["t"] + 1
        mu, following = (rho1 * (1 - 0.5 * 0.96 ** (k * psi)) for k in (t, t + 1))
        product = state["product"] * mu
        s = rho1 * state["s"] + (1 - rho1) * g
        r = rho2 * state["r"] + (1 - rho2) * (g * g)
        ahead = (1 - mu) / (1 - product) * g + following / (1 - product * following) * s
        step = lr * ahead / ((r / (1 - rho2**t)).sqrt() + delta)
        return theta - step, {"t": t, "s": s, "r": r, "product": product}

    return first_order(lambda theta: {**_moments(theta), "product": 1.0}, update)


@optimizer(reference="Liu et al. 2020", tune=_RATE)
def radam(lr: Positive = 0.001, rho1: Fraction = 0.9, rho2: Fraction = 0.999, delta: Positive = 1e-8) -> Optimizer:
    """Rectified Adam: adaptive only once the variance of the adaptive rate is bounded.

    With n∞ = 2/(1 − ρ₂) − 1 and nₜ = n∞ − 2tρ₂ᵗ/(1 − ρ₂ᵗ): where nₜ > 5,
    θ ← θ − ε c ŝ/(√r̂ + δ′) with c² = (nₜ−4)(nₜ−2)n∞ / ((n∞−4)(n∞−2)nₜ); before that
    θ ← θ − ε ŝ. As torch.optim.RAdam, whose δ stands beside √r, not √r̂: δ′ = δ/√(1 − ρ₂ᵗ); the paper
    asks for nₜ > 4 and has no δ.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        t = state["t"] + 1
        s = rho1 * state["s"] + (1 - rho1) * g
        r = rho2 * state["r"] + (1 - rho2) * (g * g)
        most = 2 / (1 - rho2) - 1
        n = torch.as_tensor(most - 2 * t * rho2**t / (1 - rho2**t), dtype=torch.float64)
        square = (n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n) * (1 - rho2**t)
        ready = n > 5
        rectified = torch.where(ready, square, 1.0).sqrt()
        divisor = torch.where(ready, r.sqrt() + delta, 1.0)
        return theta - lr / (1 - rho1**t) * rectified * s / divisor, {"t": t, "s": s, "r": r}

    return first_order(_moments, update)


@optimizer(reference="Kingma & Ba 2015, section 7.1", tune=_RATE)
def adamax(lr: Positive = 0.002, rho1: Fraction = 0.9, rho2: Fraction = 0.999, delta: Positive = 1e-8) -> Optimizer:
    """Adam with the infinity norm: u ← max(ρ₂u, |g| + δ), θ ← θ − ε ŝ/u. As torch.optim.Adamax."""

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        t = state["t"] + 1
        s = rho1 * state["s"] + (1 - rho1) * g
        u = (rho2 * state["u"]).maximum(g.abs() + delta)
        return theta - lr / (1 - rho1**t) * s / u, {"t": t, "s": s, "u": u}

    return first_order(lambda theta: {"t": 0.0, "s": zeros(theta), "u": zeros(theta)}, update)


@optimizer(reference="Zeiler 2012", tune={"lr": log_range(1e-3, 100.0)})
def adadelta(lr: Positive = 1.0, rho: Fraction = 0.9, delta: Positive = 1e-6) -> Optimizer:
    """Adadelta: steps in the units of θ, d = √(a + δ)/√(r + δ) ⊙ g, θ ← θ − εd.

    r ← ρr + (1 − ρ) g⊙g before the step, a ← ρa + (1 − ρ) d⊙d after it. The paper has ε = 1.
    As torch.optim.Adadelta.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        r = rho * state["r"] + (1 - rho) * (g * g)
        d = (state["a"] + delta).sqrt() / (r + delta).sqrt() * g
        a = rho * state["a"] + (1 - rho) * (d * d)
        return theta - lr * d, {"r": r, "a": a}

    return first_order(lambda theta: {"r": zeros(theta), "a": zeros(theta)}, update)


@optimizer(reference="Xie et al. 2022, algorithm 1", tune=_RATE)
def adan(
    lr: Positive = 0.001,
    rho1: Fraction = 0.98,
    rho2: Fraction = 0.92,
    rho3: Fraction = 0.99,
    delta: Positive = 1e-8,
    decay: NonNegative = 0.0,
) -> Optimizer:
    """Adaptive Nesterov momentum from differences of gradients d = gₜ − gₜ₋₁ (0 at the first step).

    s ← ρ₁s + (1 − ρ₁)g, v ← ρ₂v + (1 − ρ₂)d, r ← ρ₃r + (1 − ρ₃)(g + ρ₂d)²,
    θ ← (θ − ε(ŝ + ρ₂v̂)/(√r̂ + δ))/(1 + ελ), each moment corrected as in Adam; λ is ``decay``.

    The paper writes 1 − ρ for these ρ. As its published code.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        t = state["t"] + 1
        d = (g - state["g"]) * (t > 1)
        s = rho1 * state["s"] + (1 - rho1) * g
        v = rho2 * state["v"] + (1 - rho2) * d
        r = rho3 * state["r"] + (1 - rho3) * (g + rho2 * d).square()
        ahead = s / (1 - rho1**t) + rho2 / (1 - rho2**t) * v
        theta = theta - lr * ahead / ((r / (1 - rho3**t)).sqrt() + delta)
        return theta / (1 + lr * decay), {"t": t, "s": s, "r": r, "g": g, "v": v}

    return first_order(lambda theta: {**_moments(theta), "g": zeros(theta), "v": zeros(theta)}, update)
