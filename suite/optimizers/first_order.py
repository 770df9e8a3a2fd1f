"""The book's first-order algorithms, 8.1 to 8.7, as it states them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Fraction, Positive, log_range
from suite.optimizers.base import Optimizer, Oracle, State, first_order, optimizer, zeros

if TYPE_CHECKING:
    from torch import Tensor


@optimizer(section="8.3.1", algorithm="8.1", tune={"lr": log_range(1e-4, 10.0)})
def sgd(lr: Positive = 0.01) -> Optimizer:
    """Stochastic gradient descent: θ ← θ − εg.

    g is the gradient at θ on the minibatch, ε is ``lr``. The book's decaying ε_k is a
    schedule: ``sgd(lr=linear(0.1, steps=1000))``.

    As torch.optim.SGD without momentum.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        return theta - lr * g, state

    return first_order(lambda theta: {}, update)


@optimizer(section="8.3.2", algorithm="8.2", tune={"lr": log_range(1e-5, 1.0)})
def momentum(lr: Positive = 0.01, alpha: Fraction = 0.9) -> Optimizer:
    """SGD with momentum: v ← αv − εg, θ ← θ + v.

    v is the velocity, 0 at first; ε is ``lr``; the book names α of 0.5, 0.9 and 0.99.

    torch.optim.SGD keeps u = −v/ε instead (u ← αu + g, θ ← θ − εu). The two coincide while
    ε is constant; after a change of ε the book's velocity keeps the speed it has gained,
    PyTorch's is rescaled at once.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        v = alpha * state["v"] - lr * g
        return theta + v, {"v": v}

    return first_order(lambda theta: {"v": zeros(theta)}, update)


@optimizer(section="8.3.3", algorithm="8.3", tune={"lr": log_range(1e-5, 1.0)})
def nesterov(lr: Positive = 0.01, alpha: Fraction = 0.9) -> Optimizer:
    """SGD with Nesterov momentum: g at θ + αv, then v ← αv − εg, θ ← θ + v.

    Where momentum takes the gradient before the velocity is applied, this takes it after.

    torch.optim.SGD(nesterov=True) takes the gradient at its own parameters and follows
    φ = θ + αv: with a constant ε its φ is this θ plus α times this v, so its iterates differ
    from the book's by that look-ahead.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        _, g = oracle.gradient(theta + alpha * state["v"])
        v = alpha * state["v"] - lr * g
        return theta + v, {"v": v}

    return Optimizer(lambda oracle, theta: {"v": zeros(theta)}, step)


@optimizer(section="8.5.1", algorithm="8.4", tune={"lr": log_range(1e-4, 10.0)})
def adagrad(lr: Positive = 0.01, delta: Positive = 1e-7) -> Optimizer:
    """AdaGrad: r ← r + g⊙g, θ ← θ − ε/(δ + √r) ⊙ g.

    r accumulates the squared gradient of each parameter; ε is ``lr``, δ is ``delta``.
    Duchi, Hazan & Singer 2011.

    As torch.optim.Adagrad with eps = δ.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        r = state["r"] + g * g
        return theta - lr * g / (delta + r.sqrt()), {"r": r}

    return first_order(lambda theta: {"r": zeros(theta)}, update)


@optimizer(section="8.5.2", algorithm="8.5", tune={"lr": log_range(1e-5, 1.0)})
def rmsprop(lr: Positive = 0.001, rho: Fraction = 0.9, delta: Positive = 1e-6) -> Optimizer:
    """RMSProp: r ← ρr + (1 − ρ) g⊙g, θ ← θ − ε/√(δ + r) ⊙ g.

    r is an exponentially weighted mean of squared gradients, 0 at first. Hinton 2012.

    torch.optim.RMSprop divides by √r + eps, with the constant outside the root: the same for
    r ≫ δ, and a step √δ/eps times as large where gradients vanish.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        r = rho * state["r"] + (1 - rho) * (g * g)
        return theta - lr * g / (delta + r).sqrt(), {"r": r}

    return first_order(lambda theta: {"r": zeros(theta)}, update)


@optimizer(section="8.5.2", algorithm="8.6", tune={"lr": log_range(1e-5, 1.0)})
def rmsprop_nesterov(lr: Positive = 0.001, rho: Fraction = 0.9, alpha: Fraction = 0.9) -> Optimizer:
    """RMSProp with Nesterov momentum: g at θ + αv, r ← ρr + (1 − ρ) g⊙g, v ← αv − ε/√r ⊙ g, θ ← θ + v.

    The book gives this form without δ. Where r = 0 no gradient has been seen, so g = 0 too,
    and 0/0 is taken as 0: such a parameter is moved by its velocity alone.

    torch.optim.RMSprop(momentum=α) takes the gradient at θ and keeps eps in the divisor.
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        _, g = oracle.gradient(theta + alpha * state["v"])
        r = rho * state["r"] + (1 - rho) * (g * g)
        v = alpha * state["v"] - lr * g / r.sqrt().where(r > 0, 1.0)
        return theta + v, {"v": v, "r": r}

    return Optimizer(lambda oracle, theta: {"v": zeros(theta), "r": zeros(theta)}, step)


@optimizer(section="8.5.3", algorithm="8.7", tune={"lr": log_range(1e-5, 1.0)})
def adam(
    lr: Positive = 0.001,
    rho1: Fraction = 0.9,
    rho2: Fraction = 0.999,
    delta: Positive = 1e-8,
    correct: bool = True,
) -> Optimizer:
    """Adam: s ← ρ₁s + (1 − ρ₁)g, r ← ρ₂r + (1 − ρ₂) g⊙g, θ ← θ − ε ŝ/(√r̂ + δ).

    s and r are estimates of the gradient's first and second moments, 0 at first;
    ŝ = s/(1 − ρ₁ᵗ) and r̂ = r/(1 − ρ₂ᵗ) at step t = 1, 2, … undo their bias towards 0.
    ``correct=False`` leaves the correction out (ŝ = s, r̂ = r), to show what it does.
    Kingma & Ba 2015.

    As torch.optim.Adam with betas = (ρ₁, ρ₂), eps = δ.
    """

    def update(g: Tensor, state: State, theta: Tensor) -> tuple[Tensor, State]:
        t = state["t"] + 1
        s = rho1 * state["s"] + (1 - rho1) * g
        r = rho2 * state["r"] + (1 - rho2) * (g * g)
        s_bias, r_bias = (1 - rho1**t, 1 - rho2**t) if correct else (1.0, 1.0)
        # ε/s_bias is one number: so ŝ costs no pass over the vector
        return theta - lr / s_bias * s / ((r / r_bias).sqrt() + delta), {"t": t, "s": s, "r": r}

    return first_order(lambda theta: {"t": 0.0, "s": zeros(theta), "r": zeros(theta)}, update)
