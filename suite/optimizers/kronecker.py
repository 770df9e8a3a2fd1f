"""Shampoo and SOAP: a matrix for each side of each piece of θ, made of the gradients seen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from problems.bounds import Count, Fraction, NonNegative, Positive, log_range
from suite.optimizers.base import Needs, Optimizer, Oracle, State, joined, optimizer, pieces, zeros

if TYPE_CHECKING:
    from torch import Tensor


def _outer(piece: Tensor, side: int, most: int) -> Tensor:
    """GGᵀ [n, n] with G the piece unfolded along a side of n numbers; of longer sides its diagonal [n]."""
    from problems.layers import linear  # x, w -> xwᵀ with bits that do not depend on other lanes

    unfolded = piece.movedim(side, 0).reshape(piece.shape[side], -1)
    return linear(unfolded, unfolded) if len(unfolded) <= most else unfolded.square().sum(1)


def _times(piece: Tensor, factors: list[Tensor]) -> Tensor:
    """The piece multiplied along each of its sides by that side's factor: [n, n], or the diagonal [n] of one.

    Σᵢ T[…, i, …] F[i, j] in place of side i; a factor without elements stands for the unit matrix.
    """
    from problems.layers import linear

    for factor in factors:
        if factor.numel() == 0:
            piece = piece.movedim(0, -1)
        elif factor.dim() == 1:
            piece = piece.movedim(0, -1) * factor
        else:
            turned = piece.movedim(0, -1)
            piece = linear(turned.reshape(-1, len(factor)), factor.mT).reshape(turned.shape)
    return piece


# Shampoo ------------------------------------------------------------------------------------


@optimizer(reference="Gupta, Koren & Singer 2018, algorithms 1 and 2", tune={"lr": log_range(1e-4, 10.0)})
def shampoo(
    lr: Positive = 0.1,
    alpha: Fraction = 0.0,
    epsilon: Positive = 1e-4,
    every: Count = 1,
    most: Count = 512,
) -> Optimizer:
    """Shampoo: for a matrix piece, W ← W − ε L^(−1/4) G R^(−1/4), with L ← L + GGᵀ and R ← R + GᵀG.

    L and R begin as ϵI (``epsilon``). A piece of k sides has a matrix H for each, the sum of the
    products of the gradient unfolded along it, which enters as H^(−1/2k): a vector gets full-matrix
    AdaGrad. With momentum v ← αv + d, θ ← θ − εv, where d is the step above; the algorithm has α = 0.

    Args:
        every: steps between two computations of the roots, which at first change fast.
        most: sides of more numbers than this keep the diagonal of H only (the paper's section 7).

    As pytorch_optimizer's Shampoo, which has no diagonals. States take Σ n² numbers over all sides.
    """

    def init(oracle: Oracle, theta: Tensor) -> State:
        import torch

        sums, roots = [], []
        for piece in pieces(oracle, theta):
            power = -1 / (2 * piece.dim())
            for n in piece.shape:
                unit = torch.eye(n, dtype=theta.dtype, device=theta.device) if n <= most else theta.new_ones(n)
                sums.append(epsilon * unit)
                roots.append(epsilon**power * unit)
        return {"v": zeros(theta), "sums": sums, "roots": roots, "t": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        from suite.optimizers._occasional import when

        _, g = oracle.gradient(theta)
        due = torch.as_tensor(state["t"] % every == 0, device=theta.device)
        least = torch.as_tensor(epsilon, dtype=theta.dtype, device=theta.device)
        sums, roots, d, at = [], [], [], 0
        for piece in pieces(oracle, g):
            power = -1 / (2 * piece.dim())
            for side in range(piece.dim()):
                total = state["sums"][at + side] + _outer(piece, side, most)
                before = state["roots"][at + side]
                if total.dim() == 1:
                    root = total.pow(power).where(due, before)
                else:
                    (root,) = when(due, partial(_root, power), [before], total, least)
                sums.append(total)
                roots.append(root)
            d.append(_times(piece, roots[at:]))
            at += piece.dim()
        v = alpha * state["v"] + joined(d)
        return theta - lr * v, {"v": v, "sums": sums, "roots": roots, "t": state["t"] + 1}

    return Optimizer(init, step, needs=Needs(cycle=every))


def _root(power: float, matrix: Tensor, least: Tensor) -> list[Tensor]:
    """H^power of a symmetric H whose eigenvalues are at least ``least``; not a number where H is not finite."""
    import torch

    from suite.optimizers._dense import eigen

    if not matrix.isfinite().all():
        return [torch.full_like(matrix, torch.nan)]
    values, vectors = eigen(matrix)
    return [vectors * values.maximum(least).pow(power) @ vectors.mT]


# SOAP ---------------------------------------------------------------------------------------


@optimizer(reference="Vyas et al. 2024, algorithm 3", tune={"lr": log_range(1e-5, 1.0)})
def soap(
    lr: Positive = 0.003,
    beta1: Fraction = 0.95,
    beta2: Fraction = 0.95,
    delta: Positive = 1e-8,
    decay: NonNegative = 0.0,
    every: Count = 10,
    most: Count = 2048,
) -> Optimizer:
    """SOAP: Adam in the eigenbasis of Shampoo's matrices.

    For a matrix piece, with L and R running means (β₂) of GGᵀ and GᵀG and Q their eigenvectors:
    G′ = Q_LᵀGQ_R, M ← β₁M + (1 − β₁)G, V ← β₂V + (1 − β₂) G′⊙G′, M′ = Q_LᵀMQ_R,
    W ← (1 − ελ)(W − ε √(1 − β₂ᵗ)/(1 − β₁ᵗ) Q_L (M′/(√V + δ)) Q_Rᵀ); λ is ``decay``. Pieces of more
    sides have a basis for each; vectors, and sides of more than ``most`` numbers, keep their own.

    The first gradient only sets the bases; later, at every ``every``-th step, one power iteration
    and a QR decomposition follow L and R. As the published code and pytorch_optimizer's SOAP, which
    computes QR in float32. States take 2 Σ n² numbers over all sides.
    """

    def sides(piece: Tensor) -> list[int]:
        return [n if piece.dim() > 1 and n <= most else 0 for n in piece.shape]

    def init(oracle: Oracle, theta: Tensor) -> State:
        import torch

        lengths = [n for piece in pieces(oracle, theta) for n in sides(piece)]
        means = [theta.new_zeros(n, n) for n in lengths]
        bases = [torch.eye(n, dtype=theta.dtype, device=theta.device) for n in lengths]
        return {"m": zeros(theta), "v": zeros(theta), "means": means, "bases": bases, "t": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        from suite.optimizers._occasional import when

        _, g = oracle.gradient(theta)
        t = torch.as_tensor(state["t"], dtype=torch.float64, device=theta.device)  # updates so far
        first = t == 0
        due = first | (t % every == 0)
        m = torch.where(first, state["m"], beta1 * state["m"] + (1 - beta1) * g)
        means: list[Tensor] = []
        bases: list[Tensor] = []
        seconds: list[Tensor] = []
        steps, at = [], 0
        parts = zip(pieces(oracle, g), pieces(oracle, m), pieces(oracle, state["v"]), strict=True)
        for piece, moment, second in parts:
            basis = state["bases"][at : at + piece.dim()]
            back = [q.mT for q in basis]
            v = torch.where(first, second, beta2 * second + (1 - beta2) * _times(piece, basis).square())
            steps.append(_times(_times(moment, basis) / (v.sqrt() + delta), back))
            new = [
                beta2 * mean + (1 - beta2) * _outer(piece, side, most) if mean.numel() else mean
                for side, mean in enumerate(state["means"][at : at + piece.dim()])
            ]
            turning = [side for side, q in enumerate(basis) if q.numel()]
            if turning:
                old = [v, *(basis[side] for side in turning)]
                followed = when(due, partial(_followed, turning), old, first, *old, *(new[side] for side in turning))
                v = followed[0]
                for side, q in zip(turning, followed[1:], strict=True):
                    basis[side] = q
            means, bases, seconds, at = means + new, bases + basis, [*seconds, v], at + piece.dim()
        rate = lr * (1 - beta2**t).sqrt() / torch.where(first, 1.0, 1 - beta1**t)
        moved = (1 - lr * decay) * (theta - rate * joined(steps))
        return torch.where(first, theta, moved), {
            "m": m,
            "v": joined(seconds),
            "means": means,
            "bases": bases,
            "t": state["t"] + 1,
        }

    return Optimizer(init, step, needs=Needs(cycle=every))


def _followed(sides: Sequence[int], first: Tensor, v: Tensor, *matrices: Tensor) -> list[Tensor]:
    """V and the bases of ``sides`` as they follow the means: at first eigenvectors, by falling eigenvalues; then one
    round of orthogonal iteration, in whose order of columns the slices of V are put too."""
    import torch

    from suite.optimizers._dense import eigen

    turned = []
    for side, basis, mean in zip(sides, matrices[: len(sides)], matrices[len(sides) :], strict=True):
        if not mean.isfinite().all():
            turned.append(torch.full_like(basis, torch.nan))
        elif first:
            turned.append(eigen(mean)[1].flip(1))
        else:
            product = mean @ basis
            order = (basis * product).sum(0).argsort(descending=True)
            v = v.index_select(side, order)
            turned.append(torch.linalg.qr(product[:, order])[0])
    return [v, *turned]
