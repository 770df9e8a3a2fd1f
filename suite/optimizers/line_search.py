"""How far to go along a direction: line searches, and the descent methods that are built on them.

A search is a bounded loop in which lanes that are done wait for the others; it ends when none is
left. So that lanes stay apart, everything is a mask, never a branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from problems.bounds import Natural, OneOf
from suite.optimizers.base import Needs, Optimizer, Oracle, State, among, dot, either, optimizer, repeat

if TYPE_CHECKING:
    from torch import Tensor

MOST = 20  # trial points of one search
LEAST, FARTHEST = 1e-20, 1e20  # bounds of a step's length


class Taken(NamedTuple):
    """Where a search ends: the step's length, and the loss and gradient there.

    Without ``found`` no point was good enough; the length is then that of the lowest point which
    at least decreased the loss sufficiently, or 0. Where rounding hides any decrease the search
    ends before it begins: ``found``, with length 0.
    """

    length: Tensor
    value: Tensor
    gradient: Tensor
    found: Tensor


# (oracle, θ, loss at θ, gradient at θ, direction, length to try first) -> where it ends
Search = Callable[["Oracle", "Tensor", "Tensor", "Tensor", "Tensor", "Tensor"], Taken]


def promising(theta: Tensor, value: Tensor, s: Tensor, slope: Tensor) -> Tensor:
    """Whether a step s along which the loss falls by ``slope`` changes θ and the loss by more than rounding."""
    import torch

    tiny = torch.finfo(theta.dtype).eps
    return (-slope > tiny * value.abs()) & (s.norm() > tiny * theta.norm())


def exact(oracle: Oracle, theta: Tensor, value: Tensor, g: Tensor, d: Tensor, first: Tensor) -> Taken:
    """The minimum along d of the quadratic model: −gᵀd/dᵀHd, exact on a quadratic.

    Where dᵀHd <= 0 the model has no minimum; then |dᵀHd| takes its place, and a direction
    without any curvature gets the length tried first.
    """
    curvature = dot(d, oracle.hvp(theta, d)).abs()
    length = (-dot(g, d) / curvature).where(curvature > 0, first)
    value, gradient = oracle.gradient(theta + length * d)
    return Taken(length, value, gradient, value.isfinite() & gradient.isfinite().all())


def armijo(
    oracle: Oracle,
    theta: Tensor,
    value: Tensor,
    g: Tensor,
    d: Tensor,
    first: Tensor,
    decrease: float = 1e-4,
    shrink: float = 0.5,
) -> Taken:
    """Backtracking: the first of a, βa, β²a, … with f(θ + ad) <= f(θ) + c a gᵀd (Armijo 1966).

    c is ``decrease``, β is ``shrink``. A loss that is not finite counts as too high. After ``MOST``
    trials the length is 0.
    """
    slope = dot(g, d)
    length = first + 0 * slope
    active = promising(theta, value, first * d, first * slope)

    def shorten(state: State, active: Tensor) -> tuple[State, Tensor]:
        length, _ = state
        trial = among(oracle, active).value(theta + length * d)
        active = active & ~(trial <= value + decrease * length * slope)
        return (length.where(~active, shrink * length), ~active), active

    length, found = repeat(shorten, (length.where(active, 0.0), ~active), active, MOST)
    length = length.where(found, 0.0)
    value, gradient = oracle.gradient(theta + length * d)
    return Taken(length, value, gradient, found)


def wolfe(decrease: float = 1e-4, curvature: float = 0.9) -> Search:
    """The search of Moré & Thuente (1994) for a point that meets the strong Wolfe conditions.

    f(θ + ad) <= f(θ) + c₁ a gᵀd and |f′(θ + ad)| <= c₂ |gᵀd|, with c₁ as ``decrease`` and c₂ as
    ``curvature``. As MINPACK's dcsrch, which SciPy's BFGS and CG use. A trial whose loss is not finite is
    too far; the next one is a tenth of the way to it.
    """

    def search(oracle: Oracle, theta: Tensor, value: Tensor, g: Tensor, d: Tensor, first: Tensor) -> Taken:
        import torch

        slope = dot(g, d)
        zero = torch.zeros_like(slope)
        bracket = _Bracket.around(value, slope, zero + first)
        active = promising(theta, value, first * d, first * slope)
        taken = Taken(zero, zero + value, g, ~active)

        def look(state: State, active: Tensor) -> tuple[State, Tensor]:
            bracket, taken = state
            trial, gradient = among(oracle, active).gradient(theta + bracket.length * d)
            steep = dot(gradient, d)
            low = trial <= value + decrease * bracket.length * slope
            good = low & (steep.abs() <= -curvature * slope)
            here = Taken(bracket.length, trial, gradient, good)
            taken = either(active & (good | (low & (trial < taken.value))), here, taken)
            active = active & ~good & ~bracket.exhausted
            narrowed = bracket.narrowed(value, slope, trial, steep, decrease)
            return (either(active, narrowed, bracket), taken), active

        return repeat(look, (bracket, taken), active, MOST)[1]

    return search


class _Bracket(NamedTuple):
    """Between which lengths a good one must lie: the best so far (x), the other end (y), and the next trial."""

    length: Tensor
    x: Tensor
    fx: Tensor
    dx: Tensor
    y: Tensor
    fy: Tensor
    dy: Tensor
    bracketed: Tensor  # whether x and y enclose a minimum
    second: Tensor  # whether the search is past its first stage, which looks at f less its required decrease
    width: Tensor
    before: Tensor  # the width one trial earlier
    least: Tensor
    most: Tensor
    ceiling: Tensor  # trials at and above this were not finite

    @classmethod
    def around(cls, value: Tensor, slope: Tensor, first: Tensor) -> _Bracket:
        zero, no = 0 * first, first < 0
        far = zero + FARTHEST
        ends = (zero, zero + value, zero + slope)
        return cls(first, *ends, *ends, no, no, far, 2 * far, zero, 5 * first, far)

    @property
    def exhausted(self) -> Tensor:
        """Whether rounding leaves no room between the ends."""
        outside = (self.length <= self.least) | (self.length >= self.most)
        return self.bracketed & (outside | (self.most - self.least <= 1e-14 * self.most))

    def narrowed(self, value: Tensor, slope: Tensor, trial: Tensor, steep: Tensor, decrease: float) -> _Bracket:
        """The bracket after a trial at ``length`` with this loss and slope."""
        import torch

        at, demanded = self.length, decrease * slope
        second = self.second | ((trial <= value + at * demanded) & (steep >= 0))
        shift = torch.where(~second & (trial <= self.fx) & (trial > value + at * demanded), demanded, 0.0)
        x = (self.x, self.fx - self.x * shift, self.dx - shift)
        y = (self.y, self.fy - self.y * shift, self.dy - shift)
        p = (at, trial - at * shift, steep - shift)
        following, bracketed = _interpolated(x, y, p, self.bracketed, self.least, self.most)
        higher, turned = p[1] > x[1], p[2] * x[2].sign() < 0
        y = either(higher, p, either(turned, x, y))
        x = either(higher, x, p)

        span = (y[0] - x[0]).abs()
        slow = bracketed & (span >= 0.66 * self.before)
        following = torch.where(slow, x[0] + 0.5 * (y[0] - x[0]), following)
        width, before = either(bracketed, (span, self.width), (self.width, self.before))
        least = torch.where(bracketed, x[0].minimum(y[0]), following + 1.1 * (following - x[0]))
        most = torch.where(bracketed, x[0].maximum(y[0]), following + 4.0 * (following - x[0]))
        following = following.maximum(LEAST + 0 * at).minimum(self.ceiling)
        stuck = (following <= least) | (following >= most) | (most - least <= 1e-14 * most)
        following = torch.where(bracketed & stuck, x[0], following)

        x, y = ((e[0], e[1] + e[0] * shift, e[2] + shift) for e in (x, y))
        new = _Bracket(following, *x, *y, bracketed, second, width, before, least, most, self.ceiling)
        nearer = self.x + 0.1 * (at - self.x)
        short = self._replace(length=nearer, ceiling=at, most=4.0 * nearer)
        return either(trial.isfinite() & steep.isfinite(), new, short)


def _interpolated(x: Any, y: Any, p: Any, bracketed: Tensor, least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
    """The next length from cubics and parabolas through (length, loss, slope) at x, y and p; is it bracketed?

    The four cases of Moré & Thuente, section 4, each computed, then chosen from.
    """
    import torch

    (ax, fx, dx), (ay, fy, dy), (ap, fp, dp) = x, y, p
    right = torch.where(ap > ax, 1.0, -1.0)  # on which side of x the trial lies
    turned = dp * dx.sign() < 0

    to_p = 3 * (fx - fp) / (ap - ax) + dx + dp
    root = _discriminant(to_p, dx, dp)
    forward = right * root  # 1: higher; the minimum lies between, nearer to x
    cubic1 = ax + (forward - dx + to_p) / (2 * forward - dx + dp) * (ap - ax)
    parabola1 = ax + dx / ((fx - fp) / (ap - ax) + dx) / 2 * (ap - ax)
    case1 = torch.where((cubic1 - ax).abs() <= (parabola1 - ax).abs(), cubic1, cubic1 + (parabola1 - cubic1) / 2)

    back = -right * root
    ratio = (back - dp + to_p) / (2 * back - dp + dx)
    cubic2, secant = ap + ratio * (ax - ap), ap + dp / (dp - dx) * (ax - ap)
    far = (cubic2 - ap).abs() > (secant - ap).abs()
    case2 = torch.where(far, cubic2, secant)  # 2: the slope has turned

    limit = torch.where(ap > ax, most, least)  # 3: the slope flattens
    cubic3 = torch.where((ratio < 0) & (back != 0), cubic2, limit)
    far = (cubic3 - ap).abs() > (secant - ap).abs()
    inside = torch.where(far, secant, cubic3)
    fence = ap + 0.66 * (ay - ap)
    inside = torch.where(ap > ax, inside.minimum(fence), inside.maximum(fence))
    outside = torch.where(far, cubic3, secant).maximum(least).minimum(most)
    case3 = torch.where(bracketed, inside, outside)

    to_y = 3 * (fp - fy) / (ay - ap) + dy + dp  # 4: it does not flatten
    root = _discriminant(to_y, dy, dp)
    back = torch.where(ap > ay, -root, root)
    cubic4 = ap + (back - dp + to_y) / (2 * back - dp + dy) * (ay - ap)
    case4 = torch.where(bracketed, cubic4, limit)

    flatter = torch.where(dp.abs() < dx.abs(), case3, case4)
    following = torch.where(fp > fx, case1, torch.where(turned, case2, flatter))
    return following, bracketed | (fp > fx) | turned


def _discriminant(theta: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """√max(θ² − ab, 0), scaled so that squares do not overflow."""
    scale = theta.abs().maximum(a.abs()).maximum(b.abs())
    scale = scale.where(scale > 0, 1.0)
    return scale * ((theta / scale).square() - a / scale * (b / scale)).clamp(min=0).sqrt()


SEARCHES = ("wolfe", "armijo", "exact")
SearchName = Annotated[str, OneOf(SEARCHES)]


def search_named(name: str, curvature: float = 0.9) -> Search:
    """The search of a name; ``curvature`` is c₂ of the Wolfe conditions."""
    return {"wolfe": wolfe(curvature=curvature), "armijo": armijo, "exact": exact}[name]


def descent(
    fresh: Callable[[Tensor], State],
    direction: Callable[[State, Tensor], Tensor],
    learn: Callable[[State, Tensor, Tensor, Tensor, Tensor], State],
    search: Search,
    *,
    minibatch: int = 0,
    forgets: bool = False,
    first: Callable[[State, Tensor], Tensor] | None = None,
    sufficient: float = 0.0,
    again: Callable[..., Taken] | None = None,
    matrices: int = 0,
) -> Optimizer:
    """An optimizer that goes along a direction as far as a line search says.

    Args:
        fresh: θ -> memory of nothing.
        direction: (memory, g) -> d. Where gᵀd is not negative, −g takes its place.
        learn: (memory, d, step s, g before, g after) -> memory.
        minibatch: iterations on each minibatch; 0 for the full batch, where each step is one
            iteration and takes the loss and gradient at which the last search ended as its own, if θ is
            still there and the loss is steady (``Oracle.steady``); else it asks for them, as for another minibatch.
        forgets: memory of one minibatch is of no use on the next.
        first: (memory, g) -> the length to try first; without it the one that would decrease a
            linear loss as much as the last step did, at most 1, and 1.01/‖g‖ at the first step.
        sufficient, again: where the next direction d′ would not descend enough from where the search
            ended, g′ᵀd′ > −``sufficient``·g′ᵀg′, another search, ``again``, is asked for a point from
            which it does; the first one's point is taken if there is none.
        matrices: see ``Needs``.

    A search that finds nothing empties the memory, so that the next direction is −g, and is
    counted in the state's ``misses``. One along −g would find nothing again: θ then stays, until
    there is another minibatch.
    """

    def init(oracle: Oracle, theta: Tensor) -> State:
        value, g = oracle.gradient(theta)
        return {**_at(value, g), "memory": fresh(theta), "misses": 0.0, "at": theta}

    def _at(value: Tensor, g: Tensor) -> State:
        return {"value": value, "g": g, "before": value + g.norm() / 2, "still": value != value}

    def iterate(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        import torch

        value, g, memory = state["value"], state["g"], state["memory"]
        d = direction(memory, g)
        d = torch.where(dot(g, d) < 0, d, -g)
        alike = 2.02 * (value - state["before"]) / dot(g, d)
        alike = torch.where((alike > 0) & (alike < 1), alike, 1.0)
        length = (first(memory, g) if first else alike).where(~state["still"], 0.0)
        taken = search(oracle, theta, value, g, d, length)
        if again is not None:

            def accepts(length: Tensor, gradient: Tensor) -> Tensor:
                following = direction(learn(memory, d, length * d, g, gradient), gradient)
                return dot(gradient, following) <= -sufficient * dot(gradient, gradient)

            poor = taken.found & (taken.length > 0) & ~accepts(taken.length, taken.gradient)
            better = again(oracle, theta, value, g, d, length.where(poor, 0.0), accepts)
            taken = either(poor & better.found, better, taken)
        s = taken.length * d
        memory = either(taken.found, learn(memory, d, s, g, taken.gradient), fresh(theta))
        return torch.where(taken.length > 0, theta + s, theta), {
            **state,
            "value": taken.value,
            "g": taken.gradient,
            "before": value,
            "memory": memory,
            "misses": state["misses"] + ~taken.found,
            "still": state["still"] | (~taken.found & (taken.length == 0) & (d == -g).all()),
        }

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        def renewed(oracle: Oracle) -> State:
            memory = {"memory": fresh(theta)} if forgets else {}
            return {**_at(*oracle.gradient(theta)), **memory}

        if minibatch or not getattr(oracle, "steady", True):
            state = {**state, **renewed(oracle)}
        else:

            def renew(old: State, stale: Tensor) -> tuple[State, Tensor]:
                return either(stale, renewed(among(oracle, stale)), old), stale

            kept = {key: state[key] for key in ("value", "g", "before", "still", *(("memory",) if forgets else ()))}
            state = {**state, **repeat(renew, kept, (theta != state["at"]).any())}
        for _ in range(max(minibatch, 1)):
            theta, state = iterate(oracle, state, theta)
        return theta, {**state, "at": theta}

    needs = Needs(full_batch=not minibatch, searches=True, matrices=matrices)
    return Optimizer(init, step, needs=needs)


@optimizer(section="4.3", reference="Cauchy 1847", slow=True)
def gradient_descent(search: SearchName = "wolfe", minibatch: Natural = 0) -> Optimizer:
    """Steepest descent with a line search: θ ← θ − a g, with a found anew at each step.

    ``search``: ``wolfe`` (Moré & Thuente), ``armijo`` (backtracking) or ``exact`` (the minimum of the
    quadratic model along −g). With ``minibatch`` = n, n iterations on each minibatch; 0 is for
    the full batch, and makes one on each where it gets minibatches.
    """

    def direction(memory: State, g: Tensor) -> Tensor:
        return -g

    def learn(memory: State, *news: Tensor) -> State:
        return memory

    return descent(lambda theta: {}, direction, learn, search_named(search), minibatch=minibatch)
