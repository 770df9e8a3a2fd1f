"""Axes: their scales, limits and the numbers beside them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from analysis.figures.style import spans_decades
from analysis.numbers import tick

Scale = Literal["auto", "linear", "log"]
ROOM = 0.04  # of the data's span, left free at each end


def set_scale(axis: Axes, which: Literal["x", "y"], values: ArrayLike, scale: Scale = "auto") -> bool:
    """Choose an axis's scale and limits for all finite values, and its ticks; whether it is logarithmic."""
    finite = np.asarray(values, dtype=np.float64).ravel()
    finite = finite[np.isfinite(finite)]
    log = scale == "log" or (scale == "auto" and spans_decades(finite))
    if log:
        finite = finite[finite > 0]
        getattr(axis, f"set_{which}scale")("log")
    if len(finite):
        getattr(axis, f"set_{which}lim")(*_limits(finite, log))
    target = getattr(axis, f"{which}axis")
    if log:
        decades = np.log10(finite.max() / finite.min()) if len(finite) else 1.0
        subs = (1.0,) if decades > 2 else (1.0, 2.0, 5.0) if decades > 0.8 else (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
        target.set_major_locator(LogLocator(subs=subs, numticks=6))
        target.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        target.set_minor_locator(NullLocator())
    else:
        whole = bool(len(finite)) and bool(np.all(finite == np.round(finite)))
        target.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole))
    return log


def _limits(finite: np.ndarray[tuple[int, ...], np.dtype[np.float64]], log: bool) -> tuple[float, float]:
    low, high = float(finite.min()), float(finite.max())
    if log:
        room = max((high / low) ** ROOM, 1.05)
        return low / room, high * room
    room = ROOM * (high - low) or abs(high) * ROOM or 1.0
    return low - room, high + room
