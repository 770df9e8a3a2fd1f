"""Processes of this machine that work for this one, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import spawn
from multiprocessing.managers import SyncManager
from multiprocessing.process import BaseProcess

from problems.names import UsageError

CONTEXT = multiprocessing.get_context("spawn")
GUARD = (
    "each process begins by running the script that asks for it once more, so a script that trains in several must "
    'have its calls below if __name__ == "__main__":'
)


def check_guard() -> None:
    """End this process if it is one that only just begins, by running a script that has no guard.

    The process that asked for it goes on to say so: see :func:`manager`.
    """
    try:
        spawn.get_preparation_data("")  # which refuses to begin a process within the beginning of another
    except RuntimeError:
        sys.exit(f"suite: {GUARD}")


def manager() -> SyncManager:
    """What makes queues that several processes share, in a process of its own.

    Raises:
        UsageError: that process ended before it had begun.
    """
    made = SyncManager(ctx=CONTEXT)
    try:
        made.start(end_with_parent)
    except EOFError:
        raise UsageError(f"a process ended before it had begun; {GUARD}") from None
    return made


def end_with_parent() -> None:
    """Leave Ctrl-C to the process that asked, and end when it has ended, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def workers(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    """The processes of a pool that was not shut down."""
    return list((pool._processes or {}).values())


def ended(processes: Sequence[BaseProcess]) -> str:
    """How that process of a pool ended which broke it, in words that follow on its name; the others are terminated."""
    codes = [process.exitcode for process in processes if process.exitcode is not None]
    code = min(codes, key=lambda code: code == -signal.SIGTERM, default=None)
    if code is None or code >= 0:
        return "ended itself" if code is None else f"ended itself with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}{' (out of memory?)' if -code == signal.SIGKILL else ''}"


def kill(pool: ProcessPoolExecutor) -> None:
    """End the workers at once; what they have not reported is not finished."""
    processes = workers(pool)
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
