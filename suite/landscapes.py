"""Looks at loss surfaces as they are kept, and the chart that each is seen in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import records

if TYPE_CHECKING:
    from analysis.figures import Chart

FOLDER = "landscapes"  # in the folder of results
SIZE = (6.2, 4.2)  # inches
TITLES = {
    "line": "From start to end",
    "slice": "Along a random direction",
    "plane": "Over two random directions",
    "path": "Where training moved most",
    "critical": "Critical points",
}


def save(
    look: Mapping[str, Any], asked: Mapping[str, Any], environment: Mapping[str, Any], results: str | Path = "results"
) -> Path:
    """Keep a look; one at the same training with the same options is replaced.

    Args:
        look: ``run`` (the training), ``kind`` and the values that are seen.
        asked: what else decides them: steps, places, examples.

    Raises:
        StoreError: the disk is full or the folder cannot be written to.
    """
    key = {"run": look["run"], "kind": look["kind"], **asked}
    return records.save({**look, **asked, "environment": environment}, Path(results) / FOLDER, key)


def load_landscapes(results: str | Path = "results") -> list[dict[str, Any]]:
    """The looks of a folder: ``kind``, the training as ``run``, and what was seen (see ``landscape --json``)."""
    return records.load(Path(results) / FOLDER)


def where(look: Mapping[str, Any]) -> str:
    """The training that a look is at, in words."""
    run = look["run"]
    return f"{run['problem']}{', ' + run['optimizer'] if run['optimizer'] else ''}"


def chart(look: Mapping[str, Any], **options: Any) -> Chart:
    """What was seen, drawn."""
    import numpy as np
    import pandas as pd

    from analysis.figures.landscape import critical_points, loss_line, loss_plane
    from analysis.landscape import Plane

    options = {"title": where(look), "size": SIZE, **options}
    kind = look["kind"]
    if kind == "critical":
        return critical_points(pd.DataFrame(look["points"]), **options)
    losses = np.array(look["losses"], float)  # what was not finite is null in JSON
    if kind in ("line", "slice"):
        along = {"line": "from the start (0) to the end (1)", "slice": "along a filter-normalized direction"}[kind]
        table = pd.DataFrame({"place": look["places"], "loss": losses, "line": "loss"})
        return loss_line(table, xlabel=along, **options)
    found = Plane(np.array(look["x"], float), np.array(look["y"], float), losses)
    if kind == "plane":
        return loss_plane(found, **options)
    labels = {
        f"{axis}label": f"principal direction {i} ({100 * share:.0f} % of the variance)"
        for i, (axis, share) in enumerate(zip("xy", look["shares"], strict=False), 1)
    }
    return loss_plane(found, path=np.array(look["path"], float), **labels, **options)
