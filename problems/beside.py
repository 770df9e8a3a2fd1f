"""What lies beside a user's file and is imported by it: each folder has its own, whatever another's is called."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

_modules: dict[Path, dict[str, ModuleType]] = {}  # of each folder, by name


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Imports in the block find what lies in a folder, where that hides no other module but those of such folders."""
    own = _modules.setdefault(folder, {})
    for name, module in [pair for other, found in _modules.items() if other != folder for pair in found.items()]:
        if _has(folder, name) and sys.modules.get(name) is module:
            del sys.modules[name]
    sys.modules.update(own)
    others = {str(other) for other in _modules if other != folder}
    aside = [(place, entry) for place, entry in enumerate(sys.path) if entry in others]
    sys.path[:] = [entry for entry in sys.path if entry not in others]
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    before = set(sys.modules)
    try:
        yield
    finally:
        for place, entry in aside:
            sys.path.insert(place, entry)
        own.update({name: sys.modules[name] for name in set(sys.modules) - before if _has(folder, name)})


def builtins_of(folder: Path) -> dict[str, Any]:
    """The builtins of a file in a folder: whenever it imports what lies beside it, it gets that."""

    def from_beside(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  # the names of __import__'s own arguments
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level or not _has(folder, name):
            return builtins.__import__(name, globals, locals, fromlist, level)
        with beside(folder):
            return builtins.__import__(name, globals, locals, fromlist, level)

    return {**vars(builtins), "__import__": from_beside}


def _has(folder: Path, name: str) -> bool:
    """Whether a module of this name may be one of the folder's."""
    top = name.partition(".")[0]
    return (folder / f"{top}.py").is_file() or (folder / top).is_dir()
