"""Several names in a few words: ``all``, ``book``, ``digits_*``, ``mine.py:*``, and what of them to leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from problems.entries import Entry
from problems.names import Spec, UsageError, parse_list
from problems.registry import Registry, hint_of

Text = str | Sequence[Spec]  # or what has been read of one
Lacks = Callable[[Entry[Any]], str]  # what has to be given beside a name; "" where that is enough


class Unmatched(UsageError):
    """A pattern that no name matches."""


def lacking(entry: Entry[Any]) -> str:
    """What must be given for it to be made; a strategy or a transform lacks what it wraps, be there a default."""
    required = " and ".join(p.name for p in entry.parameters if p.required)
    return f"{required or 'what it wraps'} must be given" if required or entry.wraps else ""


def selected(registry: Registry[Any], text: Text) -> list[Spec]:
    """The specs that a text names, as written, each once and in order.

    Beside specs, separated by commas, a text may have

    - a group of the registry's (``registry.groups``), such as ``all``;
    - a pattern of names with ``*`` for any letters and ``?`` for one; of what a file defines, ``mine.py:*``, or of
      what a family has, ``torch.*``; settings that follow are of each name it stands for;
    - a minus sign before a name, a group or a pattern: what was named so far, but not these.

    Groups and patterns stand for what can be made without being told more and wraps nothing; :func:`left_out` says
    what of a file or a family they leave out.

    Raises:
        UsageError: the text cannot be read, a pattern matches nothing, nothing is left, or what is left out was
            not among the names before it.
    """
    written = _read(text)
    found = picked(registry, written)
    if not found:
        raise UsageError(f"{', '.join(map(str, written))!r}: no {registry.kind} is left")
    return found


def picked(registry: Registry[Any], written: Sequence[Spec], lacks: Lacks = lacking) -> list[Spec]:
    """The same, where nothing may be left, and patterns stand for what lacks nothing by another rule."""
    found: dict[Spec, None] = {}
    for spec in written:
        if spec.name.startswith("-"):
            _leave_out(registry, found, spec, lacks)
        elif registry.is_group(spec.name):
            names = _matching(registry, spec.name, lacks)
            found.update(dict.fromkeys(Spec(name, spec.args, spec.kwargs) for name in names))
        else:
            found[spec] = None
    return list(found)


def left_out(registry: Registry[Any], text: Text, lacks: Lacks = lacking) -> dict[str, str]:
    """What patterns of a text match in files and families but do not stand for, with the reason of each."""
    names = [spec.name for spec in _read(text)]
    patterns = [name for name in names if not name.startswith("-") and registry.is_group(name)]
    found = {name: why for pattern in patterns for name, why in _matches(registry, pattern, lacks).items()}
    return {name: why for name, why in found.items() if why}


def candidates(registry: Registry[Any], pattern: str) -> list[str]:
    """The names among which a pattern looks: of a file's or a family's members, or those that are registered."""
    where = _where(registry, pattern)
    return registry.members(where[:-1]) if where else registry.names()


def _read(text: Text) -> Sequence[Spec]:
    return parse_list(text) if isinstance(text, str) else text


def _leave_out(registry: Registry[Any], found: dict[Spec, None], spec: Spec, lacks: Lacks) -> None:
    name = spec.name.removeprefix("-")
    names = _matching(registry, name, lacks) if registry.is_group(name) else [registry.find(name).name]
    gone = [s for s in found if registry.find(s.name).name in names]
    if not gone:
        before = ", ".join(map(str, found)) or "none"
        raise UsageError(f"{spec.name}: no such {registry.kind} among those before it ({before})")
    for each in gone:
        del found[each]


def _matching(registry: Registry[Any], name: str, lacks: Lacks) -> list[str]:
    """The names that a group or a pattern stands for."""
    found = _matches(registry, name, lacks)
    names = [each for each, why in found.items() if not why]
    if not names and found:
        reasons = "; ".join(f"{each}: {why}" for each, why in found.items())
        raise UsageError(f"no {registry.kind} that matches {name!r} can be used by its name alone ({reasons})")
    if not names:
        where = _where(registry, name)
        families = [] if where else [f"{family}.*" for family in registry.families]
        hint = hint_of(name[len(where) :], candidates(registry, name), families)
        raise Unmatched(f"no {registry.kind} matches {name!r}; {hint}")
    return names


def _matches(registry: Registry[Any], name: str, lacks: Lacks) -> Mapping[str, str]:
    """The names that a group or a pattern matches, each with why it does not stand for it; "" where it does."""
    where = _where(registry, name)
    if where:
        members = [member for member in candidates(registry, name) if fnmatchcase(member, name[len(where) :])]
        return {where + member: _refusal(registry, where + member, lacks) for member in members}
    chosen = registry.groups.get(name, lambda entry: fnmatchcase(entry.name, name))
    return {entry.name: "" for entry in registry if not lacks(entry) and chosen(entry)}


def _where(registry: Registry[Any], name: str) -> str:
    """What stands before a member's name in a pattern: ``mine.py:`` or ``torch.``; "" for registered names."""
    if ":" in name:
        return name[: name.rindex(":") + 1]
    family, dot, _ = name.partition(".")
    return family + dot if dot and family in registry.families else ""


def _refusal(registry: Registry[Any], name: str, lacks: Lacks) -> str:
    """Why it cannot be used by its name alone; empty if it can."""
    try:
        entry = registry.find(name)
    except UsageError as error:
        return str(error).removeprefix(f"{name}: ")
    fails: Callable[[], str] = entry.meta.get("fails", str)
    return lacks(entry) or fails()
