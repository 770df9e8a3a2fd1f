"""Whether reading and fetching data may show how far they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

_ASKED = "SUITE_QUIET"  # an environment variable, so that processes that this one starts hear of it
_TQDM = "TQDM_DISABLE"  # tqdm's own, for torchvision's downloads


@contextmanager
def silence(asked: bool = True) -> Iterator[None]:
    """No progress in the block, in this process and in those that it starts, if asked."""
    before = {name: os.environ.get(name) for name in (_ASKED, _TQDM)}
    if asked:
        os.environ.update({_ASKED: "1", _TQDM: "1"})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def is_silent() -> bool:
    """Whether no progress is to be shown."""
    return bool(os.environ.get(_ASKED))


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
