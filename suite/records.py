"""Records as JSON files, one for each, in a folder of the results.

Like the files of runs they appear whole or not at all, and share nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


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


def load(folder: str | Path) -> list[dict[str, Any]]:
    """The records of a folder, in the order of their files' names; those that cannot be read are named in a warning."""
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is not a readable record, passed over ({error})", stacklevel=2)
    return found
