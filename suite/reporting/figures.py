"""The figures of a folder of results, each by itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from analysis.figures import (
    PARTS,
    Chart,
    Palette,
    cost_bars,
    heat_map,
    learning_curves,
    ranking,
    sensitivity,
    traces,
    tuning_curves,
)
from suite import landscapes
from suite.clocks import EPOCHS, EVALUATIONS, STEPS
from suite.costs import machine_names
from suite.curvature_figure import spectrum_charts
from suite.reporting import focus
from suite.reporting.contests import MEASURED, Contest, clock_name, newest
from suite.reporting.evidence import Evidence
from suite.reporting.names import short_optimizer, short_problem, slug
from suite.reporting.profiles import profile, ranks, solved
from suite.reporting.scaling import scaling_charts, series

EXPLAINED = {
    EVALUATIONS: "An evaluation is a loss, a gradient or a product with a curvature matrix, of one minibatch.",
    EPOCHS: "An epoch is as many evaluations of one example as there are examples.",
}
THIN = 40  # runs outside comparisons whose traces are drawn, of one problem
LOOK = (4.2, 3.2)  # inches of a look at a loss surface: its letters are as large as those of the figures beside it


def curves(contest: Contest, palette: Palette) -> list[Mapping[str, Chart]]:
    """Learning curves of the measure that ranks and of the training loss: against what the rows are held against each
    other by, steps, and seconds where known."""
    palette = focus.front(palette, contest)
    measures = dict.fromkeys((contest.ranked_by, "train_loss"))
    return [_variants(contest, measure, palette) for measure in measures]


def _variants(contest: Contest, measure: str, palette: Palette) -> dict[str, Chart]:
    found = {clock: _curve(contest, measure, palette, None, clock) for clock in dict.fromkeys((contest.clock, STEPS))}
    for machine in contest.machines:
        chart = _curve(contest, measure, palette, machine)
        if not chart.empty:
            found[clock_name(machine)] = chart
    return found


def _curve(contest: Contest, measure: str, palette: Palette, machine: str | None, clock: str = STEPS) -> Chart:
    table = contest.curves(measure, machine)
    minimum, target = contest.about["minimum"], contest.about["target"]
    said, level = measure, target["value"] if target and target["measure"] == measure else None
    highest = contest.sane(measure)[1] if palette.many else math.inf  # one of many that shoots up makes all others flat
    if measure == "train_loss" and minimum is not None:
        table = table.assign(**{column: table[column] - minimum for column in ("median", "low", "high")})
        table, said = table[table["median"] > 0], "train_loss above its minimum"
        level, highest = None if level is None else level - minimum, highest - minimum
    caption = "Median over seeds of each optimizer from its best start, with its interval."
    if machine == MEASURED:
        caption = f"{caption[:-1]}; seconds are the median over seeds too, of runs that trained alone."
    elif machine:
        caption = f"{caption[:-1]}; steps priced by what one costs on {machine}."
    elif clock != STEPS:
        caption += f" {EXPLAINED[clock]}"
    return learning_curves(
        table,
        measure=said,
        against="seconds" if machine else {STEPS: "step"}.get(clock, clock),
        target=level,
        within=(-math.inf, highest),
        name=slug(contest.name, measure, "by", f"seconds {machine}" if machine else clock),
        title=_title(said),
        caption=caption,
        palette=palette,
    )


def _title(measure: str) -> str:
    words = measure.replace("_", " ")
    return words if any(map(str.isupper, words)) else words[:1].upper() + words[1:]


def tuned(contest: Contest, palette: Palette) -> Iterator[Chart]:
    """Sensitivity to each setting that more than one trial varied."""
    palette = focus.front(palette, contest)
    for name in contest.settings:
        table = contest.sensitivity(name)
        if table["value"].nunique() > 1:
            measure = str(contest.about["tuned_by"])
            yield sensitivity(
                table,
                setting=name,
                measure=measure,
                within=contest.sane(measure),
                name=slug(contest.name, "sensitivity", name),
                caption="Median over the tuning seeds, from the best start; the band is their range.",
                palette=palette,
            )


def budget(contest: Contest, palette: Palette) -> Chart:
    """What more trials would have been worth, and where they change who leads."""
    from analysis.statistics import ranking_changes

    measure = str(contest.about["tuned_by"])
    table = contest.tuning()
    drawn = "Expected best of so many trials; the band is a bootstrap over those made."
    told = "Best of the first so many trials, each of which builds on those before." if contest.sequential else drawn
    caption = f"{told} What diverged counts as its start."
    curves = table.rename(columns={"optimizer": "contestant"})
    led = list(dict.fromkeys(ranking_changes(curves, contest.better(measure))["first"])) if len(table) else []
    if len(led) > 1:
        caption += f" Who leads changes with the budget: {', then '.join(led)}."
    return tuning_curves(
        table, measure=measure, name=slug(contest.name, "tuning"), caption=caption,
        palette=focus.front(palette, contest),
    )  # fmt: skip


def final(contest: Contest, palette: Palette) -> Chart:
    """What every optimizer came to, best first."""
    table = contest.matrix().drop_duplicates("optimizer")
    tied = focus.marked(contest)
    return ranking(
        table.assign(marked=table["optimizer"].isin(tied)),
        measure=contest.ranked_by,
        name=slug(contest.name, "final"),
        title=f"Final {contest.ranked_by.replace('_', ' ')}",
        caption="Median over seeds from the best start, with its interval; grey is worse than the best.",
        palette=palette,
    )


def starts(contest: Contest, palette: Palette) -> Chart | None:
    """The heat map of initializers and optimizers; none where there is one start alone."""
    table = contest.matrix()
    if table["initializer"].nunique() < 2:
        return None
    words = contest.ranked_by.replace("_", " ")
    return heat_map(
        table,
        better=contest.better(contest.ranked_by),
        name=slug(contest.name, "starts"),
        title=f"{_title(words)} by start",
        caption="Darker is better; bold is the better start of each optimizer.",
        palette=palette,
    )


# costs ----------------------------------------------------------------------------------


def costs(evidence: Evidence, palette: Palette) -> dict[str, list[Chart]]:
    """What a step costs, by problem: a chart for each machine and size of minibatches."""
    if evidence.costs.empty:
        return {}
    found: dict[str, list[Chart]] = {}
    table = evidence.costs.assign(machine=machine_names(evidence.costs))
    table = table.assign(optimizer=[short_optimizer(text) for text in table["optimizer"]])
    for (text, batch, machine), own in table.groupby(["problem", "batch_size", "machine"], sort=True):
        name = short_problem(str(text))
        size = f"batches of {batch}" if batch else "full batches"
        noisy = int(own["noisy"].sum())
        whose = "the rest of a bar" if palette.many else "colour"
        warning = f" {noisy} of {len(own)} spread by more than 10 %: the machine was busy." if noisy else ""
        chart = cost_bars(
            _parts(own),
            name=slug(name, "cost", str(machine), str(batch)),
            title=f"A step on {name}",
            caption=f"{machine}, {size}. Grey is what the problem takes, {whose} the optimizer's own update.{warning}",
            palette=palette,
        )
        found.setdefault(name, []).append(chart)
    return found


def _parts(own: pd.DataFrame) -> pd.DataFrame:
    """The seconds of each part: its share of all parts, of the seconds of the whole step."""
    own = own.sort_values("seconds")
    parts = own[[f"parts.{part}" for part in PARTS]].rename(columns=lambda c: c.partition(".")[2])
    return own[["optimizer"]].join(parts.mul(own["seconds"] / parts.sum(axis=1), axis=0)).assign(spread=own["spread"])


# curvature ------------------------------------------------------------------------------


def spectra(evidence: Evidence) -> Iterator[Chart]:
    """The spectra of each request: densities, the course of the ends, the index."""
    if evidence.spectra.empty:
        return
    for request, own in evidence.spectra.groupby("request"):
        first = own.iloc[0]
        where = first["problem"] + (f", {first['optimizer']}" if first["optimizer"] else "")
        for chart in spectrum_charts(own):
            caption = f"{where}. {chart.caption}".strip()
            yield replace(chart, name=slug(where, chart.name, str(request)), caption=caption)


def looks(evidence: Evidence) -> Iterator[Chart]:
    """What was seen of loss surfaces, one chart for each look."""
    for i, look in enumerate(evidence.landscapes):
        title = f"{landscapes.TITLES[look['kind']]}: {landscapes.where(look)}"
        name = slug("landscape", look["kind"], look["run"]["problem"], str(i))
        yield landscapes.chart(look, name=name, title=title, size=LOOK)


def probes(evidence: Evidence, palette: Palette) -> Iterator[Chart]:
    """Gradient norms and the like along training, a chart for each problem and measure that was probed."""
    measured = _probed(evidence)
    for (problem, measure), own in measured.groupby(["problem", "measure"], sort=True, observed=True):
        yield traces(
            own,
            measure=str(measure).replace("_", " "),
            name=slug(str(problem), str(measure)),
            title=f"{_title(str(measure))} on {problem}",
            caption=_thinned(own),
            palette=focus.among(palette, list(own["optimizer"].unique())),
        )


def _thinned(own: pd.DataFrame) -> str:
    runs = own["run"].nunique()
    return "One run." if runs == 1 else f"{runs} runs, one for each optimizer."


def _probed(evidence: Evidence) -> pd.DataFrame:
    """The traces of what no evaluation measures, and no clock: the first run of each optimizer that has them."""
    traced, runs = evidence.traces, evidence.runs
    if traced.empty:
        return traced.assign(problem="", optimizer="")
    others = ("train_", "valid_", "test_", "seconds", "evaluations")
    measures = [m for m in traced["measure"].unique() if not str(m).startswith(others)]
    own = traced[traced["measure"].isin(measures)].astype({"run": str, "measure": str})
    known = runs[runs["run"].isin(own["run"].unique())].drop_duplicates(["problem", "optimizer_text"])
    named = known.assign(optimizer=[short_optimizer(text) for text in known["optimizer_text"]])
    return own.merge(named[["run", "problem", "optimizer"]], on="run")


def alone(evidence: Evidence) -> Iterator[tuple[Chart, int, int]]:
    """Runs that no comparison asked for: a chart for each problem, how many runs it shows, and of how many."""
    runs = evidence.alone
    for problem, own in runs.groupby("problem_text", sort=True) if len(runs) else ():
        shown = own.iloc[:: max(1, -(-len(own) // THIN))]
        chart = _alone(evidence, str(problem), shown)
        yield chart, len(shown), len(own)


def _alone(evidence: Evidence, problem: str, shown: pd.DataFrame) -> Chart:
    names = {row.run: f"{short_optimizer(str(row.optimizer_text))}, seed {row.seed}" for row in shown.itertuples()}
    traced = evidence.traces
    own = traced[traced["run"].isin(list(names)) & (traced["measure"] == "train_loss")].astype({"run": str})
    table = own.assign(optimizer=own["run"].map(names), median=own["value"], low=float("nan"), high=float("nan"), n=1)
    name = short_problem(problem)
    ended = table.sort_values("step").groupby("optimizer")["median"].last().to_dict()
    palette = focus.ranked(names.values(), lambda name: ended.get(name, math.inf))
    return learning_curves(
        table[["optimizer", "step", "median", "low", "high", "n"]],
        measure="train_loss",
        name=slug(name, "runs"),
        title=f"Train loss on {name}",
        caption="In front are those that ended lowest." if palette.many else "",
        palette=palette,
    )


def every(evidence: Evidence, contests: Sequence[Contest], palette: Palette) -> Iterator[Chart]:
    """All figures of a folder, each with a name of its own: the second of a name ends in 2.

    Final values are among them, which the page has in its tables. Titles name the problem, which is a heading there.
    """
    seen: Counter[str] = Counter()
    for chart in _every(evidence, contests, palette):
        seen[chart.name] += 1
        yield chart if seen[chart.name] == 1 else replace(chart, name=f"{chart.name}-{seen[chart.name]}")


def of_problem(contest: Contest, palette: Palette) -> Iterator[Mapping[str, Chart]]:
    """The figures of one problem, which their titles leave to a heading: each by its clocks, if it has any."""
    yield from curves(contest, palette)
    for chart in (*tuned(contest, palette), budget(contest, palette), starts(contest, palette)):
        if chart is not None:
            yield {"": chart}


def _every(evidence: Evidence, contests: Sequence[Contest], palette: Palette) -> Iterator[Chart]:
    latest = newest(contests)
    if len(latest) > 1:
        yield from profile(latest, palette).values()
        yield from (solved(latest, palette), ranks(latest, palette))
    for one in series(contests):
        yield from scaling_charts(one, slug(one.name), palette)
    for contest in contests:
        shown = [chart for variants in of_problem(contest, palette) for chart in variants.values()]
        for chart in (final(contest, palette), *shown):
            yield replace(chart, title=f"{chart.title} on {contest.name}")
    for found in costs(evidence, palette).values():
        yield from found
    yield from spectra(evidence)
    yield from looks(evidence)
    yield from probes(evidence, palette)
    yield from (chart for chart, _, _ in alone(evidence))
