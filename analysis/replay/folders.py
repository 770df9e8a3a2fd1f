"""Where things about this machine are remembered."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of calibrations and compiled chains: ``SUITE_CACHE``, or one in the user's cache folder."""
    named = os.environ.get("SUITE_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "suite"
