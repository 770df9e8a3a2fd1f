"""What is known of a definition that has a name."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from problems.bounds import Range
from problems.definitions import borrowed, code
from problems.parameters import In, Parameter
from problems.references import sources

T = TypeVar("T")


@dataclass(frozen=True)
class Family(Generic[T]):
    """The definitions of a package that go by its own names: ``torch.AdamW`` of ``torch.optim``.

    An entry whose ``meta`` has ``fails`` is left out where a pattern stands for several, if that says why it cannot
    be used by its name alone.

    Args:
        package: the name of the package.
        find: a member's name -> its entry; a ``UsageError`` where there is none, or none that can be made.
        members: the names that there are; a ``UsageError`` where the package is not installed.
    """

    package: str
    find: Callable[[str], Entry[T]]
    members: Callable[[], list[str]]


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A named factory with what is known of it."""

    name: str
    factory: Callable[..., T]
    parameters: tuple[Parameter, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    source: Path | None = None  # the file of a user's own definition
    kind: str = ""  # of the registry that it was made for
    within: tuple[str, ...] = ()  # the modules whose code counts as the definition's own (see ``definitions.code``)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        lines = (inspect.getdoc(self.factory) or "").strip().splitlines()
        return lines[0].rstrip(".") if lines else ""

    @property
    def wraps(self) -> bool:
        """Whether it makes one thing of another of its kind: a strategy, or a transform."""
        return any(p.kind == "nested" and not isinstance(p.bound, In) for p in self.parameters)

    @property
    def tune(self) -> Mapping[str, Range]:
        """Where tuning searches: setting -> range."""
        return self.meta.get("tune", {})

    @cached_property
    def fingerprint(self) -> str:
        """A short digest of what the definition computes by, so that results of another are not taken for its own."""
        try:
            files = sources(self.source) if self.source else []
            own = b"".join(file.read_bytes() for file in files)
            text = own + borrowed(files, self.within).encode() if files else code(self.factory, self.within).encode()
        except (OSError, TypeError, SyntaxError):
            text = repr(self.factory).encode()
        return hashlib.sha256(text).hexdigest()[:12]
