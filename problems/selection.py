"""Several names in a few words: ``all``, ``book``, ``digits_*``, ``mine.py:*``, and what of them to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from problems.entries import Entry
from problems.names import Spec, UsageError, parse_list
from problems.registry import Registry


def selected(registry: Registry[Any], text: str) -> list[Spec]:
    """The specs that a text names, as written, each once and in order.

    Beside specs, separated by commas, a text may have

    - a group of the registry's (``registry.groups``), such as ``all``;
    - a pattern of names with ``*`` for any letters and ``?`` for one, or of what a file defines, ``mine.py:*``;
      settings that follow are of each name it stands for;
    - a minus sign before a name, a group or a pattern: what was named so far, but not these.

    Groups and patterns stand for what can be made without being told more and wraps nothing.

    Raises:
        UsageError: the text cannot be read, a pattern matches nothing, nothing is left, or what is left out was
            not among the names before it.
    """
    found: dict[Spec, None] = {}
    for spec in parse_list(text):
        if spec.name.startswith("-"):
            _leave_out(registry, found, spec)
        elif _is_group(registry, spec.name):
            found.update(dict.fromkeys(Spec(name, spec.args, spec.kwargs) for name in _matching(registry, spec.name)))
        else:
            found[spec] = None
    if not found:
        raise UsageError(f"{text!r}: no {registry.kind} is left")
    return list(found)


def _leave_out(registry: Registry[Any], found: dict[Spec, None], spec: Spec) -> None:
    name = spec.name.removeprefix("-")
    names = _matching(registry, name) if _is_group(registry, name) else [registry.find(name).name]
    gone = [s for s in found if registry.find(s.name).name in names]
    if not gone:
        before = ", ".join(map(str, found)) or "none"
        raise UsageError(f"{spec.name}: no such {registry.kind} among those before it ({before})")
    for each in gone:
        del found[each]


def _is_group(registry: Registry[Any], name: str) -> bool:
    return name in registry.groups or any(mark in name for mark in "*?")


def _matching(registry: Registry[Any], name: str) -> Sequence[str]:
    where, _, pattern = name.rpartition(":")
    if name in registry.groups:
        names = [entry.name for entry in registry if _whole(entry) and registry.groups[name](entry)]
    elif where:
        names = [f"{where}:{member}" for member in registry.members(where) if fnmatchcase(member, pattern)]
        names = [name for name in names if _whole(registry.find(name))]
    else:
        names = [entry.name for entry in registry if _whole(entry) and fnmatchcase(entry.name, name)]
    if not names:
        known = registry.members(where) if where else registry.names()
        raise UsageError(f"no {registry.kind} matches {name!r}; known are {', '.join(known) or 'none'}")
    return names


def _whole(entry: Entry[Any]) -> bool:
    """Whether it can be made by its name alone, and is no strategy or transform."""
    return not entry.wraps and not any(parameter.required for parameter in entry.parameters)
