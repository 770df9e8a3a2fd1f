"""Conjugate gradients (algorithm 8.9) and its scaled form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Bound, Natural, OneOf, Positive
from suite.optimizers.base import Needs, Optimizer, Oracle, State, dot, optimizer, zeros
from suite.optimizers.line_search import SearchName, descent, search_named
from suite.optimizers.zoom import zoom

if TYPE_CHECKING:
    from torch import Tensor

ENOUGH = 0.01  # the share of gᵀg by which a direction has to descend
Beta = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]  # (g, g before, direction before) -> β


def _over(a: Tensor, b: Tensor) -> Tensor:
    """a/b, and 0 where there is nothing before."""
    return (a / b).where(b != 0, 0.0)


def fletcher_reeves(g: Tensor, before: Tensor, d: Tensor) -> Tensor:
    """gᵀg / g₋ᵀg₋ (Fletcher & Reeves 1964; equation 8.30)."""
    return _over(dot(g, g), dot(before, before))


def polak_ribiere(g: Tensor, before: Tensor, d: Tensor) -> Tensor:
    """(g − g₋)ᵀg / g₋ᵀg₋ (Polak & Ribière 1969; equation 8.31)."""
    return _over(dot(g - before, g), dot(before, before))


def polak_ribiere_plus(g: Tensor, before: Tensor, d: Tensor) -> Tensor:
    """max(β of Polak–Ribière, 0), which starts again by itself (Powell 1984)."""
    return polak_ribiere(g, before, d).clamp(min=0)


def hestenes_stiefel(g: Tensor, before: Tensor, d: Tensor) -> Tensor:
    """gᵀ(g − g₋) / d₋ᵀ(g − g₋) (Hestenes & Stiefel 1952)."""
    return _over(dot(g, g - before), dot(d, g - before))


def dai_yuan(g: Tensor, before: Tensor, d: Tensor) -> Tensor:
    """gᵀg / d₋ᵀ(g − g₋) (Dai & Yuan 1999)."""
    return _over(dot(g, g), dot(d, g - before))


BETAS: dict[str, Beta] = {
    f.__name__: f for f in (fletcher_reeves, polak_ribiere, polak_ribiere_plus, hestenes_stiefel, dai_yuan)
}


@optimizer(section="8.6.2", algorithm="8.9", aliases=("cg",), slow=True)
def conjugate_gradients(
    beta: Annotated[str, OneOf(tuple(BETAS))] = "polak_ribiere_plus",
    search: SearchName = "wolfe",
    curvature: Annotated[float, Bound(0, 1, open_low=True, open_high=True)] = 0.4,
    reset: Natural = 0,
    minibatch: Natural = 0,
) -> Optimizer:
    """Nonlinear conjugate gradients: d ← −g + βd, θ ← θ + a d with a from a line search.

    Args:
        beta: the formula of β; on a quadratic with exact searches all are alike and directions
            are conjugate.
        search: ``exact`` is the analytic step −gᵀd/dᵀHd; ``wolfe`` and ``armijo`` look at the loss.
        curvature: c₂ of the Wolfe conditions.
        reset: β = 0 at every ``reset``-th step; 0 for never.
        minibatch: iterations on each minibatch, which starts again from −g (Le et al. 2011);
            0 for the full batch (and one on each where it gets minibatches).

    The strong Wolfe conditions do not see to it that the next direction descends: where it does not,
    gᵀd > −0.01 gᵀg, the step is searched anew for a point from which it does (Gilbert & Nocedal 1992).
    Where d is no descent direction all the same, −g takes its place. With ``polak_ribiere_plus`` and
    ``wolfe`` as SciPy's ``minimize(method="CG")``.
    """
    formula = BETAS[beta]
    again = partial(zoom, curvature=curvature) if search == "wolfe" else None

    def fresh(theta: Tensor) -> State:
        return {"g": zeros(theta), "d": zeros(theta), "k": theta.new_zeros(())}

    def direction(memory: State, g: Tensor) -> Tensor:
        b = formula(g, memory["g"], memory["d"])
        if reset:
            b = b.where(memory["k"] % reset != 0, 0.0)
        return -g + b * memory["d"]

    def learn(memory: State, d: Tensor, s: Tensor, before: Tensor, after: Tensor) -> State:
        return {"g": before, "d": d, "k": memory["k"] + 1}

    searched = search_named(search, curvature)
    return descent(fresh, direction, learn, searched, minibatch=minibatch, forgets=True, sufficient=ENOUGH, again=again)


@optimizer(section="8.6.2", reference="Møller 1993", aliases=("scg",), slow=True)
def scaled_conjugate_gradients(scale: Positive = 1e-6) -> Optimizer:
    """Scaled conjugate gradients: a trust in the quadratic model takes the place of the line search.

    With d the direction, δ = dᵀHd + λ‖d‖² (made positive by a larger λ where it is not) and
    a = −gᵀd/δ, the step is taken if Δ = 2δ(f(θ) − f(θ + ad))/(gᵀd)² >= 0, the ratio of the actual to
    the predicted decrease. λ, at first ``scale``, becomes λ/4 where Δ >= 3/4 and λ + δ(1 − Δ)/‖d‖²
    where Δ < 1/4. After a step d ← −g + βd with β = (g − g₋)ᵀg/(−g₋ᵀd); every D steps d ← −g.

    Møller takes Hd from a difference of gradients; here it is exact. A loss that is not finite
    counts as Δ = −1; where the predicted decrease is below the loss's rounding, Δ says nothing: the step is taken
    and λ stays. Where d does not descend, −g takes its place. Each step asks for the gradient at θ, one product and
    the loss at θ + ad. Full batch.
    """

    def init(oracle: Oracle, theta: Tensor) -> State:
        return {"g": zeros(theta), "d": zeros(theta), "scale": scale, "taken": theta.new_ones(()), "k": 0.0}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        value, g = oracle.gradient(theta)
        b = _over(dot(g - state["g"], g), -dot(state["g"], state["d"]))
        again = torch.as_tensor(state["k"] % len(theta) == 0, device=theta.device)
        d = torch.where(state["taken"] > 0, -g + torch.where(again, 0.0, b) * state["d"], state["d"])
        d = torch.where(dot(g, d) < 0, d, -g)
        size = dot(d, d)
        bent = dot(d, oracle.hvp(theta, d))
        grown = 2 * (state["scale"] - _over(bent + state["scale"] * size, size))  # Møller's step 4
        trust = torch.where(bent + state["scale"] * size > 0, state["scale"], grown)
        delta = bent + trust * size
        slope = dot(g, d)
        a = _over(-slope, delta)
        new = oracle.value(theta + a * d)
        ratio = torch.where(new.isfinite(), _over(2 * delta * (value - new), slope * slope), -1.0)
        hidden = -slope * a / 2 <= torch.finfo(theta.dtype).eps * value.abs()
        ratio = torch.where(hidden & new.isfinite(), 0.5, ratio)
        taken = ratio >= 0
        trust = torch.where(ratio >= 0.75, trust / 4, trust)
        trust = torch.where(ratio < 0.25, trust + _over(delta * (1 - ratio), size), trust)
        return torch.where(taken, theta + a * d, theta), {
            "g": g,
            "d": d,
            "scale": trust.clamp(1e-20, 1e20),
            "taken": taken.to(theta.dtype),
            "k": state["k"] + taken,
        }

    return Optimizer(init, step, needs=Needs(full_batch=True, searches=True))
