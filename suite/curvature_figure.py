"""The figure of ``python -m suite spectrum``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from suite.curvature import Moment

POINTS = 400  # of a density's curve


def draw(found: Sequence[Moment], file: Path, title: str) -> None:
    """Each spectrum at its step; and where there are several steps, what becomes of its ends and its index."""
    from analysis.figures import beside, course, densities, index

    table = frame([m for m in found if not m.layer])
    charts = [densities(table)]
    if table["step"].nunique() > 1:
        charts.append(course(table))
        if table["negative"].notna().all():
            charts.append(index(table))
    beside("spectrum", title, charts).save(file)


def frame(found: Sequence[Moment]) -> pd.DataFrame:
    """Spectra as the table that ``analysis.figures.spectra`` draws, one row each."""
    import pandas as pd

    return pd.DataFrame([_row(moment) for moment in found])


def _row(moment: Moment) -> dict[str, Any]:
    density = moment.spectrum.density
    grid, curve = (None, None) if density is None else density.on_grid(POINTS)
    share = None if density is None else density.negative
    return {
        "step": moment.step,
        "matrix": moment.matrix,
        "layer": moment.layer,
        "loss": moment.loss,
        "gradient_norm": moment.gradient,
        "rate": moment.rate,
        "top": moment.spectrum.top.values.tolist(),
        "bottom": moment.spectrum.bottom.values.tolist(),
        "grid": None if grid is None else grid.tolist(),
        "density": None if curve is None else curve.tolist(),
        "negative": None if share is None else share.value,
        "negative_low": None if share is None else share.low,
        "negative_high": None if share is None else share.high,
    }
