"""The report: findings first, then each problem, then what was measured beside, then how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.figures import Chart, Palette
from analysis.numbers import duration, interval, number
from analysis.report import Block, Facts, Figure, Headline, Page, Section
from suite.clocks import told
from suite.environment import short
from suite.reporting import claims, figures, focus, profiles, scaling, tables
from suite.reporting.contests import MEASURED, Contest, Row, every, newest, setting, untuned
from suite.reporting.cost_tables import cost_tables
from suite.reporting.evidence import Evidence
from suite.reporting.names import listed, slug


def page(evidence: Evidence) -> Page:
    """The page of a folder of results."""
    found = every(evidence)
    palette = focus.palette(list(evidence.names()), newest(found))
    names = list(palette)
    costs = figures.costs(evidence, palette)
    sections = [
        *_overview(found, names, palette),
        *_series(found, palette),
        *_problems(found, palette, costs),
        *_beside(evidence, palette, costs),
    ]
    sections.append(Section("method", "What was run, and on what", _facts(evidence)))
    return Page(
        "Optimizer comparison" if found else "Optimizer measurements",
        _summary(evidence, found),
        [_headline(contest, key) for key, contest in zip(keys(found), found, strict=True) if contest.ran],
        sections,
        [*_notes(evidence), *_pointing(sections, names)],
        names,
        palette,
    )


def keys(found: Sequence[Contest]) -> list[str]:
    """An anchor for each contest; a problem that was compared twice has two."""
    taken: dict[str, int] = {}
    result = []
    for contest in found:
        name = f"p-{slug(contest.name)}"
        taken[name] = taken.get(name, 0) + 1
        result.append(name if taken[name] == 1 else f"{name}-{taken[name]}")
    return result


def _summary(evidence: Evidence, found: Sequence[Contest]) -> str:
    if not found:
        counts = (
            (evidence.runs, "run"),
            (evidence.costs, "cost"),
            (evidence.spectra, "spectrum"),
            (evidence.landscapes, "look at a loss surface"),
            ({record["claim"] for record in evidence.claims}, "claim"),
        )
        there = [_count(len(table), word) for table, word in counts if len(table)]
        return f"{', '.join(there) or 'nothing measured'}; no comparison yet."
    names = list(dict.fromkeys(row["optimizer"] for contest in found for row in contest.rows))
    question = found[0].question
    return (
        f"{_count(len(names), 'optimizer')} on {_count(len(found), 'problem')}. "
        f"{_tuning([row for contest in found for row in contest.rows])} was run again on "
        f"{_count(question['seeds'], 'fresh seed')}, from which all values below come."
    )


def _tuning(rows: Sequence[Row]) -> str:
    """What budget each had, up to what was run again."""
    tried = max(len(row["trials"]) for row in rows)
    left = untuned(rows)
    if len(left) == len({row["optimizer"] for row in rows}):
        return "There was nothing to tune, and each"
    but = f" (but for {', '.join(left)}, of which nothing is left to tune)" if left else ""
    return f"Each was tuned with the same budget, {_count(tried, 'trial')}{but}, and its best setting"


MEASUREMENTS = ("runs", "costs", "claims")
PLURALS = {"spectrum": "spectra", "look at a loss surface": "looks at loss surfaces"}


def _count(n: int, word: str) -> str:
    return f"{n} {word if n == 1 else PLURALS.get(word, word + 's')}"


# findings -------------------------------------------------------------------------------


def _headline(contest: Contest, key: str) -> Headline:
    """What won one problem, by how much, how sure that is, at what cost."""
    best = contest.ran[0]
    final = best["final"][contest.ranked_by]
    if final["value"] is None:
        return Headline(contest.name, key, "no best", "diverged", "", ["Half of the runs or more of each row did."])
    words = contest.ranked_by.replace("_", " ")
    spread = interval(*(float("nan") if final[key] is None else final[key] for key in ("low", "high")))
    value = f"{words} {number(final['value'])}"
    text = [f"with {setting(best)} from {best['initializer']}".replace("with  from", "from")]
    text += [_certainty(contest), *_price(contest, best)]
    return Headline(contest.name, key, best["optimizer"], value, spread, [f"{t[:1].upper()}{t[1:]}." for t in text])


def _certainty(contest: Contest) -> str:
    """How the best stands to the other optimizers."""
    others = contest.leading[1:]
    if not others:
        return "nothing to compare it with"
    ahead, tied, unknown = (
        [row["optimizer"] for row in others if row["verdict"] == verdict]
        for verdict in ("better", "indistinguishable", "too few")
    )
    if ahead:
        are = "is" if len(ahead) == 1 else "are"
        return f"the best by its median, though {listed(ahead)} {are} better seed by seed, in the paired test"
    if unknown:
        return f"too few seeds to tell it from {listed(unknown)}"
    if len(tied) == len(others):
        return "the best by its median, but no optimizer can be told from it"
    if tied:
        return f"cannot be told from {listed(tied)}"
    few = {1: "the other optimizer", 2: "both other optimizers"}
    return f"better than {few.get(len(others), f'each of the {len(others)} other optimizers')}"


def _price(contest: Contest, best: Row) -> Iterator[str]:
    """How soon the target was reached."""
    if not contest.about["target"]:
        return
    found = contest.to_target(best, contest.clock)
    if math.isinf(found):
        yield "did not reach the target in most runs"
        return
    timed = {machine: contest.seconds_to_target(best, machine) for machine in contest.machines}
    machine = next((machine for machine, seconds in timed.items() if not math.isnan(seconds)), None)
    price = ""
    if machine:
        how = "measured" if machine == MEASURED else f"on {machine}"
        price = f", about {duration(timed[machine])} {how}"
    yield f"reached the target in {told(found, contest.clock)} {contest.clock}{price}"


# sections -------------------------------------------------------------------------------


def _overview(found: Sequence[Contest], names: Sequence[str], palette: Palette) -> Iterator[Section]:
    found = newest(found)
    if len(found) > 1:
        blocks: list[Block] = [tables.glance(found, names), Figure(profiles.profile(found, palette))]
        blocks += [_figure(chart) for chart in (profiles.solved(found, palette), profiles.ranks(found, palette))]
        yield Section("glance-section", "All problems", blocks)


def _series(found: Sequence[Contest], palette: Palette) -> Iterator[Section]:
    """Problems that differ in one number, side by side."""
    for one in scaling.series(found):
        key = f"by-{slug(one.name)}"
        charts = [_figure(chart) for chart in scaling.scaling_charts(one, key, palette)]
        yield Section(key, one.name, [*scaling.scaling_tables(one, key), *charts])


def _problems(found: Sequence[Contest], palette: Palette, costs: Mapping[str, list[Chart]]) -> Iterator[Section]:
    left = dict(costs)
    for key, contest in zip(keys(found), found, strict=True):
        blocks: list[Block] = [tables.verdict_table(contest, f"{key}-verdicts")]
        blocks += [Figure(variants, contest.name) for variants in figures.of_problem(contest, palette)]
        blocks += [_figure(chart) for chart in left.pop(contest.name, ())]
        yield Section(key, contest.name, blocks, _lead(contest, palette), "problem")


def _figure(chart: Chart) -> Figure:
    return Figure({"": chart})


def _lead(contest: Contest, palette: Palette) -> list[str]:
    about = contest.about
    batch = f"batches of {about['batch_size']}" if about["batch_size"] else "full batches"
    words = f"{about['steps']} steps, {batch}; tuned by final {about['tuned_by'].replace('_', ' ')}."
    target = about["target"]
    if target:
        sign = "≥" if target["better"] == "higher" else "≤"
        words += (
            f" Target: {target['measure'].replace('_', ' ')} {sign} {number(target['value'])} ({target['origin']})."
        )
    sentence = contest.sentence.removeprefix(f"{contest.name}: ")
    said = [f"{sentence[:1].upper()}{sentence[1:]}."] if sentence else []
    return [*said, words, *filter(None, [focus.told(palette, contest)])]


def _beside(evidence: Evidence, palette: Palette, costs: Mapping[str, list[Chart]]) -> Iterator[Section]:
    """Whatever else there is; the costs of problems that were compared stand with them."""
    if evidence.claims:
        lead = claims.lead(evidence.claims, " (shaded)")
        yield Section("claims", "What the chapter says", claims.statements(evidence.claims), [lead])
    if not evidence.costs.empty:
        compared = {about["problem"] for record in evidence.compared for about in record["problems"]}
        charts: list[Block] = [_figure(c) for name, own in costs.items() if name not in compared for c in own]
        yield Section("costs", "Costs", [*cost_tables(evidence), *charts])
    curved = [_figure(chart) for chart in (*figures.probes(evidence, palette), *figures.spectra(evidence))]
    if curved:
        yield Section("curvature", "Gradients and curvature", curved)
    seen = [_figure(chart) for chart in figures.looks(evidence)]
    if seen:
        yield Section("landscapes", "Loss surfaces", seen)
    single = list(figures.alone(evidence))
    if single:
        few = [f"{chart.title}: {shown} of {of} runs are drawn." for chart, shown, of in single if shown < of]
        title = "Runs beside the comparisons" if evidence.compared else "Runs"
        yield Section("runs", title, [_figure(chart) for chart, _, _ in single], few)


# how ------------------------------------------------------------------------------------


def _facts(evidence: Evidence) -> list[Block]:
    blocks: list[Block] = []
    for record in evidence.compared:
        question = record["question"]
        items = [
            ("finished", record["finished"].replace("T", " ").replace("+00:00", " UTC")),
            ("problems", ", ".join(about["problem"] for about in record["problems"])),
            ("optimizers", question["optimizers"]),
            ("initializers", question["initializers"]),
            *([("ended sooner by", question["stop"])] if question.get("stop") else []),
            ("tuning", f"{_count(question['trials'], 'trial')} each, {record['tuning_runs']:,} runs"),
            *([("one trial, nothing to tune", ", ".join(left))] if (left := untuned(record["rows"])) else []),
            ("evaluation", f"{_count(question['seeds'], 'fresh seed')}, {record['evaluation_runs']:,} runs"),
            ("precision", f"{question['dtype']} on {question['device']}"),
            *((f"skipped on {s['problem']}", f"{s['initializer']}: {s['reason']}") for s in record["skipped"]),
        ]
        blocks.append(Facts("The comparison", items))
    if not evidence.runs.empty:
        statuses = evidence.runs["status"].value_counts()
        blocks.append(Facts("All runs", [(str(status), f"{n:,}") for status, n in statuses.items()]))
    blocks += [Facts(f"Machine {i + 1}" if i else "The machine", items) for i, items in enumerate(_machines(evidence))]
    return blocks


def _machines(evidence: Evidence, kinds: Sequence[str] = MEASUREMENTS) -> Iterator[list[tuple[str, str]]]:
    """What runs were made on, costs measured and claims tried, told apart by all but the commit."""
    import pandas as pd

    tried = pd.json_normalize([dict(record) for record in evidence.claims])
    made = {"runs": evidence.runs, "costs": evidence.costs, "claims": tried}
    frames = [made[kind].filter(like="environment.").assign(kind=kind) for kind in kinds]
    table = pd.concat([frame for frame in frames if len(frame)] or frames)
    own = [str(c) for c in table if c not in ("environment.commit", "kind")]
    if not own:
        return
    table = table.reindex(columns=[*own, "environment.commit", "kind"])
    for _, group in table.groupby(own, dropna=False, sort=False):
        items = [(c.partition(".")[2], str(group[c].iloc[0])) for c in own]
        commits = [short(str(c)) for c in group["environment.commit"].dropna().unique()]
        counts = [(kind, f"{n:,}") for kind in kinds if (n := int((group["kind"] == kind).sum()))]
        yield [*items, ("commit", ", ".join(commits[:5]) or "unknown"), *counts]


def _commits(evidence: Evidence, record: Mapping[str, Any]) -> set[str]:
    """The commits that the reported runs of a comparison were made at."""
    runs = {run for row in record["rows"] for run in row["runs"]} & set(evidence.by_run.index)
    if not runs or "environment.commit" not in evidence.by_run:
        return set()
    return set(evidence.by_run.loc[sorted(runs), "environment.commit"].dropna())


def _notes(evidence: Evidence) -> list[str]:
    notes = []
    left = len(evidence.comparisons) - len(evidence.compared)
    if left:
        notes.append(f"{_count(left, 'earlier comparison')} left out: a later one takes in all of their rows.")
    machines = len(list(_machines(evidence, ("runs",))))
    if machines > 1:
        notes.append(
            f"The runs were made on {machines} machines or sets of versions; those of one comparison are pooled."
        )
    old = int(evidence.runs["superseded"].sum()) if len(evidence.runs) else 0
    if old:
        notes.append(f"{_count(old, 'run')} by older definitions: others of the same settings stand in their place.")
    mixed = [record for record in evidence.compared if len(_commits(evidence, record)) > 1]
    if mixed:
        notes.append(
            f"In {_count(len(mixed), 'comparison')} runs of several commits of the suite stand side by side: their "
            "definitions are the same, what runs them may differ. compare --force trains all anew."
        )
    return notes


def _pointing(sections: Sequence[Section], names: Sequence[str]) -> list[str]:
    """What a reader can do with figures, where there are any."""
    if not any(isinstance(block, Figure) for section in sections for block in section.blocks):
        return []
    choose = "; choose an optimizer at the top to bring it forward in all figures" if names else ""
    return [f"Point at a figure for its values{choose}."]
