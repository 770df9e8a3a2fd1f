"""Probes of the hidden units: what they sum to, and which never fire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from problems.bounds import Count, Natural
from problems.problem import Problem
from suite.probes.base import Measures, Memory, Probe, Seen, When, probe

if TYPE_CHECKING:
    from torch import Tensor


def _no_layers(problem: Problem, batch_size: int) -> str:
    if problem.hidden:
        return ""
    return f"{problem.name} does not show what its hidden layers compute (Problem.hidden); perceptrons and CNNs do"


def _each(seen: Seen, name: str, of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """A number of each layer's sums [examples, units], as ``name/layer``."""
    import torch

    return {f"{name}/{layer}": torch.stack([of(x) for x in lanes]) for layer, lanes in seen.sums().items()}


@probe(section="8.4")
def activations(every: Count = 100, per_decade: Natural = 0) -> Probe:
    """Mean and standard deviation of what each hidden layer's units sum to, and the share of it that is positive.

    Over all units and the examples of the step's minibatch, before the nonlinearity:
    ``activation_mean/layer1``, ``activation_std/layer1`` and ``activation_positive/layer1``.

    Args:
        every: steps from one measurement to the next.
        per_decade: so many in each power of ten instead, evenly spaced in their logarithm; 0 for ``every``.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        return {
            **_each(seen, "activation_mean", lambda x: x.mean()),
            **_each(seen, "activation_std", lambda x: x.std(correction=0)),
            **_each(seen, "activation_positive", lambda x: (x > 0).to(x.dtype).mean()),
        }

    return Probe(When(every, per_decade), measure, against=_no_layers)


@probe(section="8.4")
def dead_units(every: Count = 100, per_decade: Natural = 0) -> Probe:
    """The share of each hidden layer's units that sum to 0 or less on every example of the minibatch.

    As ``dead_units/layer1``. A rectified unit that does so for all data has no gradient and stays as it is.
    Of a convolution the units are its channels, over all positions.

    Args:
        every, per_decade: as in ``activations``.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        return _each(seen, "dead_units", lambda x: (x.amax(0) <= 0).to(x.dtype).mean())

    return Probe(When(every, per_decade), measure, against=_no_layers)
