"""What steps cost: one table of all that is known of each, and one of optimizers by problems."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import geometric_mean
from typing import TYPE_CHECKING

from analysis.numbers import duration
from analysis.report import Cell, Column, Table
from suite.costs import machine_names
from suite.reporting.evidence import Evidence
from suite.reporting.names import short_optimizer, short_problem

if TYPE_CHECKING:
    import pandas as pd

NONE = Cell("", math.inf)
RELATIVE = "To the cheapest step on each problem, in the geometric mean over the problems of a row"


def cost_tables(evidence: Evidence) -> list[Table]:
    """Optimizers by problems for each machine that has several of both, then everything."""
    return [*_matrices(evidence.costs), cost_table(evidence)]


def _matrices(costs: pd.DataFrame) -> Iterator[Table]:
    """What a step of each optimizer takes on each problem, on one machine in one precision; the cheapest first."""
    named = costs.assign(
        machine=machine_names(costs),
        name=[short_optimizer(text) for text in costs["optimizer"]],
        at=[short_problem(text) for text in costs["problem"]],
    )
    for (machine, dtype), own in named.groupby(["machine", "dtype"], sort=True):
        if own["name"].nunique() < 2 or own["at"].nunique() < 2:
            continue
        sizes = {at: sorted(of["batch_size"].mode())[-1] for at, of in own.groupby("at")}
        usual = own[own["batch_size"] == own["at"].map(sizes)]
        least = usual.groupby(["at", "name"])["seconds"].median().groupby("at").min()
        order = least.sort_values().index
        columns = [Column("optimizer"), Column("relative", True, RELATIVE)]
        columns += [Column(at, True, _batches(sizes[at])) for at in order]
        rows = []
        for name, of in own.groupby("name", sort=False):
            cells = {at: _step(each, sizes[at]) for at, each in of.groupby("at")}
            ratios = [cell.value / least[at] for at, cell in cells.items() if cell.value and not cell.note]
            times = Cell(f"{geometric_mean(ratios):.3g}", geometric_mean(ratios)) if ratios else NONE
            rows.append([Cell(str(name), series=str(name)), times, *(cells.get(at, NONE) for at in order)])
        rows.sort(key=lambda row: row[1].value or 0.0)
        key = f"step-table-{machine}-{dtype}".replace(" ", "-").lower()
        yield Table(key, f"A step on each problem: {machine}, {dtype}", columns, rows, f"relative: {RELATIVE.lower()}.")


def _batches(size: int) -> str:
    return f"Batches of {size}" if size else "Full batches"


def _step(costs: pd.DataFrame, usual: int) -> Cell:
    """What a step takes on one problem, on the batches that most take there if it was measured on them.

    Of several measurements, as by two versions of PyTorch, the median, at which runs are priced, too.
    """
    sizes = set(costs["batch_size"])
    size = usual if usual in sizes else max(sizes)
    seconds = float(costs.loc[costs["batch_size"] == size, "seconds"].median())
    return Cell(duration(seconds), seconds, "" if size == usual else _batches(size).lower())


def cost_table(evidence: Evidence) -> Table:
    """What a step costs: seconds, shares of its parts, memory, operations."""
    columns = [Column("optimizer"), Column("problem"), Column("a step", True, "Median, and interquartile range")]
    bent = (evidence.costs["parts.curvature"] > 0).any()
    parts = ["data", "forward", "backward", *(["curvature"] if bent else []), "update"]
    columns += [Column(part, True, "Share of the step") for part in parts]
    replays = "replayed" in evidence.costs and evidence.costs["replayed"].notna().any()
    if replays:
        columns.append(Column("as a graph", True, "All kernels of a step as one CUDA graph: without launching them"))
    columns += [Column("state", True, "Bytes of optimizer state per parameter"), Column("machine")]
    machines = machine_names(evidence.costs)
    rows = []
    for row, machine in zip(evidence.costs.to_dict("records"), machines, strict=True):
        whole = sum(row[f"parts.{part}"] for part in (*parts, "measurement"))
        name = short_optimizer(row["optimizer"])
        cells = [Cell(name, series=name), Cell(short_problem(row["problem"]))]
        cells.append(
            Cell(duration(row["seconds"]), row["seconds"], f"± {duration(row['spread'])}{' ~' if row['noisy'] else ''}")
        )
        for part in parts:
            share = 100 * row[f"parts.{part}"] / whole
            cells.append(Cell(f"{share:.0f} %", share))
        if replays:
            seconds = row["replayed"]  # not known where a step looks at values
            cells.append(Cell(duration(seconds), seconds) if seconds and math.isfinite(seconds) else NONE)
        cells.append(Cell(f"{row['state']:.3g} B", row["state"]))
        rows.append([*cells, Cell(machine)])
    rows.sort(key=lambda cells: (cells[1].text, cells[2].value or 0.0))
    note = "~ spread by more than 10 %: the machine was doing something else." if evidence.costs["noisy"].any() else ""
    return Table("cost-table", "What a step costs", columns, rows, note)
