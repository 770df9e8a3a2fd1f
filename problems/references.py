"""Users' own modules, by file or by name."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from problems.names import UsageError

_OURS = ("suite", "problems", "analysis")


def sources(file: Path) -> list[Path]:
    """A user's file and the modules beside it, or in this folder, that it imports: the code that it stands on."""
    found: list[Path] = []
    waiting = [file]
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.append(at)
            modules = [Path(*name.split(".")) for name in _imported(at)]
            places = [folder / module for module in sorted(modules) for folder in (file.parent, Path.cwd())]
            waiting += [p for place in places for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]
    return found


def _imported(file: Path) -> set[str]:
    """The modules that a file may import, by name; none of the suite's."""
    names = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*")}
    return {name for name in names if name.partition(".")[0] not in _OURS}


def import_file(path: str) -> ModuleType:
    """Import a user's file under a name of its own; its errors are told with the line that raised them.

    It may import what lies beside it, where that hides no other module.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise UsageError(f"{path}: no such file (looked for {file})")
    name = "_suite_user." + hashlib.sha256(str(file).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    location = importlib.util.spec_from_file_location(name, file)
    assert location is not None and location.loader is not None
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        location.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt | UsageError):
            raise
        raise UsageError(f"{path} cannot be imported: {told(error, str(file))}") from error
    return module


def import_module(name: str) -> ModuleType:
    """Import a module by name; its errors are told as a user's mistake."""
    try:
        return importlib.import_module(name)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{name} cannot be imported: {told(error, name)}") from error


def told(error: BaseException, file: str) -> str:
    """An error with the line of a user's file in which it arose."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno})"
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    words = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{words}" + (f" (line {lines[-1]})" if lines else "")
