"""Problems that are the same but for one number, such as their depth, side by side: what the number costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from analysis.figures import FRONT, Chart, Line, Palette, line_chart
from analysis.numbers import interval, number, plain
from analysis.report import Cell, Column, Table
from problems.names import Spec, UsageError, parse
from problems.problem import problem
from suite.reporting import focus
from suite.reporting.contests import Contest, Row, setting
from suite.reporting.names import short_problem
from suite.reporting.tables import TONES

if TYPE_CHECKING:
    import pandas as pd

Who = tuple[str, str]  # optimizer, initializer
SAID = "Medians over fresh seeds, each cell tuned by itself."
FAILED = Cell("failed", math.inf, tone="bad")


@dataclass(frozen=True, eq=False)
class Series:
    """Problems that were compared and that differ in one number alone.

    Args:
        problem: as a person would write it, without the setting that differs, whose name is ``varied``.
        contests: by the setting's value, which rises; of several at one value the newest first.
    """

    problem: str
    varied: str
    contests: Mapping[float, Sequence[Contest]]

    @property
    def name(self) -> str:
        """What its tables are called."""
        return f"{self.problem} by {self.varied}"

    @cached_property
    def cells(self) -> dict[Who, dict[float, Row]]:
        """Each optimizer from each start: value of the setting -> its newest row, as ``frame`` has it."""
        found: dict[Who, dict[float, Row]] = {}
        for value, contests in self.contests.items():
            for contest in contests:
                for row in contest.rows:
                    own = found.setdefault((row["optimizer"], row["initializer"]), {})
                    own.setdefault(value, self._cell(value, contest, row))
        return found

    def frame(self) -> pd.DataFrame:
        """A row for each cell.

        ``steps_to_target`` is infinite where most runs did not get there, and NaN without a target; ``final``
        is infinite where most diverged. Both are NaN where nothing could be run.
        """
        import pandas as pd

        return pd.DataFrame([cell for own in self.cells.values() for cell in own.values()])

    def _cell(self, value: float, contest: Contest, row: Row) -> Row:
        steps, reached, measure = math.nan, math.nan, contest.ranked_by
        given = row.get("steps", contest.about["steps"])
        if contest.about["target"] and row["best"]:
            steps = math.inf if row["steps_to_target"] is None else row["steps_to_target"]
            reached = row["reached_target"]
        found = row["final"].get(measure, {"n": 0})
        final, low, high = (math.nan if found.get(key) is None else found[key] for key in ("value", "low", "high"))
        return {
            "problem": self.problem, "setting": self.varied, "value": value,
            "optimizer": row["optimizer"], "settings": setting(row), "initializer": row["initializer"],
            "steps": given, "n": found["n"], "reached": reached, "steps_to_target": steps,
            "measure": measure, "final": contest.worst(measure) if row["best"] and math.isnan(final) else final,
            "low": low, "high": high,
        }  # fmt: skip


def series(found: Sequence[Contest]) -> list[Series]:
    """All series among contests, the newest of which come first, in the order in which they were met."""
    kin: dict[tuple[str, Spec], dict[float, list[Contest]]] = {}
    for contest in found:
        spec = _bound(contest)
        for path, value, rest in _numbers(spec) if spec else ():
            kin.setdefault((path, rest), {}).setdefault(value, []).append(contest)
    return [
        Series(short_problem(str(rest)), path.rpartition(".")[2], dict(sorted(own.items())))
        for (path, rest), own in kin.items()
        if len(own) > 1
    ]


def _bound(contest: Contest) -> Spec | None:
    """The problem with all of its settings: as its runs have it, or where none came to a result as it is now."""
    known = contest.evidence.by_run
    runs = [run for row in contest.rows for run in row["runs"] if run in known.index]
    if runs:
        return parse(str(known.at[runs[0], "problem_text"]))
    try:
        return problem.bind(contest.name)
    except UsageError:  # its definition is not here
        return None


def _numbers(spec: Spec) -> Iterator[tuple[str, float, Spec]]:
    """Each number among a spec's settings: (its path, the number, the spec without it). Seeds are no sizes."""
    for key, value in spec.kwargs:
        if isinstance(value, Spec):
            for path, inner, rest in _numbers(value):
                yield f"{key}.{path}", inner, spec.replace(**{key: rest})
        elif isinstance(value, int | float) and not isinstance(value, bool) and not key.endswith("seed"):
            yield key, value, Spec(spec.name, spec.args, tuple(pair for pair in spec.kwargs if pair[0] != key))


# tables ---------------------------------------------------------------------------------


