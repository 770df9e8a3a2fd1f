"""Users' own modules, by file or by name."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from problems.beside import beside, builtins_of
from problems.names import UsageError

RAISED = (Exception, SystemExit)  # what somebody's code may end with; an interrupt is not its own
_OURS = ("suite", "problems", "analysis")
_PREFIX = "_suite_user"  # of the names under which files are imported


def sources(file: Path) -> list[Path]:
    """A user's file and the modules beside it, or in this folder, that it imports: the code that it stands on."""
    found: list[Path] = []
    waiting = [file]
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.append(at)
            places = sorted(_imported(at, (file.parent, Path.cwd())))
            waiting += [p for place in places for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]
    return found


def _imported(file: Path, roots: Sequence[Path]) -> set[Path]:
    """Where the modules that a file may import would lie, without their suffix; none of the suite's."""
    places = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names, folders = [alias.name for alias in node.names], roots
        elif isinstance(node, ast.ImportFrom):
            inner = [alias.name for alias in node.names if alias.name != "*"]
            names = [".".join(filter(None, (node.module, name))) for name in inner] + [node.module or ""]
            folders = [file.parents[node.level - 1]] if node.level else roots
        else:
            continue
        own = [name for name in names if name and name.partition(".")[0] not in _OURS]
        places |= {folder.joinpath(*name.split(".")) for name in own for folder in folders}
    return places


def own_file(module: ModuleType) -> Path | None:
    """The file of a module that is a user's own: imported as a file, or lying below the folder that one works in."""
    file = Path(module.__file__).resolve() if module.__file__ else None
    if file is None or file.suffix != ".py" or module.__name__.partition(".")[0] in _OURS:
        return None
    own = module.__name__.startswith(f"{_PREFIX}.")
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return file if own or (file.is_relative_to(Path.cwd()) and not installed) else None


def import_file(path: str) -> ModuleType:
    """Import a user's file under a name of its own; its errors are told with the line that raised them.

    It may import what lies beside it, where that hides no other module.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise UsageError(f"{path}: no such file (looked for {file})")
    name = f"{_PREFIX}." + hashlib.sha256(str(file).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    location = importlib.util.spec_from_file_location(name, file)
    assert location is not None and location.loader is not None
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    vars(module)["__builtins__"] = builtins_of(file.parent)
    try:
        with beside(file.parent):
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
    except RAISED as error:
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
