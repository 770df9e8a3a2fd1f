"""A comparison from a program or a notebook, as ``python -m suite compare`` makes it."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral
from typing import TYPE_CHECKING, Any

from problems.data.silence import silence
from problems.names import Spec, UsageError
from suite import comparisons, tables
from suite.ledger import Ledger
from suite.outcome import compare as carry_out
from suite.plan import Question, plan
from suite.processes import check_guard
from suite.progress import Display
from suite.store import Store

if TYPE_CHECKING:
    import pandas as pd

LISTS = ("problems", "optimizers", "initializers")


def compare(results: str, jobs: int, force: bool, quiet: bool, **asked: Any) -> pd.DataFrame:
    """Carry out a comparison, keep it, and give its verdicts: see :func:`suite.compare`."""
    from suite.reporting.contests import contests
    from suite.reporting.evidence import Evidence

    if jobs > 1:
        check_guard()
    with silence(quiet):
        planned = plan(_question(asked))
        ledger = Ledger(Store(results), jobs, force)
        ledger.store.sweep()
        with Display(tables.console(sys.stderr), quiet) as display:
            outcome = carry_out(planned, ledger, display.phase)
    record = json.loads(comparisons.save(outcome, results).read_text("utf-8"))
    return _verdicts(contests(Evidence.read(results), record))


def _question(asked: dict[str, Any]) -> Question:
    known = [each.name for each in fields(Question)]
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
            raise UsageError(f"compare: unknown setting {name!r}; {hint}")
    return Question(**{name: _text(name, value) for name, value in asked.items()})


def _text(name: str, value: Any) -> Any:
    """A value as the command line takes it: several names in one text.

    Raises:
        UsageError: something is given in place of its name.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)  # of NumPy's, too
    if name not in LISTS or isinstance(value, str):
        return value
    names = list(value) if isinstance(value, Sequence) else [value]
    for each in names:
        if not isinstance(each, str | Spec):
            raise UsageError(
                f"compare: {name} are called by their names, as in 'adam' or 'mine.py:Mine', got {each!r}; what "
                "a decorator such as @optimizer() stands before in a notebook has the function's name"
            )
    return ", ".join(map(str, names))


def _verdicts(found: Sequence[Any]) -> pd.DataFrame:
    import pandas as pd

    table = pd.concat([contest.verdicts() for contest in found], ignore_index=True)
    table.attrs["headlines"] = [contest.sentence for contest in found if contest.sentence]
    return table
