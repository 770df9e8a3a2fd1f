"""K-FAC: natural-gradient steps with a Kronecker-factored curvature matrix for each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from problems.bounds import Count, Fraction, Natural, Positive, log_range
from suite.optimizers.base import LayerFactors, Needs, Optimizer, Oracle, State, among, dot, optimizer, zeros
from suite.strategies.noise import key_of

if TYPE_CHECKING:
    from torch import Tensor

TRIALS = 5  # steps between two looks at whether the damping is right
SHRINK = (19 / 20) ** TRIALS
EARLY = 3  # steps that compute the inverses anew in any case


@optimizer(reference="Martens & Grosse 2015; Grosse & Martens 2016", tune={"lr": log_range(1e-4, 1.0)})
def kfac(
    lr: Positive = 0.03,
    alpha: Fraction = 0.9,
    damping: Positive = 0.1,
    memory: Fraction = 0.95,
    samples: Natural = 1,
    every: Count = 1,
    invert: Count = 20,
    rescale: bool = False,
) -> Optimizer:
    """K-FAC: Δ = −F̃⁻¹g with a block A ⊗ G of F̃ for each layer W̄ = (W, b), so that Δ is −G⁻¹ ∇W̄ A⁻¹ there.

    A and G are running means of E[āāᵀ] and E[ggᵀ]: of the layer's inputs ā, and of the derivatives in its
    sums that make up the generalized Gauss–Newton matrix (the Fisher matrix, for losses that are
    −log-likelihoods). After k estimates the old mean weighs min(1 − 1/k, ``memory``). λ is divided between
    the two: A + π√λ I and G + √λ/π I with π² = (tr A/dim A)/(tr G/dim G).

    δ ← αδ + εΔ, θ ← θ + δ, with a fixed λ; ε is ``lr``, λ is ``damping``. With ``rescale``, as in the
    paper, in place of that: θ ← θ + aΔ + bδ with δ the last step, where a and b minimize the quadratic
    model of the minibatch with its exact Gauss–Newton matrix + λI (two products a step). λ then
    shrinks at every fifth step where the loss fell by more than 3/4 of what the model said, and grows
    where by less than 1/4. This fits the minibatch at hand, so it takes large ones, or the full batch.

    Args:
        samples: random directions in the outputs for one estimate of G; 0 takes all outputs,
            which gives E[ggᵀ] of the minibatch exactly.
        every: steps between two estimates; ``invert`` between two inversions (and at each of the first 3).

    For problems of linear layers, convolutions and recurrent layers; their backward passes for A and G
    are counted as ``factors``. The paper also adjusts √λ in the factors by itself, and
    estimates E[ggᵀ] from labels that are drawn from the model.
    """

    def init(oracle: Oracle, theta: Tensor) -> State:
        import torch

        due = torch.zeros((), dtype=torch.bool, device=theta.device)
        key, t = key_of(theta), torch.zeros((), dtype=torch.float64, device=theta.device)
        layers = oracle.factors(theta, due, key, t, samples)
        means = [torch.zeros_like(m) for layer in layers for m in (layer.inputs, layer.sums)]
        inverses = [torch.eye(len(m), dtype=m.dtype, device=m.device) for m in means]
        return {
            "means": means,
            "inverses": inverses,
            "delta": zeros(theta),
            "damping": damping,
            "key": key,
            "t": 0.0,
        }

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        value, g = oracle.gradient(theta)
        t = torch.as_tensor(state["t"], dtype=torch.float64, device=theta.device)
        due = t % every == 0
        layers = oracle.factors(theta, due, state["key"], t, samples)
        kept = (1 - 1 / (t / every + 1)).clamp(max=memory)
        means = [
            torch.where(due, kept * mean + (1 - kept) * new, mean)
            for mean, new in zip(state["means"], (m for layer in layers for m in layer[1:]), strict=True)
        ]
        trust = torch.as_tensor(state["damping"], dtype=theta.dtype, device=theta.device)
        inverses = _inverted(due & (t < EARLY * every) | (t % invert == 0), trust, means, state["inverses"])
        delta = -_preconditioned(oracle, layers, inverses, g)
        if not rescale:
            delta = alpha * state["delta"] + lr * delta
            return theta + delta, {**state, "means": means, "inverses": inverses, "delta": delta, "t": state["t"] + 1}
        delta, fall = _best(oracle, theta, g, delta, state["delta"], trust)
        looked = (t + 1) % TRIALS == 0
        ratio = (among(oracle, looked).value(theta + delta) - value) / fall
        looked = looked & (fall < 0)
        trust = torch.where(looked & (ratio > 0.75), trust * SHRINK, trust)
        trust = torch.where(looked & ~(ratio >= 0.25), trust / SHRINK, trust)
        return theta + delta, {
            "means": means,
            "inverses": inverses,
            "delta": delta,
            "damping": trust.clamp(1e-20, 1e20),
            "key": state["key"],
            "t": state["t"] + 1,
        }

    cycle = math.lcm(every, invert, TRIALS if rescale else 1)
    return Optimizer(init, step, needs=Needs(cycle=cycle, searches=rescale))


def _inverted(due: Tensor, trust: Tensor, means: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
    """The inverses of each layer's two damped factors, anew where ``due``."""
    from suite.optimizers._occasional import when

    inverses: list[Tensor] = []
    for at in range(0, len(means), 2):
        inverses += when(due, _inverse, before[at : at + 2], trust, *means[at : at + 2])
    return inverses


