"""Ctrl-C that is not lost: other people's code may catch it by a bare ``except``, as some does when it is imported."""

from __future__ import annotations

import signal
from typing import Any

_pressed = False


def heed() -> None:
    """Remember from now on that Ctrl-C was pressed, where it is not ignored and nobody else listens."""
    global _pressed
    _pressed = False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def check() -> None:
    """Raise what somebody caught.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, and the command goes on nevertheless.
    """
    global _pressed
    if _pressed:
        _pressed = False
        raise KeyboardInterrupt


def _interrupt(number: int, frame: Any) -> None:
    global _pressed
    _pressed = True
    signal.default_int_handler(number, frame)
