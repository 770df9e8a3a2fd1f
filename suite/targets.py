"""Targets as a person asks for them, in place of the problems' own: ``valid_accuracy>=0.97``.

Parts are separated by commas. Each is a value, ``0.97``, of the measure that the problem's own
target has, or a measure with one; a problem's name and a colon before it say whose it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from problems.names import UsageError
from problems.problem import Problem, Target

_PART = re.compile(r"(?:(?P<name>[^:]+):)?\s*(?:(?P<measure>\w+)\s*(?P<sign><=|>=)\s*)?(?P<value>[-+.\w]+)$")
ORIGIN = "asked for"


def targets(text: str, problems: Sequence[tuple[str, Problem]]) -> list[Target | None]:
    """The target of each problem: what the text says, or its own.

    Args:
        problems: each with its name as a person wrote it.

    Raises:
        UsageError: a part that cannot be read, or that fits none or, without a name, several problems.
    """
    found = [made.target for _, made in problems]
    for part in filter(None, (part.strip() for part in re.split(r",(?![^(]*\))", text))):
        matched = _PART.match(part)
        if matched is None:
            raise UsageError(
                f"target: expected a value or a measure with one, as in valid_accuracy>=0.97, got {part!r}"
            )
        for i in _meant(part, matched, [name for name, _ in problems]):
            found[i] = _target(part, matched, problems[i][1])
    return found


def _meant(part: str, matched: re.Match[str], names: Sequence[str]) -> list[int]:
    """The places of the problems that a part is for."""
    name = matched["name"]
    if name is None:
        if len(names) > 1:
            raise UsageError(f"target: say of which problem {part!r} is, as in {names[0]}:{part}")
        return [0]
    chosen = [i for i, own in enumerate(names) if own == name.strip()]
    if not chosen:
        raise UsageError(f"target: {name.strip()} is not among the problems compared, {', '.join(names)}")
    return chosen


def _target(part: str, matched: re.Match[str], made: Problem) -> Target:
    try:
        value = float(matched["value"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"target: the value must be a finite number, got {matched['value']!r}")
    measure = matched["measure"] or (made.target.measure if made.target else None)
    known = [f"{split}_{name}" for split in made.splits for name in ("loss", *made.metrics)]
    if measure is None:
        raise UsageError(f"target: {made.name} has none of its own; name a measure, {', '.join(known)}")
    if measure not in known:
        raise UsageError(f"target: {made.name} has no measure {measure!r}, but {', '.join(known)}")
    better = made.better(measure)
    sign = {"higher": ">=", "lower": "<="}[better]
    if matched["sign"] not in (None, sign):
        raise UsageError(f"target: of {measure} {better} values are better: write {measure}{sign}{matched['value']}")
    return Target(measure, value, "higher" if better == "higher" else "lower", ORIGIN)
