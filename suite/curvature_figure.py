"""The figure of ``python -m suite spectrum``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import seaborn as sns

if TYPE_CHECKING:
    from suite.curvature import Moment

SHOWN = 4  # spectra in one panel
FLOOR = 1e-6  # densities below this share of the largest are not drawn


def draw(found: Sequence[Moment], file: Path, title: str) -> None:
    """Each spectrum at its step; and where there are several steps, what becomes of its ends and its index."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    whole = [m for m in found if not m.layer]
    steps = list(dict.fromkeys(m.step for m in whole))
    with sns.axes_style("whitegrid"), plt.rc_context({"svg.hashsalt": "suite", "axes.titlesize": "medium"}):
        panels: list[Any] = [_spectra]
        if len(steps) > 1:
            panels.append(_course)
            if all(m.spectrum.density is not None for m in whole):
                panels.append(_index)
        figure, axes = plt.subplots(
            1, len(panels), figsize=(5.2 * len(panels), 3.8), squeeze=False, layout="constrained"
        )
        for panel, axis in zip(panels, axes[0], strict=True):
            panel(axis, whole)
        figure.suptitle(title)
        figure.savefig(file, metadata={"Date": None} if file.suffix.lower() == ".svg" else None, dpi=150)
        plt.close(figure)


def _spectra(axis: Any, found: Sequence[Moment]) -> None:
    """Densities on a logarithmic scale, and the extreme eigenvalues as marks at the bottom; at most four of them."""
    found = [found[i] for i in sorted({round(i) for i in np.linspace(0, len(found) - 1, SHOWN)})]
    colours = sns.color_palette("colorblind", len(found))
    several = len({m.matrix for m in found}) > 1
    for colour, moment in zip(colours, found, strict=True):
        name = f"step {moment.step}" + (f", {moment.matrix.replace('_', ' ')}" if several else "")
        density = moment.spectrum.density
        ends = np.concatenate([moment.spectrum.top.values, moment.spectrum.bottom.values])
        axis.plot(ends, np.zeros(len(ends)), "|", ms=11, mew=1.4, color=colour, clip_on=False,
                  transform=axis.get_xaxis_transform(), label=name if density is None else None)  # fmt: skip
        if density is not None:
            grid, curve = density.on_grid()
            axis.plot(grid, np.where(curve > FLOOR * curve.max(), curve, np.nan), color=colour, lw=1.3, label=name)
            axis.set_yscale("log")
    axis.set(xlabel="eigenvalue", ylabel="density", title="spectrum, extreme eigenvalues as ticks")
    if all(m.spectrum.density is None for m in found):
        axis.set(ylabel="", yticks=[], ylim=(0, 1))
    axis.legend(fontsize="small", frameon=False)


def _course(axis: Any, found: Sequence[Moment]) -> None:
    """The extreme eigenvalues of the first matrix over steps, and 2/lr."""
    own = [m for m in found if m.matrix == found[0].matrix]
    steps = [m.step for m in own]
    colours = sns.color_palette("colorblind", 3)
    for end, colour in (("top", colours[0]), ("bottom", colours[1])):
        rows = [getattr(m.spectrum, end).values for m in own]
        for i in range(min(map(len, rows))):
            label = {"top": "largest", "bottom": "smallest"}[end] if i == 0 else None
            axis.plot(steps, [r[i] for r in rows], "o-", ms=3, lw=1.4 if i == 0 else 0.7, color=colour,
                      alpha=1 if i == 0 else 0.45, label=label)  # fmt: skip
    rates = [m.rate for m in own if m.rate]
    if len(rates) == len(own):
        limit = 2 / np.array(rates)
        out = limit.min() > 3 * max(m.sharpness or 0.0 for m in own)
        if out:
            axis.plot([], [], " ", label=f"2 / learning rate ≥ {limit.min():.3g}, above")
        else:
            axis.plot(steps, limit, "k--", lw=1, label="2 / learning rate")
    axis.set_xscale("symlog", linthresh=1)
    axis.set(
        xlim=(-0.1, 1.1 * steps[-1]), xlabel="step", ylabel="eigenvalue", title="extreme eigenvalues along training"
    )
    axis.legend(fontsize="small", frameon=False)


def _index(axis: Any, found: Sequence[Moment]) -> None:
    """The share of negative eigenvalues against the loss, as Dauphin et al. (2014) plot it."""
    own = [m for m in found if m.matrix == found[0].matrix and m.spectrum.density is not None]
    shares = [m.spectrum.density.negative for m in own if m.spectrum.density is not None]
    values = np.array([s.value for s in shares])
    error = np.nan_to_num(np.abs(np.array([[s.value - s.low, s.high - s.value] for s in shares]).T))
    axis.errorbar([m.loss for m in own], values, yerr=error, fmt="o-", ms=4, lw=1, capsize=2)
    for moment, value in zip(own, values, strict=True):
        axis.annotate(str(moment.step), (moment.loss, value), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.set(xlabel="loss", ylabel="share of negative eigenvalues", title="index against loss, steps beside")
