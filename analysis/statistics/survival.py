"""Times to a target, by the clock that one asks for; runs that never get there are censored, not dropped.

A run that ends before the target has still taken that long without reaching it. One that
diverged will never reach it, however long it is given, and counts as censored at infinity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.values import Better

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
KINDS = ("gradient", "value", "hvp", "ggn", "factors")  # of evaluations, as a run's summary counts them
FEWEST = 5  # runs from which the median's interval can hold 95 % or nearly


@dataclass(frozen=True)
class TimeToTarget:
    """The Kaplan-Meier median of the times to a target.

    Args:
        median: infinite if it is not reached: fewer than half of the runs got there in their time.
        low, high: its 95 % interval; ``high`` is infinite where the data do not bound it, both are
            NaN where the runs are too few.
        reached: how many of the n runs got there.
    """

    median: float
    low: float
    high: float
    reached: int
    n: int

    def __str__(self) -> str:
        shown = "not reached" if math.isinf(self.median) else f"{self.median:g}"
        return shown if self.reached == self.n else f"{shown} ({self.reached}/{self.n})"


def times_to_target(
    traces: pd.DataFrame, measure: str, value: float, better: Better, clock: str = "step", diverged: ArrayLike = ()
) -> pd.DataFrame:
    """When each run first was at least as good as a value.

    Its resolution is that of the trace: a target met between two evaluations counts from the later one.

    Args:
        clock: the column of the traces that tells the time: ``step``, or one that
            :func:`with_clocks` or ``suite.price`` adds.
        diverged: the identities of runs that diverged.

    Returns:
        A row per run that has the measure and the clock, by identity: ``time``, that of the last
        measurement where the target was not reached (infinite for a run that diverged), and ``reached``.
    """
    import pandas as pd

    of_measure = traces.loc[traces["measure"] == measure, ["run", clock, "value"]].dropna(subset=[clock])
    of_measure = of_measure.astype({"run": str, clock: "float64"})
    met = of_measure["value"] >= value if better == "higher" else of_measure["value"] <= value
    first = of_measure[met].groupby("run")[clock].min()
    last = of_measure.groupby("run")[clock].max()
    last[last.index.isin([str(run) for run in np.asarray(diverged).tolist()])] = np.inf
    return pd.DataFrame({"time": first.reindex(last.index).fillna(last), "reached": last.index.isin(first.index)})


def with_clocks(traces: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Traces with clocks beside ``step``; NaN where a run has none.

    - ``gradients``, and ``evaluations`` of any kind: losses, gradients and products with a curvature matrix.
    - ``examples`` that gradients were taken of, and ``epochs``: evaluations of one example over the
      number of training examples.
    - ``measured_seconds``.

    A run's evaluations are spread evenly over its steps, unless its trace has them as a measure. A full
    batch has all of the training split, where its size is recorded (``train_examples``); a run whose
    minibatches grow has no even rate. Seconds are those of a run that was timed, whose trace has them
    as a measure of its own.

    Args:
        traces, runs: as ``suite.load`` gives them.
    """

    def column(name: str, otherwise: float = math.nan) -> pd.Series[float]:
        found = runs.get(name)
        return runs["seed"] * 0.0 + otherwise if found is None else found.astype("float64")

    steps = column("steps_taken").fillna(column("last_step")).where(lambda last: last > 0)
    gradients = column("gradient_calls") / steps
    others = sum((column(f"{kind}_calls", 0.0).fillna(0.0) for kind in KINDS[1:]), start=0.0)
    evaluations = gradients + others / steps
    batch = column("batch_size").where(lambda size: size > 0, column("train_examples"))
    rates = {
        "gradients": gradients,
        "evaluations": evaluations,
        "examples": (gradients * batch).where(column("grow_every", 0.0) == 0),
        "epochs": (evaluations * batch / column("train_examples")).where(column("grow_every", 0.0) == 0),
    }
    each = runs[["run"]].astype(str).assign(**rates).set_index("run")
    found = traces["run"].astype(str)
    clocks = {name: traces["step"] * found.map(each[name]).astype("float64") for name in rates}
    counted = _measured(traces, found, "evaluations")
    share = clocks["epochs"] / clocks["evaluations"]
    clocks["evaluations"] = clocks["evaluations"].where(np.isnan(counted), counted)
    clocks["epochs"] = clocks["epochs"].where(np.isnan(counted), counted * share)
    return traces.assign(**clocks, measured_seconds=_measured(traces, found, "seconds"))


