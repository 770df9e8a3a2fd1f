"""Carrying claims out, in several processes, and what is kept of each.

``<results>/claims/<digest>.json`` has what was observed; the runs of all experiments are in
``<results>/claims/runs``, apart from those that a person asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from problems.names import Spec, UsageError, parse
from problems.references import RAISED
from suite import records
from suite.claims.base import Observation, claim, judged, level_of
from suite.errors import told
from suite.processes import CONTEXT, end_with_parent, kill
from suite.store import StoreError

FOLDER = "claims"
FAILED = "failed"  # in place of a verdict, where the experiment could not be carried out


def carry_out(spec: Spec, results: str, force: bool = False, controls: bool = False, seed: int = 0) -> dict[str, Any]:
    """The experiment of a bound claim, carried out in this process, as plain values; it is kept unless it failed.

    Args:
        controls: carry out its control, too.
        seed: the first of the seeds.

    Raises:
        StoreError: a result cannot be stored.
    """
    from suite import __version__
    from suite.environment import environment
    from suite.threads import one_thread

    entry = claim.find(spec.name)
    about = {"claim": str(claim.short(spec)), "name": entry.name, "says": entry.summary}
    about |= {key: entry.meta.get(key, "") for key in ("section", "source")}
    began = time.perf_counter()
    with one_thread():
        record = {**about, "seed": seed, **_found(spec, results, force, seed)}
        if controls and "control" in entry.meta:
            other = control(spec)
            record["control"] = {"settings": entry.meta["control"], **_found(other, results, force, seed)}
        record["environment"] = environment()
    record["seconds"] = round(time.perf_counter() - began, 3)
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    if record["verdict"] != FAILED:
        records.save({**record, "version": __version__}, Path(results) / FOLDER, [str(spec)])
    return record


def control(spec: Spec) -> Spec:
    """The control of a bound claim: the same experiment without what the claim is about, of which it must not hold."""
    changes = parse(f"control({claim.find(spec.name).meta['control']})").options
    return claim.bind(spec.replace(**changes))


def _found(spec: Spec, results: str, force: bool, seed: int) -> dict[str, Any]:
    """The verdict and what was observed, or why nothing could be."""
    from suite.claims.lab import ExperimentError, Lab

    try:
        found = tuple(claim.build(spec)(Lab(Path(results) / FOLDER, force, seed)))
        return {"verdict": judged(found), "observations": [_plain(each, level_of(found)) for each in found]}
    except (UsageError, ExperimentError) as error:
        problem = str(error)
    except RAISED as error:
        if isinstance(error, KeyboardInterrupt | StoreError):
            raise
        problem = told(error)
    return {"verdict": FAILED, "problem": problem, "observations": []}


def _plain(observed: Observation, level: float) -> dict[str, Any]:
    found = observed.estimate(level)
    return {
        "what": observed.what,
        "statistic": observed.statistic,
        "values": [_written(value) for value in observed.values],
        **{key: _written(getattr(found, key)) for key in ("value", "low", "high")},
        "n": found.n,
        "level": found.level,
        "shown": observed.shown(level),
        "above": _written(observed.above),
        "below": _written(observed.below),
        "claimed": observed.claimed,
        "verdict": observed.verdict(level),
    }


def _written(value: float) -> float | str:
    """A number as JSON has it, where ``float`` reads it again: ``"inf"`` and ``"nan"`` are texts."""
    return value if math.isfinite(value) else str(value)


def carry_out_all(
    specs: Sequence[Spec], results: str, jobs: int, force: bool = False, controls: bool = False, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """The same for several claims, each as it is finished, in so many processes with one thread each."""
    if jobs == 1 or len(specs) == 1:
        yield from (carry_out(spec, results, force, controls, seed) for spec in specs)
        return
    pool = ProcessPoolExecutor(min(jobs, len(specs)), CONTEXT, end_with_parent)
    try:
        for done in as_completed([pool.submit(carry_out, spec, results, force, controls, seed) for spec in specs]):
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
