"""Probes of where θ goes: how far from its start, how far in all, and how large a step is beside it."""

from __future__ import annotations

from problems.bounds import Count, Natural
from suite.probes.base import Measures, Memory, Probe, Seen, When, norm, probe


@probe()
def distance(every: Count = 10, per_decade: Natural = 0) -> Probe:
    """‖θ − θ₀‖, the distance from the start, as ``distance``.

    Args:
        every: steps from one measurement to the next.
        per_decade: so many in each power of ten instead, evenly spaced in their logarithm; 0 for ``every``.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        if "start" not in memory:  # step 0 is measured in every schedule
            memory["start"] = seen.theta.clone()
        return {"distance": norm(seen.theta - memory["start"])}

    return Probe(When(every, per_decade), measure)


@probe()
def path_length(every: Count = 1, per_decade: Natural = 0) -> Probe:
    """The length Σ‖θ_{k+1} − θ_k‖ of the way from θ₀ through the measured points.

    Exact where every step is measured; with wider steps corners are cut, so it is a lower bound. The
    ratio of ``distance`` to it says how straight the way is.

    Args:
        every, per_decade: as in ``distance``.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        if "at" not in memory:
            memory["at"], memory["length"] = seen.theta.clone(), seen.losses.new_zeros(len(seen.theta))
        memory["length"] = memory["length"] + norm(seen.theta - memory["at"])
        memory["at"].copy_(seen.theta)
        return {"path_length": memory["length"]}

    return Probe(When(every, per_decade), measure)


@probe()
def update_ratio(every: Count = 10, per_decade: Natural = 0, layers: bool = False) -> Probe:
    """‖θ_{k+1} − θ_k‖/‖θ_k‖, the step relative to what it changes; infinite where θ_k is 0.

    Args:
        every, per_decade: as in ``distance``.
        layers: also of each piece of θ, as ``update_ratio/layer1.weight``. A bias that starts at 0
            begins with an infinite ratio.
    """

    def measure(seen: Seen, memory: Memory) -> Measures:
        assert seen.moved is not None
        found = {"update_ratio": norm(seen.moved) / norm(seen.theta)}
        if layers:
            for piece, (a, b) in seen.layout.spans.items():
                found[f"update_ratio/{piece}"] = norm(seen.moved[:, a:b]) / norm(seen.theta[:, a:b])
        return found

    return Probe(When(every, per_decade), measure, after=True)