def _measured(traces: pd.DataFrame, run: pd.Series[str], measure: str) -> Array:
    """Of each row, what a measure of its run that is a clock says at its step; NaN where there is none."""
    import pandas as pd

    own = traces["measure"] == measure
    read = traces.loc[own, "value"].groupby([run[own], traces.loc[own, "step"]]).last()
    return read.reindex(pd.MultiIndex.from_arrays([run, traces["step"]])).to_numpy(dtype=np.float64)


def kaplan_meier(times: ArrayLike, reached: ArrayLike) -> tuple[Array, Array]:
    """S(t), the share of runs that have not reached the target by time t.

    S(t) = Π (1 − dᵢ/nᵢ) over the times tᵢ ≤ t at which dᵢ of the nᵢ runs still on their way got there. A run
    censored at the very time at which another arrives was still on its way.

    Args:
        times: [n], ≥ 0; infinite for a run that never will.
        reached: [n], whether the run got there at its time, or had not when it ended.

    Returns:
        The distinct finite times of arrival, ascending, and S from each of them on.

    Source: Kaplan & Meier 1958.
    """
    at, survival, _ = _curve(times, reached)
    return at, survival


def time_to_target(times: ArrayLike, reached: ArrayLike, level: float = 0.95) -> TimeToTarget:
    """The Kaplan-Meier median, the first t with S(t) ≤ ½, and its interval.

    The interval holds the t at which a band about S, symmetric for log(−log S), includes ½, with
    Greenwood's variance Σ dᵢ/(nᵢ(nᵢ − dᵢ)) (Brookmeyer & Crowley 1982; Kalbfleisch & Prentice 2002, section 1.4).

    Args:
        times, reached: as for :func:`kaplan_meier`.
    """
    at, survival, greenwood = _curve(times, reached)
    hits = np.asarray(reached, dtype=bool)
    median = _crossing(at, survival)
    low = high = math.nan
    if len(hits) >= FEWEST:
        from scipy.stats import norm

        inside = (survival > 0) & (survival < 1)
        width = np.zeros_like(survival)
        logs = np.log(survival[inside])
        width[inside] = norm.ppf((1 + level) / 2) * np.sqrt(greenwood[inside]) / np.abs(logs)
        low, high = _crossing(at, survival ** np.exp(width)), _crossing(at, survival ** np.exp(-width))
    return TimeToTarget(median, low, high, int(hits.sum()), len(hits))


def _curve(times: ArrayLike, reached: ArrayLike) -> tuple[Array, Array, Array]:
    """The times of arrival, S from each on, and Greenwood's sum."""
    when, hit = np.asarray(times, dtype=np.float64), np.asarray(reached, dtype=bool)
    if when.shape != hit.shape or np.isnan(when).any() or np.isinf(when[hit]).any():
        raise ValueError("times and reached must have one entry per run, and a run that got there a finite time")
    at, arrivals = np.unique(when[hit], return_counts=True)
    on_their_way = len(when) - np.searchsorted(np.sort(when), at, "left")
    survival = np.cumprod(1.0 - arrivals / on_their_way, dtype=np.float64)
    with np.errstate(divide="ignore"):
        greenwood = np.cumsum(
            arrivals / (on_their_way * (on_their_way - arrivals).astype(np.float64)), dtype=np.float64
        )
    return np.asarray(at, dtype=np.float64), survival, greenwood


def _crossing(at: Array, survival: Array) -> float:
    below = np.flatnonzero(survival <= 0.5 + 1e-12)  # products of ratios miss a half by their rounding
    return float(at[below[0]]) if len(below) else math.inf
