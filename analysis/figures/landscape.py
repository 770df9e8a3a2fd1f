"""Loss surfaces along a line and over a plane, and critical points by loss and index."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.figures.chart import Chart, Panel
from analysis.figures.lines import Line, line_chart
from analysis.figures.style import Palette
from analysis.numbers import number, tick

if TYPE_CHECKING:
    import pandas as pd

    from analysis.landscape import Plane

LEVELS = 14  # contours


def loss_line(table: pd.DataFrame, *, xlabel: str, name: str = "landscape", title: str = "", **options: Any) -> Chart:
    """The loss along lines.

    Args:
        table: columns ``place``, ``loss`` and ``line``.
    """
    line = Line("place", "loss", by="line", xlabel=xlabel, ylabel="loss", xscale="linear", names="none")
    return line_chart(name, title or "Loss along a line", table, line, why_empty="no loss was finite", **options)


def loss_plane(
    found: Plane,
    *,
    path: NDArray[np.float64] | None = None,
    xlabel: str = "first direction",
    ylabel: str = "second direction",
    name: str = "landscape",
    title: str = "",
    **options: Any,
) -> Chart:
    """Contours of the loss over a plane, evenly spaced in its logarithm where it is positive; lighter is lower.

    Args:
        path: points [T, 2] of a trajectory in the plane, from its start to its end.
    """
    import pandas as pd

    grid = np.meshgrid(found.x, found.y)
    table = pd.DataFrame({"x": grid[0].ravel(), "y": grid[1].ravel(), "loss": found.losses.ravel()})
    draw = partial(_plane, found=found, path=path, labels=(xlabel, ylabel))
    return Chart(name, title or "Loss over a plane", [draw], table=table, **options)


def critical_points(table: pd.DataFrame, *, name: str = "critical-points", title: str = "", **options: Any) -> Chart:
    """The loss of critical points against their index, the share of negative eigenvalues (Dauphin et al. 2014).

    Args:
        table: columns ``loss``, ``index`` and ``converged``; those that did not converge are hollow.
    """
    draw = partial(_critical, table=table)
    return Chart(name, title or "Critical points", [draw], palette=Palette(["found"]), table=table, **options)


def _plane(panel: Panel, *, found: Plane, path: NDArray[np.float64] | None, labels: tuple[str, str]) -> None:
    import seaborn as sns

    finite = found.losses[np.isfinite(found.losses)]
    if not len(finite) or finite.min() == finite.max():
        panel.empty("the loss is the same, or not finite, all over the plane")
        return
    axis = panel.axis
    levels = _levels(finite)
    shown = np.clip(np.ma.masked_invalid(found.losses), levels[0], levels[-1])
    shades = sns.color_palette("mako_r", as_cmap=True)
    axis.contourf(found.x, found.y, shown, levels=levels, cmap=shades, norm=_norm(levels), alpha=0.55)
    lines = axis.contour(
        found.x, found.y, shown, levels=levels[1:-1:2], colors=panel.theme.muted, linewidths=0.5, norm=_norm(levels)
    )
    for text in axis.clabel(lines, fontsize=7, colors=panel.theme.ink, fmt=lambda value: tick(float(f"{value:.2g}"))):
        text.set_gid("contour")
    if path is not None:
        _path(panel, path)
    axis.set(xlabel=labels[0], ylabel=labels[1])
    axis.grid(False)


def _levels(finite: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the least to the largest loss, or to where all but a twentieth lie, if the largest is far above."""
    low, high = float(finite.min()), float(finite.max())
    most = float(np.quantile(finite, 0.95))
    high = most if low < most < low + 0.1 * (high - low) else high
    if low > 0 and high / low > 3:
        return np.geomspace(low, high, LEVELS)
    return np.linspace(low, high, LEVELS)


def _norm(levels: NDArray[np.float64]) -> Any:
    from matplotlib.colors import BoundaryNorm

    return BoundaryNorm(levels, 256)


def _path(panel: Panel, path: NDArray[np.float64]) -> None:
    axis, colour = panel.axis, panel.theme.series[1]
    axis.plot(path[:, 0], path[:, 1], "-", color=colour, lw=1.4)
    axis.plot(path[:, 0], path[:, 1], ".", color=colour, ms=4)
    for place, word in ((path[0], "start"), (path[-1], "end")):
        axis.annotate(word, place, xytext=(5, 5), textcoords="offset points", color=colour, fontsize=8.5,
                      fontweight="bold")  # fmt: skip


def _critical(panel: Panel, *, table: pd.DataFrame) -> None:
    if table.empty:
        panel.empty("no search for a critical point ended")
        return
    axis, colour = panel.axis, panel.theme.series[0]
    for converged, own in table.groupby("converged"):
        axis.plot(own["index"], own["loss"], "o", ms=6, mec=colour, mfc=colour if converged else "none", mew=1.2)
        for share, loss in zip(own["index"], own["loss"], strict=True):
            panel.mark(share, loss, f"index {number(share)}\nloss {number(loss)}")
    if not table["converged"].all():
        axis.text(1.0, 1.02, "hollow: the gradient did not vanish", transform=axis.transAxes, ha="right", fontsize=8,
                  color=panel.theme.muted)  # fmt: skip
    axis.margins(0.08)
    axis.set(xlabel="index: share of negative eigenvalues", ylabel="loss", xlim=(-0.02, None))
