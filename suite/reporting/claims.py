"""The claims that were tried: each with its verdict, and what was observed of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from analysis.report import Cell, Column, Observed, Statement, Statements, Table
from analysis.report.page import Tone
from suite.claims.base import VERDICTS, heading
from suite.progress import count

if TYPE_CHECKING:
    import pandas as pd

Record = Mapping[str, Any]
TONES: dict[str, Tone] = {"holds": "", "does not hold": "bad", "undecided": "worse"}
DECADES = 20.0  # largest over smallest, from which a line is logarithmic
MARGIN = 0.12  # of a line, beyond what lies on it


def lead(found: Sequence[Record], shaded: str = "") -> str:
    """How many hold, and how to read what follows; ``shaded`` says how it is drawn where a claim lies, if it is."""
    seeds = sorted({record["seed"] for record in found})
    own = [[record for record in found if record["seed"] == seed] for seed in seeds]
    told = [
        _counted(each) + (f" (seeds from {s} on)" if s or seeds[1:] else "") for s, each in zip(seeds, own, strict=True)
    ]
    return (
        f"{'; '.join(told)}. Each says where what is observed must lie{shaded}: it holds "
        "if the intervals of all its observations lie within, it does not if one lies outside, and is undecided "
        "otherwise. Medians over seeds, or shares of them; the intervals of a claim hold together at 95 %. Settings "
        f"are tuned once for all seeds, and what chance does there is in no interval.{_doubts(found)}"
    )


def _counted(found: Sequence[Record]) -> str:
    counts = Counter(record["verdict"] for record in found)
    words = {"holds": ("holds", "hold"), "does not hold": ("does not", "do not"), "undecided": ("is open", "are open")}
    told = [f"{counts[verdict]} {words[verdict][counts[verdict] > 1]}" for verdict in VERDICTS if counts[verdict]]
    return f"{count(len(found), 'claim')}: {', '.join(told)}"


def _doubts(found: Sequence[Record]) -> str:
    """How many verdicts are not those of the experiments as they are now."""
    old = sum(record["outdated"] for record in found)
    lost = sum("failed" in record for record in found)
    told = f" {count(old, 'verdict is', 'verdicts are')} from older versions of the experiments." if old else ""
    return told + (f" {count(lost, 'claim')} failed when tried again." if lost else "")


def statements(found: Sequence[Record]) -> list[Statements]:
    """The claims of each section of the chapter."""
    return [
        Statements(title, [_statement(record) for record in records])
        for title, records in groupby(found, lambda record: heading(record["section"]))
    ]


def _statement(record: Record) -> Statement:
    verdict = record["verdict"]
    observed = [_observed(each) for each in record["observations"]]
    where = [record["section"], record["claim"]]
    if record["seed"]:
        where.append(f"seeds from {record['seed']} on")
    if "control" in record:
        where.append(f"control, {record['control']['settings']}: {record['control']['verdict']}")
    where += ["from an older version of the experiment"] if record["outdated"] else []
    where += [f"failed when tried again: {record['failed']}"] if "failed" in record else []
    return Statement(record["says"], " · ".join(where), verdict, TONES[verdict], observed)


def _observed(each: Record) -> Observed:
    seeds = "" if each["statistic"] == "exact" else f", n = {each['n']}"
    span, expected = line(each)
    return Observed(each["what"], each["shown"], f"{each['claimed']}{seeds}", span, expected, TONES[each["verdict"]])


def line(each: Record) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """Where the interval and the claimed range lie on a line from 0 to 1, which is logarithmic if they span decades.

    What is infinite lies at an end.
    """
    low, value, high, *bounds = (float(each[key]) for key in ("low", "value", "high", "above", "below"))
    low, high = (value if math.isnan(end) else end for end in (low, high))
    finite = [x for x in (low, value, high, *bounds) if math.isfinite(x)]
    log = min(finite) > 0 and max(finite) / min(finite) > DECADES
    scale = [math.log(x) for x in finite] if log else finite
    width = max(scale) - min(scale) or abs(scale[0]) or 1.0
    first, last = min(scale) - MARGIN * width, max(scale) + MARGIN * width

    def at(x: float) -> float:
        if math.isinf(x) or (log and x <= 0):
            return float(x > 0)
        return ((math.log(x) if log else x) - first) / (last - first)

    return (at(low), at(value), at(high)), (at(bounds[0]), at(bounds[1]))


def claims_table(found: Sequence[Record]) -> Table:
    """A row for each observation; those after the first of a claim do not repeat what it is."""
    columns = [Column(name) for name in ("section", "claim", "it says", "verdict", "control", "observed")]
    columns += [Column("found", True), Column("claimed", True), Column("seeds", True)]
    return Table("claims", "Claims", columns, [row for record in found for row in _rows(record)], lead(found))


def _rows(record: Record) -> Iterator[list[Cell]]:
    doubts = [word for word, there in (("older", record["outdated"]), ("failed since", "failed" in record)) if there]
    head = [Cell(record[key]) for key in ("section", "claim", "says")]
    head += [Cell(record["verdict"], note=", ".join(doubts)), Cell(_control(record))]
    first = f"from {record['seed']}" if record["seed"] else ""
    for i, each in enumerate(record["observations"]):
        seeds = " ".join(filter(None, ("" if each["statistic"] == "exact" else str(each["n"]), first)))
        start = head if i == 0 else [Cell("")] * len(head)
        yield [*start, Cell(each["what"]), Cell(each["shown"]), Cell(each["claimed"]), Cell(seeds)]


def _control(record: Record) -> str:
    """The verdict of the control; "" where it was not carried out."""
    return str(record["control"]["verdict"]) if "control" in record else ""


def frame(found: Sequence[Record]) -> pd.DataFrame:
    """A row for each observation, with every number in full."""
    import pandas as pd

    about = ("section", "claim", "name", "says", "source", "seed")
    numbers = ("value", "low", "high", "level", "n", "above", "below")
    rows = [
        {key: record[key] for key in about}
        | {"claim_verdict": record["verdict"], "control_verdict": _control(record)}
        | {"outdated": record["outdated"], "failed": record.get("failed", "")}
        | {"what": each["what"], "statistic": each["statistic"]}
        | {key: float(each[key]) for key in numbers}
        | {"verdict": each["verdict"]}
        for record in found
        for each in record["observations"]
    ]
    return pd.DataFrame(rows)
