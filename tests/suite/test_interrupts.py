"""An interrupt that other people's code catches ends the command all the same, once what is finished is kept."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from suite import interrupts
from suite.ledger import Ledger
from suite.spec import Run
from suite.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")


@pytest.fixture
def heeded():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts.heed()
    yield
    signal.signal(signal.SIGINT, before)
    interrupts.heed()
    signal.signal(signal.SIGINT, before)


def press() -> None:
    """Ctrl-C while a module is imported that takes every error for a missing package."""
    with suppress(BaseException):
        signal.raise_signal(signal.SIGINT)


def test_what_was_caught_ends_training_with_the_next_result(heeded, tmp_path: Path) -> None:
    runs = [Run.make("digits_mlp", "sgd", seed=seed, steps=10, eval_every=10) for seed in range(3)]
    engine = FakeEngine()

    def train(missing, on_result, **options):
        press()
        engine(missing, on_result=on_result, **options)

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        Ledger(store, train=train).obtain(runs)
    assert len(store.paths()) == 1
    assert len(Ledger(store, train=engine).obtain(runs)) == 3  # it was heeded once


def test_nothing_is_listened_to_where_interrupts_are_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupts.heed()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)
