"""Figures: a table → a :class:`~analysis.figures.chart.Chart`, all in one style.

Each function takes a pandas table, whose columns it names, and gives a chart that can be
saved (``chart.save("curves.pdf")``), shown in a notebook, or put into a page. A chart of an
empty table says that there is nothing to show, and why.
"""

from analysis.figures.bars import PARTS, cost_bars
from analysis.figures.chart import FORMATS, Chart, Inline, Panel, beside
from analysis.figures.curves import learning_curves, performance_profile, sensitivity, tuning_curves
from analysis.figures.heatmap import heat_map
from analysis.figures.lines import Line, line_chart
from analysis.figures.ranking import ranking
from analysis.figures.spectra import course, densities, index, outliers
from analysis.figures.style import DARK, FEW, FRONT, LIGHT, OWN, Palette, Theme
from analysis.figures.traces import traces

__all__ = [
    "DARK",
    "FEW",
    "FORMATS",
    "FRONT",
    "LIGHT",
    "OWN",
    "PARTS",
    "Chart",
    "Inline",
    "Line",
    "Palette",
    "Panel",
    "Theme",
    "beside",
    "cost_bars",
    "course",
    "densities",
    "heat_map",
    "index",
    "learning_curves",
    "line_chart",
    "outliers",
    "performance_profile",
    "ranking",
    "sensitivity",
    "traces",
    "tuning_curves",
]
