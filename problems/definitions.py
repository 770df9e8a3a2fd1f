"""The code that a definition computes by, so that results of another version are not taken for its own.

It is read from the source: the definition, the functions, classes and constants that it names, and what these name
in their turn, as far as they lie in some modules. Comments, docstrings, decorators and the places where things stand
do not count, for they change no result.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import tokenize
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Place = tuple[str, str]  # (module, name in it); the name is empty for the module itself
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINED = (*_FUNCTIONS, ast.ClassDef)
_INTERFACES = (".base", ".layout")
_UNSAID = ("annotation", "returns", "decorator_list")  # fields of a node that hold types, and what registers it


def code(factory: Callable[..., Any], within: Sequence[str]) -> str:
    """The text of a definition and of all that it stands on.

    Args:
        within: the modules, and packages with all of theirs, into which names are followed. In one called ``base`` or
            ``layout`` only functions are: its classes and registries say what things look like, not what they compute.

    Raises:
        OSError, TypeError, SyntaxError: there is no source.
    """
    found = inspect.unwrap(factory)
    own = _source(found.__module__)
    if own is None or found.__qualname__ not in own.bound:
        return inspect.getsource(factory)
    return _closure([(found.__module__, found.__qualname__)], within)


def borrowed(files: Sequence[Path], within: Sequence[str]) -> str:
    """The text of what files name of some modules, as :func:`code` gives it, and of all that this stands on.

    Raises:
        OSError, SyntaxError: a file cannot be read.
    """
    named = {place for file in files for place in _Source("", file).stands_on("")}
    return _closure([place for place in sorted(named) if _followed(place, within)], within)


def _closure(waiting: list[Place], within: Sequence[str]) -> str:
    texts: dict[Place, str] = {}
    while waiting:
        place = waiting.pop()
        source = _source(place[0])
        if place not in texts and source is not None:
            texts[place] = source.text(place[1])
            waiting += [near for near in source.stands_on(place[1]) if _followed(near, within)]
    return "\n".join(sorted(texts.values()))


def _followed(place: Place, within: Sequence[str]) -> bool:
    module, name = place
    if not any(module == inside or module.startswith(f"{inside}.") for inside in within):
        return False
    source = _source(module)
    node = None if source is None else source.bound.get(name)
    return isinstance(node, _FUNCTIONS) if module.endswith(_INTERFACES) else node is not None


class _Source:
    """A module's text, and what each name at its top level is bound to."""

    def __init__(self, name: str, file: Path) -> None:
        text = file.read_text("utf-8")
        self.name, self.is_package = name, file.name == "__init__.py"
        self.lines = _bare(text)
        self.bound: dict[str, ast.stmt] = {}
        self.imported: dict[str, Place] = {}
        self.tree = ast.parse(text)
        for node in self.tree.body:
            if isinstance(node, _DEFINED):
                self.bound[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
                self.bound.update(dict.fromkeys(names, node))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.imported |= self._imports(node)

    def text(self, name: str) -> str:
        """What is bound to a name, without what does not matter."""
        node = self.bound[name]
        assert node.end_lineno is not None
        unsaid = {line for doc in _docstrings(node) for line in range(doc.lineno, (doc.end_lineno or 0) + 1)}
        kept = [n for n in range(node.lineno, node.end_lineno + 1) if n not in unsaid]
        return "\n".join(line for n in kept if (line := self.lines[n - 1]))

    def stands_on(self, name: str) -> set[Place]:
        """Where what is bound to a name takes things from; the whole module with an empty one."""
        node = self.bound[name] if name else self.tree
        known = dict(self.imported)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                known |= self._imports(inner)
        return {place for chain in _names(node) for place in self._places(chain, known)}

    def _places(self, chain: list[str], known: dict[str, Place]) -> Iterator[Place]:
        """What ``name.attribute`` may stand for: a name here, one that was imported, or one of an imported module."""
        first, *attributes = chain
        if first in known:
            module, name = known[first]
            yield module, name
            if attributes:
                yield (f"{module}.{name}" if name else module), attributes[0]
        else:
            yield self.name, first

    def _imports(self, node: ast.Import | ast.ImportFrom) -> dict[str, Place]:
        if isinstance(node, ast.Import):
            return {alias.asname or alias.name.partition(".")[0]: (alias.name, "") for alias in node.names}
        package = self.name.split(".")[: (None if self.is_package else -1) if node.level == 1 else -node.level]
        base = ".".join([*package, *([node.module] if node.module else [])]) if node.level else str(node.module)
        return {alias.asname or alias.name: (base, alias.name) for alias in node.names}


@cache
def _source(name: str) -> _Source | None:
    """A module's source; None where there is no such module, or none in Python."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    written = found is not None and found.origin is not None and found.origin.endswith(".py")
    return _Source(name, Path(str(found.origin))) if found is not None and written else None


def _bare(text: str) -> list[str]:
    """The lines without comments and without blanks at their ends."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    return [line.rstrip() for line in lines]


def _docstrings(node: ast.AST) -> Iterator[ast.stmt]:
    """The docstrings in a definition that stand on lines of their own."""
    for inner in ast.walk(node):
        if isinstance(inner, _DEFINED) and len(inner.body) > 1:
            first = inner.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.lineno > inner.lineno:
                yield first


def _names(node: ast.AST) -> Iterator[list[str]]:
    """The names that a definition asks for when it runs, with an attribute where one is taken."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield [node.value.id, node.attr]
    elif isinstance(node, ast.Name):
        yield [node.id]
    else:
        for field, value in ast.iter_fields(node):
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, ast.AST) and field not in _UNSAID:
                    yield from _names(inner)
