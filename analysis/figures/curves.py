"""Figures of a comparison: learning curves, performance profiles, sensitivity, and what tuning buys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from analysis.figures.axes import Scale
from analysis.figures.chart import Chart
from analysis.figures.lines import Line, line_chart
from analysis.figures.style import spans_decades

if TYPE_CHECKING:
    import pandas as pd


def learning_curves(
    table: pd.DataFrame,
    *,
    measure: str,
    against: str = "step",
    target: float | None = None,
    yscale: Scale = "auto",
    within: tuple[float, float] = (-math.inf, math.inf),
    name: str = "learning-curves",
    title: str = "",
    **options: Any,
) -> Chart:
    """The median of a measure over seeds, and its interval, against time by some clock.

    Args:
        table: columns ``optimizer``, ``median``, ``low``, ``high``, ``n``, and that of the clock.
        against: the clock: ``step``, ``epochs``, ``evaluations``, ``seconds``; its axis is logarithmic where some
            end so much earlier than others by it that they could not be told apart.
        target: a value to reach, drawn as a line.
        within: values outside are off the figure, such as losses above those at the start.
    """
    words = measure.replace("_", " ")
    ends = table.groupby("optimizer", observed=True)[against].max()
    line = Line(
        against,
        "median",
        low="low",
        high="high",
        ylabel=words,
        yscale=yscale,
        xscale="log" if spans_decades(ends[ends > 0]) else "linear",
        rule=None if target is None else (target, "target"),
        within=within,
        notes={"n": "runs"},
    )
    options.setdefault("why_empty", f"no run has measured {words}" + " in seconds" * (against == "seconds"))
    return line_chart(name, title or words[:1].upper() + words[1:], table, line, **options)


def performance_profile(
    table: pd.DataFrame, *, name: str = "performance-profile", title: str = "Performance profile", **options: Any
) -> Chart:
    """The share of problems that each optimizer solves within a factor τ of the quickest (Dolan & Moré 2002).

    Args:
        table: columns ``optimizer``, ``tau`` (≥ 1), ``share`` (in [0, 1]); ``score``, if it is there, is said.
    """
    line = Line(
        "tau", "share", xlabel="within this factor of the quickest", ylabel="share of problems solved",
        xscale="log", yscale="linear", steps=True, notes={"score": "score"} if "score" in table else {},
    )  # fmt: skip
    options.setdefault("why_empty", "no problem has a target that a run reached")
    return line_chart(name, title, table, line, **options)


def sensitivity(
    table: pd.DataFrame,
    *,
    setting: str,
    measure: str,
    yscale: Scale = "auto",
    within: tuple[float, float] = (-math.inf, math.inf),
    name: str = "sensitivity",
    title: str = "",
    **options: Any,
) -> Chart:
    """The final value of a measure against a tuned setting.

    Args:
        table: columns ``optimizer``, ``value`` (of the setting), ``median``, ``low``, ``high``,
            ``diverged`` (share of the runs in [0, 1]).
        within: values outside are off the figure, such as losses above those at the start.
    """
    words = measure.replace("_", " ")
    line = Line(
        "value", "median", low="low", high="high", xlabel=setting, ylabel=f"final {words}", yscale=yscale,
        points=True, notes={"diverged": "diverged"}, within=within,
    )  # fmt: skip
    options.setdefault("why_empty", f"no trial with a {setting} of its own ended with a finite value")
    return line_chart(name, title or f"Sensitivity to {setting}", table, line, **options)


def tuning_curves(
    table: pd.DataFrame,
    *,
    measure: str,
    yscale: Scale = "auto",
    name: str = "tuning",
    title: str = "What tuning buys",
    **options: Any,
) -> Chart:
    """The expected best value against the number of trials (Dodge et al. 2019).

    Args:
        table: columns ``optimizer``, ``trials``, ``expected``, ``low``, ``high``.
    """
    words = measure.replace("_", " ")
    line = Line(
        "trials", "expected", low="low", high="high", ylabel=f"expected best {words}", yscale=yscale, xscale="linear"
    )
    options.setdefault("why_empty", "there was nothing to tune")
    return line_chart(name, title, table, line, **options)
