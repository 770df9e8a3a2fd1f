"""Carrying claims out, in several processes, and what is kept of each.

``<results>/claims/<digest>.json`` has what was observed on seeds from one on; the runs of all experiments are in
``<results>/claims/runs``, apart from those that a person asked for.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.names import Spec, UsageError, parse
from problems.references import RAISED
from suite import interrupts, records
from suite.claims.base import OTHERS, VERDICTS, Observation, claim, heading, judged, level_of
from suite.errors import told
from suite.processes import CONTEXT, end_with_parent, ended, kill, workers
from suite.store import StoreError

if TYPE_CHECKING:
    from suite.claims.lab import Lab

FOLDER = "claims"
FAILED = "failed"  # in place of a verdict, where the experiment could not be carried out
KEYS = {"claim", "name", "says", "section", "source", "seed", "verdict", "observations"}  # that every record has
OBSERVED = {"what", "statistic", "value", "low", "high", "n", "level", "shown", "above", "below", "claimed", "verdict"}


def carry_out(spec: Spec, results: str, force: bool = False, controls: bool = False, seed: int = 0) -> dict[str, Any]:
    """The experiment of a bound claim, carried out in this process, as plain values, and kept: see :func:`_keep`.

    What it prints goes to stderr, for stdout has what claims come to.

    Args:
        controls: carry out its control, too.
        seed: the first of the seeds.

    Raises:
        StoreError: a result cannot be stored.
    """
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
    _keep(record, results)
    return record


def _keep(record: Mapping[str, Any], results: str) -> None:
    """Keep what a claim came to on its seeds; of one that failed, what it came to before, and that it failed since."""
    from suite import __version__

    folder, key = Path(results) / FOLDER, [record["claim"], record["seed"]]
    earlier = _earlier(records.file_of(folder, key))
    if record["verdict"] != FAILED:
        records.save({**_control_of(record, earlier), **record, "version": __version__}, folder, key)
    elif earlier:
        records.save({**earlier, "failed": record["problem"]}, folder, key)


def _earlier(file: Path) -> dict[str, Any]:
    """The record that there is; empty if there is none, or none that is whole."""
    try:
        record = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if _whole(record) else {}


def _control_of(record: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What came of the control earlier, where that and the claim are the same as now; nothing else of it."""
    settings = claim.find(record["name"]).meta.get("control")
    same = all(earlier.get(key) == record[key] for key in ("fingerprint", "observations"))
    found = earlier.get("control", {})
    return {"control": found} if same and found and found["settings"] == settings else {}


def _about(spec: Spec, seed: int) -> dict[str, Any]:
    """What a bound claim is, and by which code."""
    entry = claim.find(spec.name)
    about = {"claim": str(claim.short(spec)), "name": entry.name, "says": entry.summary}
    about |= {key: str(entry.meta.get(key, "")) for key in ("section", "source")}
    return {**about, "seed": seed, "fingerprint": claim.fingerprint(spec)}


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
    """The same for several claims, each as it is finished.

    Where a process dies, each of several claims that were in hand is tried once more, alone, so that none fails with
    another.

    Args:
        jobs: so many processes with one thread each; 0 for this one, which a claim may end.
    """
    how = (results, force, controls, seed)
    if not jobs:
        for spec in specs:
            yield carry_out(spec, *how)
            interrupts.check()
        return
    waiting = deque(specs)
    while waiting:
        died = yield from _together(waiting, jobs, how)
        for spec, end in died:
            lost = [(spec, end)] if len(died) == 1 else (yield from _together(deque([spec]), 1, how))
            for _, again in lost:
                record = {**_about(spec, seed), "verdict": FAILED, "problem": f"the process that tried it {again}"}
                _keep(record, results)
                yield {**record, "observations": [], "seconds": 0.0}


Died = list[tuple[Spec, str]]  # those that were in hand when a process died, and how one did


def _together(waiting: deque[Spec], jobs: int, how: How) -> Generator[dict[str, Any], None, Died]:
    """The claims that wait, until none does or a process dies."""
    pool = ProcessPoolExecutor(min(jobs, len(waiting)), CONTEXT, end_with_parent)
    hand: dict[Future[dict[str, Any]], Spec] = {}
    died: list[Spec] = []
    broken = False
    try:
        while hand or (waiting and not broken):
            while waiting and not broken and len(hand) < jobs:
                try:
                    hand[pool.submit(carry_out, waiting[0], *how)] = waiting[0]
                    waiting.popleft()
                except BrokenProcessPool:  # while none was in hand, or before those that were are told of it
                    broken = True
            for future in wait(hand, return_when=FIRST_COMPLETED).done:
                spec = hand.pop(future)
                try:
                    record = future.result()
                except BrokenProcessPool:
                    broken = True
                    died.append(spec)
                else:
                    yield record
    except BaseException:
        kill(pool)
        raise
    processes = workers(pool)
    pool.shutdown()
    return [(spec, ended(processes)) for spec in died]


def load(results: str | Path = "results") -> list[dict[str, Any]]:
    """The claims that were carried out in a folder, by section, on each of their seeds.

    What lacks something is named in a warning. ``outdated`` says that a record is by another experiment than the one
    that the claim stands for now, ``failed`` why the claim could not be carried out since.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for record in sorted(records.load(Path(results) / FOLDER), key=lambda record: str(record.get("finished"))):
        if _whole(record):
            found[record["claim"], record["seed"]] = {**record, "outdated": _outdated(record)}
        else:
            name = record.get("claim", "a claim")
            warnings.warn(f"{name}: its record lacks what this version shows; try it anew", stacklevel=2)
    return sorted(found.values(), key=place)


def _whole(record: Any) -> bool:
    """Whether a record has all that is shown of it."""
    try:
        observed = all(each.keys() >= OBSERVED and each["verdict"] in VERDICTS for each in record["observations"])
        tried = "control" not in record or record["control"].keys() >= {"settings", "verdict"}
        return observed and tried and record.keys() >= KEYS and record["verdict"] in VERDICTS
    except (TypeError, AttributeError, KeyError):
        return False


def _outdated(record: Mapping[str, Any]) -> bool:
    """Whether the claim is another one now, if its definition is on this machine."""
    try:
        with redirect_stdout(sys.stderr):  # somebody's file may print when it is imported
            return claim.fingerprint(claim.bind(record["claim"])) != record.get("fingerprint")
    except UsageError:
        return ":" not in record["name"]  # the suite's own that is no more


def place(record: dict[str, Any]) -> tuple[Any, ...]:
    """Where a record stands in a list: by section, then by name; those of no section of the chapter at the end."""
    section = record["section"]
    numbers = tuple(int(part) if part.isdecimal() else 99 for part in section.split("."))
    return heading(section) == OTHERS, numbers, record["claim"], record["seed"]
