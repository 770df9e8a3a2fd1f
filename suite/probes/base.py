"""What a probe is: a schedule says when, a measurement says what.

A run's probes are written as text, ``gradient_norm, curvature(every=20)``. They look at all
lanes of a group at once and change nothing: a run has the same bits with and without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from problems.names import Spec, UsageError, parse_list
from problems.problem import Problem
from problems.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from problems.layout import Layout

Memory = dict[str, "Tensor"]  # what a probe keeps from one time to the next, a lane axis in front
Measures = Mapping[str, "Tensor"]  # measure -> [lanes]


class Seen(Protocol):
    """What a probe sees of a step k, for all lanes; whatever several probes look at is computed once.

    ``theta`` is θ_k [lanes, D], before the update and after it. ``gradient`` is g [lanes, D] of the step's
    minibatch with its ``losses`` [lanes], taken at ``point``: the first gradient that the optimizer asks
    for, which costs nothing more. For most optimizers that is at θ_k, for a look-ahead method where it
    looks; those that ask for something else first have one evaluated for them, at θ_k.
    """

    step: int
    theta: Tensor
    point: Tensor
    losses: Tensor
    gradient: Tensor
    moved: Tensor | None  # θ_{k+1} − θ_k [lanes, D], once the update is done
    examples: int  # in the minibatch

    @property
    def problem(self) -> Problem:
        """What is minimized."""

    @property
    def layout(self) -> Layout:
        """The pieces of θ."""

    @property
    def rate(self) -> Tensor | None:
        """The learning rates [lanes] at this step, where the optimizer has one."""

    def product(self) -> Tensor:
        """Hg [lanes, D]: the Hessian of the minibatch's loss at ``point`` times g."""

    def full_gradient(self) -> Tensor:
        """The gradients over the whole training split at ``point`` [lanes, D]."""

    def spread(self) -> Tensor:
        """tr Σ [lanes] of the minibatch: Σᵢ ‖gᵢ − g‖²/(n − 1) over its n examples' gradients gᵢ."""

    def spread_of_minibatches(self, count: int) -> Tensor:
        """The same over the gradients at ``point`` of so many minibatches drawn for this alone."""

    def sums(self) -> Mapping[str, tuple[Tensor, ...]]:
        """The sums Wx + b of each hidden layer's units: for each lane [examples, units]."""


@dataclass(frozen=True)
class When:
    """Steps at which to measure: every so many, or so many in each decade, evenly spaced in their logarithm."""

    every: int = 1
    per_decade: int = 0

    def __contains__(self, step: int) -> bool:
        if not self.per_decade or step == 0:
            return step % self.every == 0
        from math import log10

        return round(10 ** (round(log10(step) * self.per_decade) / self.per_decade)) == step


def _nothing_against(problem: Problem, batch_size: int) -> str:
    return ""


@dataclass(frozen=True)
class Probe:
    """A measurement with its schedule.

    Args:
        measure: (seen, memory) -> values [lanes] by name; it may keep tensors in ``memory``, each with a
            lane axis in front.
        after: taken when the update is done, with ``seen.moved``; else between the gradient and the update.
        against: (problem, examples in a minibatch, 0 for all) -> why it cannot be measured there; empty if it can.
    """

    when: When
    measure: Callable[[Seen, Memory], Measures]
    after: bool = False
    against: Callable[[Problem, int], str] = field(default=_nothing_against)


probe: Registry[Probe] = Registry("probe", "suite.probes")


def bound(text: str | Iterable[Spec]) -> list[Spec]:
    """The probes that a text names, each bound and none twice.

    Raises:
        UsageError: an unknown name, a setting out of bounds.
    """
    specs = text if not isinstance(text, str) else parse_list(text) if text.strip() else []
    return list(dict.fromkeys(probe.bind(spec) for spec in specs))


def canonical(text: str) -> str:
    """The same text for every way to write the same probes in the same order."""
    return ", ".join(map(str, bound(text)))


def fingerprints(text: str) -> list[str]:
    """Digests of the definitions behind a bound text."""
    return [probe.fingerprint(spec) for spec in (parse_list(text) if text else [])]


def probes_of(text: str, problem: Problem, batch_size: int) -> dict[str, Probe]:
    """The probes of a bound text by their own text, which tells two of one kind apart.

    Raises:
        UsageError: one cannot be measured on this problem.
    """
    found: dict[str, Probe] = {}
    for spec in parse_list(text) if text else []:
        found[str(spec)] = probe.build(spec)
        reason = found[str(spec)].against(problem, batch_size)
        if reason:
            raise UsageError(f"{spec.name}: {reason}")
    return found


def norm(vectors: Tensor) -> Tensor:
    """The lengths [lanes] of vectors [lanes, n]."""
    import torch

    return torch.linalg.vector_norm(vectors, dim=1)


def by_piece(name: str, layout: Layout, vectors: Tensor, of: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """``of`` [lanes, size of the piece] -> [lanes] for every piece of θ, as ``name/piece``."""
    return {f"{name}/{piece}": of(vectors[:, a:b]) for piece, (a, b) in layout.spans.items()}
