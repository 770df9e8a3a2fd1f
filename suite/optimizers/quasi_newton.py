"""BFGS and L-BFGS (section 8.6.3): the inverse Hessian learned from steps and changes of the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from problems.bounds import Bound, Count, Natural
from problems.names import NotApplicable
from suite.optimizers.base import Optimizer, State, dot, either, optimizer
from suite.optimizers.line_search import SearchName, descent, search_named

if TYPE_CHECKING:
    from torch import Tensor

DENSE = 4096  # the largest D for which a matrix [D, D] is kept
Inner = Annotated[float, Bound(0, 1, open_low=True, open_high=True)]


def _curved(s: Tensor, y: Tensor) -> Tensor:
    """Whether yᵀs is safely positive, as an update that keeps the matrix positive definite needs."""
    return dot(y, s) > 1e-10 * s.norm() * y.norm()


@optimizer(section="8.6.3", reference="Broyden, Fletcher, Goldfarb & Shanno 1970", slow=True)
def bfgs(search: SearchName = "wolfe", curvature: Inner = 0.9, minibatch: Natural = 0) -> Optimizer:
    """BFGS: θ ← θ − a Mg with a from a line search and M an estimate of the inverse Hessian.

    With s the last step, y the change of the gradient along it and ρ = 1/yᵀs,
    M ← (I − ρsyᵀ) M (I − ρysᵀ) + ρssᵀ, from M = I. Where yᵀs is not positive, M stays.

    With ``wolfe`` as SciPy's ``minimize(method="BFGS")``. ``curvature`` is c₂ of the Wolfe conditions;
    ``minibatch`` the iterations on each minibatch, 0 for the full batch (and one on each where it gets minibatches).

    Raises:
        UsageError: M would have more than 4096 rows.
    """

    def fresh(theta: Tensor) -> State:
        import torch

        if len(theta) > DENSE:
            raise NotApplicable(f"bfgs: a matrix for {len(theta)} parameters is too large (at most {DENSE}); use lbfgs")
        return {"inverse": torch.eye(len(theta), dtype=theta.dtype, device=theta.device)}

    def direction(memory: State, g: Tensor) -> Tensor:
        return -dot(memory["inverse"], g)

    def learn(memory: State, d: Tensor, s: Tensor, before: Tensor, after: Tensor) -> State:
        import torch

        m, y = memory["inverse"], after - before
        rho, my, curved = 1 / dot(y, s), dot(m, y), _curved(s, y)
        u = 0.5 * rho * (1 + rho * dot(y, my)) * s - rho * my
        u, s = u.where(curved, 0.0), s.where(curved, 0.0)
        # M + usᵀ + suᵀ, which is the same with fewer passes over M
        return {"inverse": torch.addcmul(torch.addcmul(m, u[:, None], s[None]), s[:, None], u[None])}

    searched = search_named(search, curvature)
    return descent(fresh, direction, learn, searched, minibatch=minibatch, matrices=6)


@optimizer(section="8.6.3", reference="Liu & Nocedal 1989", slow=True)
def lbfgs(
    memory: Count = 10,
    scale: bool = True,
    search: SearchName = "wolfe",
    curvature: Inner = 0.9,
    minibatch: Natural = 0,
) -> Optimizer:
    """Limited-memory BFGS: the product Mg from the last m = ``memory`` pairs (s, y), without a matrix.

    The two-loop recursion (Nocedal 1980) from M = γI, γ = sᵀy/yᵀy of the last pair; with
    ``scale=False`` from M = I, which with m >= the number of steps is BFGS. Pairs without positive
    yᵀs are left out. ``minibatch`` as for ``bfgs``; pairs are kept from one minibatch to the next.

    torch.optim.LBFGS takes several iterations per step and, unless line_search_fn is given,
    steps of a fixed rate.
    """
    size = memory

    def fresh(theta: Tensor) -> State:
        pairs = theta.new_zeros(size, len(theta))
        return {"s": pairs, "y": pairs.clone(), "rho": theta.new_zeros(size), "gamma": theta.new_ones(())}

    def direction(memory: State, g: Tensor) -> Tensor:
        s, y, rho = memory["s"], memory["y"], memory["rho"]
        q, weights = g, {}
        for i in reversed(range(size)):  # an empty pair has ρ = 0 and changes nothing
            weights[i] = rho[i] * dot(s[i], q)
            q = q - weights[i] * y[i]
        q = memory["gamma"] * q
        for i in range(size):
            q = q + (weights[i] - rho[i] * dot(y[i], q)) * s[i]
        return -q

    def learn(memory: State, d: Tensor, s: Tensor, before: Tensor, after: Tensor) -> State:
        y = after - before
        learned = {
            "s": _pushed(memory["s"], s),
            "y": _pushed(memory["y"], y),
            "rho": _pushed(memory["rho"], 1 / dot(y, s)),
            "gamma": dot(y, s) / dot(y, y) if scale else memory["gamma"],
        }
        return either(_curved(s, y), learned, memory)

    def first(memory: State, g: Tensor) -> Tensor:
        """1, at which the model's minimum lies; as M says nothing yet, 1/‖g‖."""
        return (1 / g.norm()).clamp(max=1.0).where(memory["rho"][-1] == 0, 1.0)

    opening = first if scale else None
    return descent(fresh, direction, learn, search_named(search, curvature), minibatch=minibatch, first=opening)


def _pushed(rows: Tensor, new: Tensor) -> Tensor:
    """The rows less the first, and the new one at the end."""
    import torch

    return torch.cat([rows[1:], new[None]])
