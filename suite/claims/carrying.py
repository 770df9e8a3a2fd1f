"""Carrying claims out, in several processes, and what is kept of each: ``<results>/claims/<digest>.json``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from problems.names import Spec, UsageError
from problems.references import RAISED
from suite import records
from suite.claims.base import Observation, claim, judged, level_of
from suite.errors import told
from suite.processes import CONTEXT, end_with_parent, kill

FOLDER = "claims"
FAILED = "failed"  # in place of a verdict, where the experiment could not be carried out


def carry_out(spec: Spec, results: str, force: bool = False) -> dict[str, Any]:
    """The experiment of a bound claim, carried out in this process, as plain values; it is kept unless it failed.

    Raises:
        StoreError: a result cannot be stored.
    """
    from suite import __version__
    from suite.claims.lab import ExperimentError, Lab
    from suite.environment import environment
    from suite.threads import one_thread

    entry = claim.find(spec.name)
    about = {"claim": str(claim.short(spec)), "name": entry.name, "says": entry.summary}
    about |= {key: entry.meta.get(key, "") for key in ("section", "source")}
    began = time.perf_counter()
    try:
        with one_thread():
            found = tuple(claim.build(spec)(Lab(results, force)))
            now = environment()
    except (UsageError, ExperimentError) as error:
        return {**about, "verdict": FAILED, "problem": str(error), "observations": []}
    except RAISED as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return {**about, "verdict": FAILED, "problem": told(error), "observations": []}
    record = {
        **about,
        "verdict": judged(found),
        "observations": [_plain(each, level_of(found)) for each in found],
        "seconds": round(time.perf_counter() - began, 3),
        "environment": now,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
    }
    records.save(record, Path(results) / FOLDER, [str(spec)])
    return record


def _plain(observed: Observation, level: float) -> dict[str, Any]:
    found = observed.estimate(level)
    return {
        "what": observed.what,
        "statistic": observed.statistic,
        "values": list(observed.values),
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "level": found.level,
        "shown": observed.shown(level),
        "claimed": observed.claimed,
        "verdict": observed.verdict(level),
    }


def carry_out_all(specs: Sequence[Spec], results: str, jobs: int, force: bool = False) -> Iterator[dict[str, Any]]:
    """The same for several claims, each as it is finished, in so many processes with one thread each."""
    if jobs == 1 or len(specs) == 1:
        yield from (carry_out(spec, results, force) for spec in specs)
        return
    pool = ProcessPoolExecutor(min(jobs, len(specs)), CONTEXT, end_with_parent)
    try:
        for done in as_completed([pool.submit(carry_out, spec, results, force) for spec in specs]):
            yield done.result()
    except BaseException:
        kill(pool)
        raise
    pool.shutdown()


def load(results: str | Path = "results") -> list[dict[str, Any]]:
    """The claims that were carried out in a folder, by section."""
    return sorted(records.load(Path(results) / FOLDER), key=place)


def place(record: dict[str, Any]) -> tuple[Any, ...]:
    """Where a record stands in a list: by section, then by name."""
    numbers = tuple(int(part) if part.isdecimal() else 99 for part in record["section"].split("."))
    return numbers, record["claim"]
