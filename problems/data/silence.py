"""Whether reading and fetching data may show how far they are."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any

_ASKED = "SUITE_QUIET"  # an environment variable, so that processes that this one starts hear of it


@contextmanager
def silence(asked: bool = True) -> Iterator[None]:
    """No progress in the block, in this process and in those that it starts, if asked."""
    begun = asked and not is_silent()
    if begun:
        os.environ[_ASKED] = "1"
    try:
        yield
    finally:
        if begun:
            del os.environ[_ASKED]


def is_silent() -> bool:
    """Whether no progress is to be shown."""
    return bool(os.environ.get(_ASKED))


@contextmanager
def unheard() -> Iterator[None]:
    """What the block prints is not shown, where no progress is to be; for libraries that cannot be told."""
    if not is_silent():
        yield
        return
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


@contextmanager
def without_bars(library: Any) -> Iterator[None]:
    """The library ``datasets`` without its progress bars in the block, where no progress is to be shown."""
    from huggingface_hub import utils

    with _off(library), _off(utils):
        yield


def _off(switch: Any) -> Any:
    return _turned(switch) if is_silent() and not switch.are_progress_bars_disabled() else nullcontext()


@contextmanager
def _turned(switch: Any) -> Iterator[None]:
    switch.disable_progress_bars()
    try:
        yield
    finally:
        switch.enable_progress_bars()