def _inverse(trust: Tensor, a: Tensor, g: Tensor) -> list[Tensor]:
    """(A + π√λ I)⁻¹ and (G + √λ/π I)⁻¹; not numbers where one is not finite."""
    import torch

    ratio = (a.trace() / len(a)) / (g.trace() / len(g))
    pi = torch.where((ratio > 0) & ratio.isfinite(), ratio, 1.0).sqrt()
    inverses = []
    for matrix, share in ((a, pi), (g, 1 / pi)):
        unit = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        root, failed = torch.linalg.cholesky_ex(matrix + share * trust.sqrt() * unit)
        inverses.append(torch.full_like(matrix, torch.nan) if failed else torch.cholesky_inverse(root))
    return inverses


def _preconditioned(oracle: Oracle, layers: Sequence[LayerFactors], inverses: Sequence[Tensor], g: Tensor) -> Tensor:
    """F̃⁻¹g, layer by layer."""
    import torch

    from problems.layers import linear  # x, w -> xwᵀ with bits that do not depend on other lanes

    parts: dict[str, Tensor] = dict(oracle.layout.split(g))
    for layer, a, b in zip((found.layer for found in layers), inverses[::2], inverses[1::2], strict=True):
        weight = parts[layer.weight]
        rows = weight.reshape(len(weight), -1)
        if layer.bias:
            rows = torch.cat([rows, parts[layer.bias][:, None]], dim=1)
        rows = linear(linear(b, rows.mT), a)
        if layer.bias:
            rows, parts[layer.bias] = rows[:, :-1], rows[:, -1]
        parts[layer.weight] = rows.reshape(weight.shape)
    return oracle.layout.join(parts)


def _best(
    oracle: Oracle, theta: Tensor, g: Tensor, delta: Tensor, last: Tensor, trust: Tensor
) -> tuple[Tensor, Tensor]:
    """aΔ + bδ with a and b that minimize gᵀx + ½xᵀ(F + λI)x, and that minimum."""
    import torch

    bent, bent_last = (oracle.ggn(theta, x) + trust * x for x in (delta, last))
    one, both, two = dot(delta, bent), dot(delta, bent_last), dot(last, bent_last)
    b1, b2 = -dot(g, delta), -dot(g, last)
    volume = one * two - both * both
    apart = volume > 1e-6 * one * two  # else Δ and δ are one direction, to rounding
    single = (b1 / one).where(one > 0, 0.0)
    a = torch.where(apart, (b1 * two - b2 * both) / volume, single)
    b = torch.where(apart, (b2 * one - b1 * both) / volume, 0.0)
    return a * delta + b * last, -(a * b1 + b * b2) / 2
