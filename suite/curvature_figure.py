"""The figure of ``python -m suite spectrum``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures import Chart, beside, course, densities, index, outliers

if TYPE_CHECKING:
    import pandas as pd


def spectrum_chart(table: pd.DataFrame, title: str) -> Chart:
    """Each spectrum at its step; and where there are several steps, what becomes of its ends and its index.

    Args:
        table: as ``suite.spectra.frame`` or ``load_spectra`` gives it, of one training.
    """
    return beside("spectrum", title, spectrum_charts(table))


def spectrum_charts(table: pd.DataFrame) -> list[Chart]:
    """The panels of it, each by itself."""
    table = table[table["layer"] == ""] if len(table) else table
    charts = [densities(table)]
    if len(table) and table["step"].nunique() > 1:
        charts.append(course(table))
        if table["negative"].notna().all():
            charts.append(index(table))
        if "classes" in table and table["classes"].notna().all() and table["outliers"].notna().any():
            charts.append(outliers(table))
    return charts
