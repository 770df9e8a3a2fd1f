"""Names as a person would write them, also of what is not defined on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from problems.names import UsageError, parse
from problems.problem import problem
from problems.registry import Registry
from suite.frames import outline
from suite.optimizers import optimizer

MOST = 6  # names that are told one by one


def short_optimizer(text: str) -> str:
    """An optimizer without the settings that are at their defaults."""
    return _short(optimizer, text)


def short_problem(text: str) -> str:
    """A problem without the settings that are at their defaults."""
    return _short(problem, text)


def _short(registry: Registry[Any], text: str) -> str:
    spec = parse(text)
    try:
        return str(registry.short(registry.bind(spec)))
    except UsageError:  # its definition is not here, or has changed
        return outline(spec)


def listed(names: Sequence[str]) -> str:
    """``a, b and c``; of many the first five, and how many others."""
    if len(names) > MOST:
        names = [*names[: MOST - 1], f"{len(names) - MOST + 1} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def slug(*words: str) -> str:
    """A name for a file: letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(words)).strip("-").lower()
