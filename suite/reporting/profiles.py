"""Figures over all problems: performance profiles, targets reached, ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.figures import FRONT, Chart, Line, Palette, heat_map, line_chart, performance_profile
from suite.clocks import EPOCHS, STEPS
from suite.reporting import focus
from suite.reporting.contests import MEASURED, Contest, clock_name, clocks, times
from suite.reporting.names import slug
from suite.reporting.tables import TONES


def profile(found: Sequence[Contest], palette: Palette) -> dict[str, Chart]:
    """Performance profiles over the problems by the clocks that their rows are held against each other by, and by
    seconds where all are timed or priced."""
    machines = set.intersection(*(set(contest.machines) for contest in found)) if found else set()
    if not any(contest.about["target"] for contest in found):
        return {STEPS: performance_profile(times(()), name="profile-steps", palette=palette)}
    by = " or ".join(clocks(found))
    return {
        clock_name(machine) if machine else by: _profile(times(found, machine), machine, by, palette)
        for machine in (None, *sorted(machines, key=lambda machine: (machine != MEASURED, machine)))
    }


def _profile(table: pd.DataFrame, machine: str | None, by: str, palette: Palette) -> Chart:
    from analysis.statistics import performance_profile as profile_of
    from analysis.statistics import profile_score
    from analysis.statistics.profiles import TAU_MAX

    name = slug("profile", f"seconds {machine}" if machine else by)
    if not np.isfinite(table.to_numpy(float)).any():
        return performance_profile(times(()), name=name, palette=palette)
    shares = profile_of(table)
    if shares.index[-1] < TAU_MAX:  # as far as the score goes
        shares.loc[TAU_MAX] = shares.iloc[-1]
    long = shares.melt(ignore_index=False, var_name="optimizer", value_name="share").reset_index(names="tau")
    scores = profile_score(table).sort_values(ascending=False)
    palette = palette.focus(map(str, scores.index[:FRONT]), focus.beside(palette))
    first = {name: score for name, score in scores.items() if palette.leads(str(name))}
    told = ", ".join(f"{name} {score:.2f}" for name, score in first.items())
    rest = scores.drop(list(first))
    told += f"; {len(rest)} others {rest.max():.2f} to {rest.min():.2f}" if len(rest) else ""
    return performance_profile(
        long.assign(score=long["optimizer"].map(scores)),
        name=name,
        caption=f"By {'seconds' if machine else by} to each problem's target. Score, area up to 4: {told}."
        f"{_partly(table)}",
        palette=palette,
    )


def _partly(table: pd.DataFrame) -> str:
    """Whose times are not known on all problems, in a sentence."""
    counts = {name: count for name, count in table.notna().sum().items() if count < len(table)}
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f" Of the {len(table)} problems shares are over those that an optimizer was run on: {told}." if told else ""


def solved(found: Sequence[Contest], palette: Palette) -> Chart:
    """The share of problems whose target is reached within so many steps, or epochs where steps are not alike."""
    from analysis.statistics import solved_per_budget

    clock = STEPS if clocks(found) == [STEPS] else EPOCHS
    table = times(found, clock=clock)
    budgets = np.unique(table.to_numpy(float)) if len(table) else np.array([])
    shares = solved_per_budget(table, budgets[np.isfinite(budgets)]) if len(table) else table
    long = shares.melt(ignore_index=False, var_name="optimizer", value_name="share").reset_index(names=clock)
    order = shares.mean().sort_values(ascending=False).index
    palette = palette.focus(map(str, order[:FRONT]), focus.beside(palette))
    line = Line(clock, "share", ylabel="share of problems solved", yscale="linear", steps=True)
    return line_chart(
        "solved", "Targets reached", long.astype({"share": float}), line, palette=palette,
        why_empty="no problem has a target that a run reached",
        caption=f"The share of problems whose target the median run reaches within so many {clock}.{_partly(table)}",
    )  # fmt: skip


def ranks(found: Sequence[Contest], palette: Palette) -> Chart:
    """Every optimizer's rank on every problem, the best in the mean first; what diverged counts as the last."""
    rows = [
        {
            "optimizer": row["optimizer"],
            "problem": contest.name,
            "rank": math.inf if diverged else float(rank),
            "place": len(contest.leading) if diverged else rank,
            "marked": row["verdict"] in TONES,
        }
        for contest in found
        for rank, row in enumerate(contest.leading, 1)
        for diverged in [row["final"][contest.ranked_by]["value"] is None]
    ]
    table = pd.DataFrame(rows, columns=["optimizer", "problem", "rank", "place", "marked"])
    order = table.groupby("optimizer")["place"].mean().sort_values(kind="stable").index
    table = table.drop(columns="place").set_index("optimizer").loc[order].reset_index()
    return heat_map(
        table, value="rank", columns="problem", name="ranks", title="Ranks", palette=palette,
        caption="By the median, from the best start; bold is the best and what cannot be told from it.",
    )  # fmt: skip
