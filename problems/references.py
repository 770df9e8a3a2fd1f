"""Users' own modules, by file or by name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from problems.names import UsageError


def import_file(path: str) -> ModuleType:
    """Import a user's file under a name of its own; its errors are told with the line that raised them."""
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
    try:
        location.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt | UsageError):
            raise
        raise UsageError(f"{path} cannot be imported: {_told(error, str(file))}") from error
    return module


def import_module(name: str) -> ModuleType:
    """Import a module by name; its errors are told as a user's mistake."""
    try:
        return importlib.import_module(name)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{name} cannot be imported: {_told(error, name)}") from error


def _told(error: BaseException, file: str) -> str:
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None and line is None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")
