"""Probes of the gradient: its size, its noise, its direction, and the curvature along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Count, Fraction, Natural
from problems.problem import Problem
from suite.optimizers.base import dot
from suite.probes.base import Measures, Memory, Probe, Seen, When, by_piece, norm, probe

if TYPE_CHECKING:
    from torch import Tensor


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """aᵀb/(‖a‖‖b‖), from −1 to 1; NaN where a vector is 0, for it has no direction."""
    return (dot(a, b) / (norm(a) * norm(b))).clamp(-1, 1)


@probe(section="8.1.3")
def loss(every: Count = 1, per_decade: Natural = 0) -> Probe:
    """The loss of each step's minibatch, ``minibatch_loss``, before the update.

    Args:
        every: steps from one measurement to the next.
        per_decade: so many in each power of ten instead, evenly spaced in their logarithm; 0 for ``every``.
    """
    return Probe(When(every, per_decade), lambda seen, memory: {"minibatch_loss": seen.losses})


@probe(section="8.2.1", figure="8.1")
def gradient_norm(every: Count = 1, per_decade: Natural = 0, layers: bool = False, mean: Fraction = 0.0) -> Probe:
    """‖g‖ of each step's minibatch gradient, which may grow all through successful training.

    Args:
        every, per_decade: as in ``loss``.
        layers: also of each piece of θ, as ``gradient_norm/layer1.weight``.
        mean: ρ of a running mean over the measured steps, ``gradient_norm_mean``:
            m ← ρm + (1 − ρ)‖g‖, divided by its weights' sum 1 − ρᵗ; 0 for none.

    Source: *Deep Learning*, section 8.2.1 and figure 8.1.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        import torch

        found = {"gradient_norm": norm(seen.gradient)}
        if mean:
            value = found["gradient_norm"]
            memory["sum"] = mean * memory.get("sum", torch.zeros_like(value)) + (1 - mean) * value
            memory["weight"] = mean * memory.get("weight", torch.zeros_like(value)) + (1 - mean)
            found["gradient_norm_mean"] = memory["sum"] / memory["weight"]
        if layers:
            found |= by_piece("gradient_norm", seen.layout, seen.gradient, norm)
        return found

    return Probe(When(every, per_decade), measure)


@probe(section="8.2.1", equation="8.10")
def curvature(every: Count = 20, per_decade: Natural = 0) -> Probe:
    """gᵀg and gᵀHg of the step's minibatch, and what each says that a step of −εg changes.

    To second order a step of −εg changes the loss by −εgᵀg + ½ε²gᵀHg (equation 8.10). ``gTg`` and
    ``gTHg``; where the optimizer has a learning rate ε, also ``first_order`` εgᵀg and ``second_order``
    ½ε²gᵀHg. Where the second exceeds the first, the step is too large for the curvature along it.

    Args:
        every, per_decade: as in ``loss``; a measurement costs about two gradients.

    Source: *Deep Learning*, section 8.2.1.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        first, second = dot(seen.gradient, seen.gradient), dot(seen.gradient, seen.product())
        found = {"gTg": first, "gTHg": second}
        if seen.rate is not None:
            found |= {"first_order": seen.rate * first, "second_order": seen.rate**2 * second / 2}
        return found

    return Probe(When(every, per_decade), measure)


def _not_split(problem: Problem, batch_size: int) -> str:
    count = batch_size or len(problem.train)
    return "" if count >= 2 else f"a variance needs at least 2 examples in a minibatch, got {count}"


@probe(section="8.1.3")
def gradient_noise(every: Count = 100, per_decade: Natural = 0, minibatches: Natural = 0) -> Probe:
    """tr Σ, the variance of gradients over the minibatch's examples, and what averaging leaves of it.

    ``gradient_variance`` = Σᵢ ‖gᵢ − g‖²/(n − 1) estimates tr Σ without bias. The gradient of n examples is
    off by ``gradient_noise`` = √(tr Σ/n), the 1/√n law: ten times the accuracy takes a hundred times the
    examples. ``noise_scale`` = tr Σ/‖∇L‖², with ‖∇L‖² estimated as ‖g‖² − tr Σ/n, is the number of examples
    at which noise and gradient are equal (McCandlish et al. 2018); NaN where noise drowns the gradient.

    Args:
        every, per_decade: as in ``loss``.
        minibatches: also the variance over so many minibatches of n drawn for this alone, at least 2:
            ``minibatch_variance``, which by the law is tr Σ/n (times 1 − n/N where N examples are all
            there are, for a minibatch holds none twice); 0 for none.

    Source: *Deep Learning*, section 8.1.3.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        spread, squared = seen.spread(), dot(seen.gradient, seen.gradient)
        error = spread / seen.examples
        scale = (spread / (squared - error)).where(squared > error, spread.new_tensor(float("nan")))
        found = {"gradient_variance": spread, "gradient_noise": error.sqrt(), "noise_scale": scale}
        if minibatches:
            found["minibatch_variance"] = seen.spread_of_minibatches(minibatches)
        return found

    def against(problem: Problem, batch_size: int) -> str:
        if minibatches == 1:
            return "minibatches must be 0 or >= 2, got 1"
        return _not_split(problem, batch_size)

    return Probe(When(every, per_decade), measure, against=against)


@probe()
def cosine_previous(every: Count = 1, per_decade: Natural = 0) -> Probe:
    """The cosine of the angle between g and the gradient measured before: near −1 where steps bounce from wall to wall.

    Args:
        every, per_decade: as in ``loss``. The first measurement has none before it, and is NaN.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        before = memory.get("gradient")
        value = seen.losses * float("nan") if before is None else _cosine(seen.gradient, before)
        if before is None:
            memory["gradient"] = seen.gradient.clone()
        else:
            before.copy_(seen.gradient)
        return {"cosine_previous": value}

    return Probe(When(every, per_decade), measure)


@probe(section="8.1.3")
def cosine_full(every: Count = 100, per_decade: Natural = 0) -> Probe:
    """The cosine of the angle between g and the gradient over the whole training split.

    ``cosine_full``, and ``full_gradient_norm``.

    Args:
        every, per_decade: as in ``loss``; a measurement is a pass over the training split.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        full = seen.full_gradient()
        return {"cosine_full": _cosine(seen.gradient, full), "full_gradient_norm": norm(full)}

    return Probe(When(every, per_decade), measure)
