"""What is known of the problems as they are by default, without making them: read from ``facts.json``.

``python -m problems.facts`` writes that file anew, for the problems whose data are on this machine; a test
holds each entry against the problem that is made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from problems.data.catalog import source
from problems.entries import Entry
from problems.names import Spec
from problems.problem import Problem, problem

FILE = Path(__file__).with_name("facts.json")
Facts = Mapping[str, Any]  # parameters, examples, target, minimum


@cache
def known() -> Mapping[str, Facts]:
    """Facts by the problem's name."""
    found: dict[str, Facts] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def facts_of(made: Problem) -> dict[str, Any]:
    """Its size D, the examples of each split, the target, and the least loss where theory gives it."""
    return {
        "parameters": made.size,
        "examples": {name: len(split) for name, split in made.splits.items()},
        "target": asdict(made.target) if made.target else None,
        "minimum": made.minimum.loss if made.minimum else None,
    }


def made_here(entry: Entry[Problem]) -> dict[str, Any] | None:
    """The facts of a problem that is made now; None if it needs what is not given or not on this machine."""
    data = entry.meta.get("data")
    if any(p.required for p in entry.parameters) or (data and source(data).where() is None):
        return None
    return facts_of(problem.build(problem.bind(Spec(entry.name))))


def write() -> None:
    """Write the file anew; problems that cannot be made here keep what is said of them."""
    found = {entry.name: made_here(entry) or known().get(entry.name) for entry in problem}
    told = {name: facts for name, facts in sorted(found.items()) if facts is not None}
    FILE.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{FILE}: {len(told)} problems", file=sys.stderr)


if __name__ == "__main__":
    write()
