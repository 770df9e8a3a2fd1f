"""An interrupt that other people's code catches ends the command all the same, once what is finished is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from suite import interrupts
from suite.ledger import Ledger
from suite.spec import Run
from suite.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.slow
@pytest.mark.parametrize("by", ["Ctrl-C", "kill"])
def test_a_comparison_that_is_stopped_goes_on(tmp_path: Path, by: str) -> None:
    words = ["--problems", "digits_mlp", "--optimizers", "adam,sgd", "--trials", "3", "--seeds", "3", "--steps", "400"]
    command = [sys.executable, "-m", "suite", "compare", *words, "--jobs", "2", "--results", str(tmp_path)]
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, preexec_fn=heed, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("runs/*.parquet")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    if by == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers, too
    else:
        process.kill()
    _, stderr = process.communicate(timeout=30)  # it would wait for workers that live on
    assert "Traceback" not in stderr
    if by == "Ctrl-C":
        assert process.returncode == 130
        assert "the same command goes on from there" in stderr
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*.parquet")}
    assert kept
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*.parquet")}.items()
