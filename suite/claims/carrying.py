"""Carrying claims out, in several processes, and what is kept of each.

``<results>/claims/<digest>.json`` has what was observed; the runs of all experiments are in
``<results>/claims/runs``, apart from those that a person asked for.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.names import Spec, UsageError, parse
from problems.references import RAISED
from suite import interrupts, records
from suite.claims.base import OTHERS, Observation, claim, heading, judged, level_of
from suite.errors import told
from suite.processes import CONTEXT, end_with_parent, kill
from suite.store import StoreError

if TYPE_CHECKING:
    from suite.claims.lab import Lab

FOLDER = "claims"
FAILED = "failed"  # in place of a verdict, where the experiment could not be carried out
KEYS = {"claim", "name", "says", "section", "source", "seed", "verdict", "observations"}  # that every record has
OBSERVED = {"what", "statistic", "value", "low", "high", "n", "level", "shown", "above", "below", "claimed", "verdict"}


def carry_out(spec: Spec, results: str, force: bool = False, controls: bool = False, seed: int = 0) -> dict[str, Any]:
    """The experiment of a bound claim, carried out in this process, as plain values; it is kept unless it failed.

    What it prints goes to stderr, for stdout has what claims come to.

    Args:
        controls: carry out its control, too.
        seed: the first of the seeds.

    Raises:
        StoreError: a result cannot be stored.
    """
    from suite import __version__
    from suite.environment import environment
    from suite.threads import one_thread

    record = _about(spec, seed)
    began = time.perf_counter()
    with one_thread(), redirect_stdout(sys.stderr):
        record |= _found(spec, results, force, seed)
        if controls and (settings := claim.find(spec.name).meta.get("control")):
            record["control"] = {"settings": settings, **_found(control(spec), results, force, seed)}
        record["environment"] = environment()
    record["seconds"] = round(time.perf_counter() - began, 6)
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    if record["verdict"] != FAILED:
        folder, key = Path(results) / FOLDER, [record["claim"]]
        earlier = _control_of(record, records.file_of(folder, key))
        records.save({**earlier, **record, "version": __version__}, folder, key)
    return record


def _control_of(record: dict[str, Any], file: Path) -> dict[str, Any]:
    """What came of the control earlier, where the claim came to the same as now; nothing else of an earlier record."""
    try:
        earlier = json.loads(file.read_text("utf-8"))
        same = all(earlier[key] == record[key] for key in ("seed", "observations"))
        return {"control": earlier["control"]} if same else {}
    except (OSError, ValueError, KeyError, TypeError):  # not there, not whole, or without a control
        return {}


def _about(spec: Spec, seed: int) -> dict[str, Any]:
    """What a bound claim is."""
    entry = claim.find(spec.name)
    about = {"claim": str(claim.short(spec)), "name": entry.name, "says": entry.summary}
    return about | {key: str(entry.meta.get(key, "")) for key in ("section", "source")} | {"seed": seed}


def control(spec: Spec) -> Spec:
    """The control of a bound claim: the same experiment without what the claim is about, of which it must not hold.

    Raises:
        UsageError: it changes what is not a setting of the claim, or cannot be read.
    """
    settings = claim.find(spec.name).meta["control"]
    try:
        return claim.bind(spec.replace(**parse(f"control({settings})").options))
    except UsageError as error:
        raise UsageError(f"{spec.name}: its control must change its settings, got {settings!r}: {error}") from error


def _found(spec: Spec, results: str, force: bool, seed: int) -> dict[str, Any]:
    """The verdict and what was observed, or why nothing could be."""
    from suite.claims.lab import ExperimentError, Lab

    try:
        found = _observations(spec, Lab(Path(results) / FOLDER, force, seed))
        return {"verdict": judged(found), "observations": [_plain(each, level_of(found)) for each in found]}
    except (UsageError, ExperimentError) as error:
        problem = str(error)
    except RAISED as error:
        if isinstance(error, KeyboardInterrupt | StoreError):
            raise
        problem = told(error)
    return {"verdict": FAILED, "problem": problem, "observations": []}


def _observations(spec: Spec, lab: Lab) -> tuple[Observation, ...]:
    """What the experiment of a bound claim observes.

    Raises:
        UsageError: it is no experiment, or gives anything but observations.
    """
    experiment = claim.build(spec)
    if not callable(experiment):
        raise UsageError(f"{spec.name}: it must return its experiment, a function of a lab, got {experiment!r}")
    given = experiment(lab)
    found = tuple(given) if isinstance(given, Iterable) else ()
    if not found or not all(isinstance(each, Observation) for each in found):
        how = "its experiment must return a list of observations, such as [typical(...)]"
        raise UsageError(f"{spec.name}: {how}, got {given!r}")
    return found


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


How = tuple[str, bool, bool, int]  # what ``carry_out`` is told beside the claim


def carry_out_all(
    specs: Sequence[Spec], results: str, jobs: int, force: bool = False, controls: bool = False, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """The same for several claims, each as it is finished, in so many processes with one thread each.

    Where a process dies, each claim that was in hand is tried once more, alone, so that no other fails with it.
    """
    how = (results, force, controls, seed)
    if jobs == 1 or len(specs) == 1:
        for spec in specs:
            yield carry_out(spec, *how)
            interrupts.check()
        return
    waiting = deque(specs)
    while waiting:
        died: list[Spec] = []
        yield from _together(waiting, jobs, how, died)
        for spec in died:
            lost: list[Spec] = []
            yield from _together(deque([spec]), 1, how, lost)
            yield from ({**_about(each, seed), **_lost()} for each in lost)


def _together(waiting: deque[Spec], jobs: int, how: How, died: list[Spec]) -> Iterator[dict[str, Any]]:
    """The claims that wait, until none does or a process dies; ``died`` gets those that were in hand then."""
    pool = ProcessPoolExecutor(min(jobs, len(waiting)), CONTEXT, end_with_parent)
    hand: dict[Future[dict[str, Any]], Spec] = {}
    try:
        while hand or (waiting and not died):
            while waiting and not died and len(hand) < jobs:
                spec = waiting.popleft()
                try:
                    hand[pool.submit(carry_out, spec, *how)] = spec
                except BrokenProcessPool:
                    died.append(spec)
            for future in wait(hand, return_when=FIRST_COMPLETED).done:
                spec = hand.pop(future)
                try:
                    record = future.result()
                except BrokenProcessPool:
                    died.append(spec)
                else:
                    yield record
    except BaseException:
        kill(pool)
        raise
    pool.shutdown()


def _lost() -> dict[str, Any]:
    problem = "the process that tried it died, and so did another that tried it alone (out of memory?)"
    return {"verdict": FAILED, "problem": problem, "observations": [], "seconds": 0.0}


def load(results: str | Path = "results") -> list[dict[str, Any]]:
    """The claims that were carried out in a folder, by section; what lacks something is named in a warning."""
    found = []
    for record in records.load(Path(results) / FOLDER):
        if record.keys() >= KEYS and all(each.keys() >= OBSERVED for each in record["observations"]):
            found.append(record)
        else:
            name = record.get("claim", "a claim")
            warnings.warn(f"{name}: its record lacks what this version shows; try it anew", stacklevel=2)
    return sorted(found, key=place)


def place(record: dict[str, Any]) -> tuple[Any, ...]:
    """Where a record stands in a list: by section, then by name; those of no section of the chapter at the end."""
    section = record["section"]
    numbers = tuple(int(part) if part.isdecimal() else 99 for part in section.split("."))
    return heading(section) == OTHERS, numbers, record["claim"]