def scaling_tables(one: Series, key: str) -> list[Table]:
    """Steps to the target, where there is one, and final values: starts down, values of the setting across."""
    columns = [Column("optimizer"), Column("start"), *(Column(f"{one.varied} {plain(v)}", True) for v in one.contests)]
    measures = dict.fromkeys(cell["measure"].replace("_", " ") for own in one.cells.values() for cell in own.values())
    rows = [_line(one, who, _final) for who in one.cells]
    tables = [Table(f"{key}-final", f"{one.name}: final {' or '.join(measures)}", columns, rows, SAID)]
    if one.frame()["steps_to_target"].notna().any():
        columns = [*columns, Column("growth", True, f"Steps at the last {one.varied} over those at the first")]
        rows = [[*_line(one, who, _steps), _growth(list(one.cells[who].values()))] for who in one.cells]
        said = f"{SAID} > marks what most runs did not reach; a target is looked for at evaluations."
        tables.insert(0, Table(f"{key}-steps", f"{one.name}: steps to target", columns, rows, said))
    return tables


def _line(one: Series, who: Who, shown: Callable[[Row], Cell]) -> list[Cell]:
    own = one.cells[who]
    named = [Cell(who[0], series=who[0]), Cell(who[1])]
    return named + [shown(own[value]) if value in own else Cell("") for value in one.contests]


def _steps(cell: Row) -> Cell:
    steps = cell["steps_to_target"]
    if math.isnan(steps):
        return Cell("") if cell["n"] else FAILED
    note = f"{cell['reached']} of {cell['n']}" if cell["reached"] < cell["n"] else ""
    return Cell(f"> {cell['steps']}", 1e300, note) if math.isinf(steps) else Cell(f"{steps:.0f}", steps, note)


def _growth(cells: Sequence[Row]) -> Cell:
    """How many times the steps at the first value are taken at the last; a bound where they were not enough."""
    first, last = cells[0]["steps_to_target"], cells[-1]["steps_to_target"]
    if len(cells) < 2 or not 0 < first < math.inf or math.isnan(last):
        return Cell("")
    if math.isinf(last):
        return Cell(f"> {cells[-1]['steps'] / first:.3g}×", 1e300)
    return Cell(f"{last / first:.3g}×", last / first)


def _final(cell: Row) -> Cell:
    if math.isnan(cell["final"]):
        return FAILED
    if math.isinf(cell["final"]):
        return Cell("diverged", cell["final"], tone="bad")
    return Cell(number(cell["final"]), cell["final"], interval(cell["low"], cell["high"]))


# figures --------------------------------------------------------------------------------


def scaling_charts(one: Series, slug: str, palette: Palette | None = None) -> Iterator[Chart]:
    """Steps to the target and final values against the setting, a line for each optimizer and start.

    Args:
        palette: of the page, in which optimizers keep their colours where each has one start.
    """
    table = one.frame()
    optimizers, starts = (table[column].nunique() for column in ("optimizer", "initializer"))
    names = {who: who[0] if starts == 1 else " from ".join(who) if optimizers > 1 else who[1] for who in one.cells}
    whose = [names[who] for who in zip(table["optimizer"], table["initializer"], strict=True)]
    table = table.assign(who=whose)
    palette = _palette(one, names, palette if starts == 1 else None)
    if table["steps_to_target"].notna().any():
        missed = table[table["steps_to_target"] == math.inf]
        missed = missed[missed["who"].map(palette.leads)]
        left = f" Not reached by most runs: {_listed(missed)}." if len(missed) else ""
        line = Line(
            "value", "steps_to_target", "who", xlabel=one.varied, ylabel="steps to target", points=True,
            notes={"reached": "runs that did", "n": "of"},
        )  # fmt: skip
        title = f"Steps to target by {one.varied}"
        yield line_chart(
            f"{slug}-steps", title, table, line, palette=palette,
            why_empty="most runs did not reach the target", caption=f"{SAID}{left}",
        )  # fmt: skip
    for measure, own in table.groupby("measure", sort=False):
        words = str(measure).replace("_", " ")
        line = Line("value", "final", "who", "low", "high", one.varied, words, points=True, notes={"n": "n"})
        title = f"Final {words} by {one.varied}"
        yield line_chart(f"{slug}-{str(measure).replace('_', '-')}", title, own, line, palette=palette, caption=SAID)


def _palette(one: Series, names: Mapping[Who, str], page: Palette | None) -> Palette:
    """The page's palette, or one of its own; of many lines those are in front that are best or tied most often."""
    rows = [row for contests in one.contests.values() for row in contests[0].rows if row["verdict"] in TONES]
    led = Counter(names.get((row["optimizer"], row["initializer"])) for row in rows)
    if page is None:
        return focus.ranked(names.values(), lambda name: -led[name])
    return page.focus([name for name, _ in led.most_common(FRONT) if name], focus.beside(names.values()))


def _listed(short: pd.DataFrame) -> str:
    """``gaussian at 10, 30; sgd …``."""
    return "; ".join(
        f"{who} at {', '.join(plain(value) for value in own['value'])}" for who, own in short.groupby("who", sort=False)
    )
