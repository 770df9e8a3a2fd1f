"""The table of measured costs, and learning curves priced with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.names import UsageError, parse

if TYPE_CHECKING:
    import pandas as pd

    from suite.cost import Cost

MACHINE = ("environment.processor", "environment.device", "environment.threads")
CURVATURE = "parts.curvature"
_OF = ("problem", "optimizer", "batch_size", "dtype", "device")  # what was measured
_KEY = ("problem", "structure", "batch_size", "dtype")


def save(cost: Cost, results: str | Path) -> Path:
    """Keep a cost in ``<results>/costs``, one file for each thing measured on each machine; atomic.

    Raises:
        StoreError: the disk is full or the folder cannot be written to.
    """
    from suite import records

    record = cost.to_dict()
    key = records.here([record[k] for k in _OF], record["environment"])
    return records.save(record, Path(results) / "costs", key)


def kept(problem: str, optimizer: str, batch_size: int, dtype: str, device: str, results: str | Path) -> Cost | None:
    """What was measured of this on this machine, in this version of the suite; None where nothing is kept of that."""
    from suite import records
    from suite.cost import Cost

    return records.kept(Cost, Path(results) / "costs", [problem, optimizer, batch_size, dtype, device], device)


def load_costs(results: str | Path = "results") -> pd.DataFrame:
    """The costs of a folder, one row each: see ``suite.cost.Cost`` for the columns.

    ``parts.data`` … ``parts.measurement`` are seconds, ``environment.*`` is what it was measured on.
    """
    import pandas as pd

    from suite import records

    costs = pd.json_normalize(records.load(Path(results) / "costs"))
    if not costs.empty:  # a part that older records do not have was not told apart
        costs = costs.reindex(columns=costs.columns.union([CURVATURE], sort=False)).fillna({CURVATURE: 0.0})
    return costs


def price(traces: pd.DataFrame, costs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Learning curves in seconds on the machines that costs were measured on.

    seconds = step · (seconds of a step). What a step costs depends on the optimizer's
    structure and not on its numbers, so one measurement serves every learning rate.

    Args:
        traces, runs: as ``suite.load`` gives them.
        costs: as ``load_costs`` gives them.

    Returns:
        The traces with ``seconds`` and ``machine``; each run appears once for each machine
        that has a cost for it.

    Raises:
        UsageError: no cost fits any of the runs.
    """
    each = step_seconds(costs, runs)
    if each.empty:
        missing = "; ".join(
            sorted({f"{r.problem_text} {_structure(str(r.optimizer_text))}" for r in runs.itertuples()})[:3]
        )
        raise UsageError(f"no cost fits these runs ({missing}); python -m suite cost PROBLEMS OPTIMIZERS measures them")
    joined = traces.astype({"run": str}).merge(each.rename(columns={"seconds": "_each"}), on="run")
    return joined.assign(seconds=joined["step"] * joined["_each"]).drop(columns="_each")


def step_seconds(costs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """What a step of each run costs, on each machine that has a cost for it: ``run``, ``machine``, ``seconds``."""
    if costs.empty or runs.empty:
        return runs[["run"]][:0].assign(machine="", seconds=0.0)
    wanted = runs.assign(problem=runs["problem_text"], structure=[_structure(text) for text in runs["optimizer_text"]])[
        ["run", *_KEY]
    ]
    known = costs.assign(structure=[_structure(text) for text in costs["optimizer"]], machine=machine_names(costs))
    prices = wanted.merge(known[[*_KEY, "machine", "seconds"]], on=list(_KEY))
    return prices.groupby(["run", "machine"])["seconds"].median().reset_index()


def _structure(text: str) -> str:
    from suite.settings import structure

    return structure(parse(text))


def machine_names(costs: pd.DataFrame) -> list[str]:
    """What each cost was measured on, in words."""

    def named(row: Any) -> str:
        processor, device, threads = (row[key] for key in MACHINE)
        return f"{processor}, {threads} thread{'s' * (threads != 1)}" if device == "cpu" else str(device)

    return [named(row) for row in costs.to_dict("records")]
