"""Memory at its peak, where the system tells of it and where it does not."""

from __future__ import annotations

import ctypes
import sys
from typing import NoReturn

import pytest
import torch

from suite.memory import Peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a process's peak")
def test_the_peak_is_that_of_what_was_held_at_once() -> None:
    with Peak("cpu") as peak:
        torch.ones(1 << 24).sum()
        torch.ones(1 << 23).sum()
    assert peak.bytes is not None
    assert 0.8 * 2**26 < peak.bytes < 1.7 * 2**26


def test_a_system_without_the_c_librarys_trimming_measures_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(name: str | None) -> NoReturn:
        raise TypeError("argument 1 must be str, not None")  # as on Windows

    monkeypatch.setattr(ctypes, "CDLL", nameless)
    with Peak("cpu") as peak:
        torch.ones(1000).sum()
    assert peak.bytes is None or peak.bytes >= 0
