"""What is told of an error in somebody's definition."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from problems.names import UsageError

_ROOT = Path(__file__).resolve().parents[1]
_OURS = (_ROOT / "suite", _ROOT / "problems")
_PYTHON = Path(sysconfig.get_path("stdlib"))
_INSTALLED = {"site-packages", "dist-packages"}  # which may lie below Python's own


def told(error: BaseException) -> str:
    """An error with the place in the author's own code that raised it."""
    if isinstance(error, UsageError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    here = [f for f in frames if f.line and not _elsewhere(Path(f.filename))]  # a line that can be looked up
    place = f" ({here[-1].filename}, line {here[-1].lineno})" if here else ""
    words = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{words}{place}"


def _elsewhere(file: Path) -> bool:
    """Whether a frame is in torch, in Python or in the suite, where an author need not look."""
    python = file.is_relative_to(_PYTHON) and not _INSTALLED & set(file.parts)
    return python or "torch" in file.parts or any(file.is_relative_to(folder) for folder in _OURS)
