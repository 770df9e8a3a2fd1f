"""Spectra on disk: what ``python -m suite spectrum`` measured, as the table that is drawn of it.

One JSON file for each request, ``<results>/spectra/<digest>.json``: how the points came about
(``suite.curvature.Training``), over which examples, a row for each spectrum, and what it was
measured on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import records

if TYPE_CHECKING:
    import pandas as pd

    from suite.curvature import Moment, Training

FOLDER = "spectra"
POINTS = 400  # of a density's curve


def save(
    training: Training, found: Sequence[Moment], asked: Mapping[str, Any], results: str | Path, environment: Any
) -> Path:
    """Keep the spectra of one request; the same request replaces them.

    Args:
        asked: what else decides them: the split, the matrices, how many eigenvalues.

    Raises:
        StoreError: the disk is full or the folder cannot be written to.
    """
    key = {**asdict(training), **asked}
    rows = [row(moment) for moment in found]
    return records.save({**key, "spectra": rows, "environment": environment}, Path(results) / FOLDER, key)


def load_spectra(results: str | Path = "results") -> pd.DataFrame:
    """The spectra of a folder, one row each.

    Columns: ``problem``, ``optimizer``, ``initializer``, ``seed``, … of the training; ``step``,
    ``matrix``, ``layer``, ``loss``, ``gradient_norm``, ``rate``, ``stable_below``, ``outliers``, ``classes``; ``top``
    and ``bottom`` (eigenvalues as lists, outermost first), ``grid`` and ``density`` (lists, or none), ``negative``
    with ``negative_low`` and ``negative_high``; ``request``, the same for all of one request.
    """
    import pandas as pd

    rows = []
    for request, record in enumerate(records.load(Path(results) / FOLDER)):
        own = {key: value for key, value in record.items() if key not in ("spectra", "environment")}
        on = {f"environment.{key}": value for key, value in record["environment"].items()}
        rows += [{"request": request, **own, **spectrum, **on} for spectrum in record["spectra"]]
    return pd.DataFrame(rows)


def frame(found: Sequence[Moment]) -> pd.DataFrame:
    """Spectra as the table that ``analysis.figures.spectra`` draws, one row each."""
    import pandas as pd

    return pd.DataFrame([row(moment) for moment in found])


def row(moment: Moment) -> dict[str, Any]:
    """A spectrum as plain values."""
    density = moment.spectrum.density
    grid, curve = (None, None) if density is None else density.on_grid(POINTS)
    share = None if density is None else density.negative
    return {
        "step": moment.step,
        "matrix": moment.matrix,
        "layer": moment.layer,
        "parameters": moment.spectrum.size,
        "loss": moment.loss,
        "gradient_norm": moment.gradient,
        "rate": moment.rate,
        "stable_below": moment.stable_below,
        "sharpness": moment.sharpness,
        "outliers": moment.outliers,
        "classes": moment.classes,
        "top": moment.spectrum.top.values.tolist(),
        "bottom": moment.spectrum.bottom.values.tolist(),
        "grid": None if grid is None else grid.tolist(),
        "density": None if curve is None else curve.tolist(),
        "negative": None if share is None else share.value,
        "negative_low": None if share is None else share.low,
        "negative_high": None if share is None else share.high,
    }
