"""Records as JSON files, one for each, in a folder of the results.

Like the files of runs they appear whole or not at all, and share nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Kind = TypeVar("Kind", bound="DataclassInstance")


def save(record: Mapping[str, Any], folder: str | Path, key: Any) -> Path:
    """Keep a record in a folder; one of the same key is replaced.

    Args:
        key: what makes it the record that it is, as plain values.

    Raises:
        StoreError: the disk is full or the folder cannot be written to.
    """
    from suite.export import to_json
    from suite.store import StoreError

    target = file_of(folder, key)
    part = target.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(to_json(record), encoding="utf-8")
        os.replace(part, target)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def file_of(folder: str | Path, key: Any) -> Path:
    """Where the record of a key is kept."""
    return Path(folder) / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]}.json"


def here(of: Sequence[Any], environment: Mapping[str, Any]) -> list[Any]:
    """The key of something that was measured: what it is of, and the machine."""
    return [*of, *(environment.get(key) for key in ("processor", "device", "threads", "torch"))]


def kept(kind: type[Kind], folder: str | Path, of: Sequence[Any], device: str) -> Kind | None:
    """What was measured on this machine's device, with one thread, in this version of the suite; None if nothing was.

    Args:
        kind: a dataclass, whose fields the record has.
        of: what it is of, as it was saved.
    """
    from suite.environment import environment

    now = environment(device) | {"threads": 1}
    try:
        record = json.loads(file_of(folder, here(of, now)).read_text("utf-8"))
        same = record["environment"].get("commit") == now["commit"]
        return kind(**{each.name: record[each.name] for each in fields(kind)}) if same else None
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
        return None


def load(folder: str | Path) -> list[dict[str, Any]]:
    """The records of a folder, in the order of their files' names; those that cannot be read are named in a warning."""
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(record, dict):
                raise ValueError(f"it is a {type(record).__name__}")
            found.append(record)
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is not a readable record, passed over ({error})", stacklevel=2)
    return found
