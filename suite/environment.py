"""What a measurement was made on: results that differ in it are not pooled without saying so."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from analysis.replay.machine import printed, processor
from problems.names import UsageError


def environment(device: str = "cpu") -> dict[str, Any]:
    """The machine, the device and the versions, as plain values.

    Keys: ``processor``, ``cores`` (those this process may use), ``threads`` (torch's, now),
    ``device`` (its name), ``platform``, ``python``, ``torch``, ``numpy``, ``commit`` (of the
    suite, with ``+dirty`` if files differ from it; outside a checkout its version, as ``v0.1.0``).
    """
    import torch

    return {**_fixed(), "threads": torch.get_num_threads(), "device": device_name(device)}


@cache
def _fixed() -> dict[str, Any]:
    import numpy as np
    import torch

    from suite import __version__

    return {
        "processor": processor(),
        "cores": cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": _commit(Path(__file__).resolve().parents[1]) or f"v{__version__}",
    }


def machines(environments: Iterable[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], list[str]]]:
    """The distinct environments apart from the commit, each with the commits in it, as a person would write them."""
    found: dict[tuple[Any, ...], tuple[Mapping[str, Any], list[str]]] = {}
    for environment in environments:
        key = tuple((name, value) for name, value in environment.items() if name != "commit")
        commits = found.setdefault(key, (environment, []))[1]
        written = short(environment.get("commit", ""))
        commits += [] if written in commits or not written else [written]
    return list(found.values())


def short(commit: str) -> str:
    """A commit by its first ten digits, and whether files differed from it."""
    return commit[:10] + ("+dirty" if "+" in commit else "")


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def device_name(device: str) -> str:
    """A GPU's marketing name; ``cpu`` for a processor."""
    import torch

    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind


def check_device(name: str) -> str:
    """The name of a device that is here and works.

    Raises:
        UsageError: torch knows no such device, or it is not on this machine.
    """
    import torch

    try:
        torch.zeros(1, device=name).item()
    except Exception as error:  # each kind of device refuses with an error of its own
        first = re.split(r"\n|\. |: ", str(error) or type(error).__name__, maxsplit=1)[0]
        kind = name.partition(":")[0]
        if kind == "cuda" and not torch.cuda.is_available():
            first = "no CUDA device"
        elif first.startswith("Could not run"):
            first = f"no {kind.upper()} device"
        elif first.startswith("Expected one of"):  # followed by all kinds that there are anywhere
            first = f"torch knows no device {kind!r}{'; its name for one is cuda' if kind == 'gpu' else ''}"
        raise UsageError(
            f"device must be one that torch can use here, such as cpu or cuda, got {name!r}: {first}"
        ) from None
    return name


def _commit(root: Path) -> str:
    """The checkout's commit; empty where ``root`` is not the top of one, as in ``site-packages``."""
    top = printed("git", "-C", str(root), "rev-parse", "--show-toplevel")
    commit = printed("git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD")
    if not top or not commit or Path(top).resolve() != root:
        return ""
    dirty = printed("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return commit + ("+dirty" if dirty else "")
