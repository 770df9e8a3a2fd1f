"""``python -m suite trace``: what probes measure along training, as a table, JSON or a figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from problems.names import UsageError
from suite.options import need_figure
from suite.spec import Result

if TYPE_CHECKING:
    import pandas as pd


def trace(
    *,
    seeds: int,
    window: int | None,
    at: str | None,
    figure: str | None,
    results: str,
    force: bool,
    as_json: bool,
    quiet: bool,
    **asked: Any,
) -> int:
    """Train with probes and show what they measured; the exit code: 1 if a run failed."""
    from suite.commands import one_run
    from suite.spectrum_command import steps_of

    if not asked["probes"].strip():
        raise UsageError("trace: probes must name what to measure, such as gradient_norm (python -m suite list probes)")
    need_figure("trace", figure)
    first = one_run(**asked)
    steps = steps_of(at or f"log:{first.steps}")
    if steps[-1] > first.steps:
        raise UsageError(f"trace: at must be steps up to the last, {first.steps}, got {steps[-1]}")
    found = _obtained([replace(first, seed=first.seed + i) for i in range(seeds)], results, force, quiet)
    table = frame(found)
    wide = window or max(1, first.steps // 40)
    if figure is not None:
        from suite.trace_figure import trace_chart

        title = f"{asked['problem']}, {asked['optimizer']}{f', {seeds} seeds' if seeds > 1 else ''}"
        trace_chart(table, asked["optimizer"], wide, title).save(figure)
    if as_json:
        from suite import export

        click.echo(export.to_json({"runs": [of_result(result) for result in found]}))
    else:
        _show(found, table, steps)
    return int(any(result.status in ("failed", "skipped") for result in found))


def _obtained(runs: Sequence[Any], results: str, force: bool, quiet: bool) -> list[Result]:
    """The results of runs, from the store where they are."""
    from suite import tables
    from suite.ledger import Ledger
    from suite.progress import Display
    from suite.store import Store

    ledger = Ledger(Store(results), 1, force)
    ledger.store.sweep()
    with Display(tables.console(sys.stderr), quiet) as display:
        found = ledger.obtain(runs, lambda missing: display.phase("training", missing))
    return [found[run] for run in runs]


def frame(found: Sequence[Result]) -> pd.DataFrame:
    """Every measurement: ``seed``, ``step``, ``measure``, ``value``, and whether a probe made it, ``probed``."""
    import pandas as pd

    columns = ["seed", "step", "measure", "value", "probed"]
    rows = [(r.run.seed, step, m, value, m in r.probed) for r in found for step, m, value in r.trace]
    return pd.DataFrame(rows, columns=columns)


def of_result(result: Result) -> dict[str, Any]:
    """A run with its measures, each as ``steps`` and ``values``, and what came of it."""
    record = result.to_dict()
    measures: dict[str, dict[str, list[float]]] = {}
    for row in record.pop("traces"):
        columns = measures.setdefault(row["measure"], {"steps": [], "values": []})
        columns["steps"].append(row["step"])
        columns["values"].append(row["value"])
    return record | {"measures": measures}


def _show(found: Sequence[Result], table: pd.DataFrame, steps: Sequence[int]) -> None:
    from suite import tables

    to = tables.console(sys.stdout)
    seeds = len(found)
    evaluated = list(dict.fromkeys(table["measure"][~table["probed"]]))
    splits = ("valid_", "test_", "train_")
    split = next(s for s in splits if any(m.startswith(s) for m in evaluated) or s == splits[-1])
    told = [m for m in evaluated if m == "train_loss" or m.startswith(split)]
    rows = intervals(table[table["probed"] | table["measure"].isin(told)], steps)
    if len(rows):
        tables.show(to, tables.trace_table(rows), "")
        of = f" of {seeds} seeds" if seeds > 1 else ""
        tables.show(
            to, f"what probes measure: means{of} from a row's step on to the next row's; the rest: as last evaluated"
        )
    for result in found:
        tables.show(to, *tables.outcome(result, brief=result is not found[-1]))


def intervals(table: pd.DataFrame, steps: Sequence[int]) -> pd.DataFrame:
    """A row for each of the steps: means of what was measured from it on up to the next one, by measure.

    An evaluation counts where it was made, and until the next one. NaN where there is nothing to say.
    """
    import numpy as np
    import pandas as pd

    if table.empty:
        return pd.DataFrame()
    last = int(table["step"].max())
    edges = np.array(sorted({step for step in steps if step <= last} | {0}))
    table = table.assign(row=edges[np.searchsorted(edges, table["step"], side="right") - 1])
    order = list(dict.fromkeys(table["measure"]))
    probed = table[table["probed"]].groupby(["row", "measure"])["value"].mean().unstack()
    seen = table[~table["probed"]].groupby(["step", "measure"])["value"].mean().unstack()
    seen = seen.reindex(sorted({*seen.index, *edges})).ffill().loc[edges] if len(seen) else seen
    return pd.concat([seen, probed], axis=1).reindex(edges)[order].rename_axis("step")
