"""What a person sees of a comparison, a run or a list of names.

On a terminal tables fit its width; where one is narrow, intervals and settings go below what
they belong to. Anywhere else (a pipe, a file) lines are as long as they need to be.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from analysis.numbers import duration, number
from problems.names import parse
from problems.problem import problem
from suite.clocks import told
from suite.environment import machines, short
from suite.initializers import initializer
from suite.optimizers import optimizer
from suite.progress import count
from suite.stopping import rule_of, stop

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, RenderableType
    from rich.table import Table

    from suite.outcome import Comparison, Row
    from suite.plan import Plan, Task
    from suite.spec import Result

WIDE = 118  # columns from which a row of a comparison stands on one line
UNLIMITED = 10_000  # columns of what is not a terminal


def console(file: IO[str]) -> Console:
    """A console on a stream: colours on a terminal unless ``NO_COLOR`` is set, plain text elsewhere.

    Where nobody reads it any more, as behind ``2>&1 | head``, it falls silent: what is trained goes on.
    """
    from rich.console import Console

    class Heard(Console):
        def on_broken_pipe(self) -> None:  # which would end the process from within somebody's run
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    made = Heard(file=file, highlight=False, emoji=False, markup=False)
    return made if made.is_terminal else Heard(file=file, highlight=False, emoji=False, markup=False, width=UNLIMITED)


def show(to: Console, *parts: RenderableType) -> None:
    """Print parts without the blanks that fill rows up to the width."""
    with to.capture() as captured:
        to.print(*parts, sep="\n")
    try:
        to.file.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
        to.file.flush()
    except BrokenPipeError:
        if to.file is not sys.stderr:
            raise
        to.on_broken_pipe()


# comparisons ----------------------------------------------------------------------------


def show_comparison(to: Console, outcome: Comparison) -> None:
    """The table of each problem, what the marks mean, and what was measured where."""
    for task, rows in outcome.rows.items():
        show(
            to,
            *_caption(outcome.plan, task, rows),
            "",
            _table(task, rows, to.width >= WIDE),
            *_starts(rows),
            *_errors(rows),
            "",
        )
    show(to, *_summary(outcome))
    show(to, *skipped(outcome.plan), *_legend(outcome), *_where(outcome))


def _summary(outcome: Comparison) -> Iterator[RenderableType]:
    """A line per problem to quote, and what the problems say together."""
    from suite.findings import findings, lines
    from suite.headlines import headline

    told = [headline(task, rows) for task, rows in outcome.rows.items()]
    yield from (str(line) for line in told if line is not None)
    yield ""
    further = list(lines(findings(outcome)))
    yield from (*further, "") if further else ()


def _caption(plan: Plan, task: Task, rows: Sequence[Row]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    batch = f"batches of {task.batch_size}" if task.batch_size else "full batches"
    split = task.reported[0].partition("_")[0]
    seeds = plan.seeds
    yield Text(task.name, style="bold") + Text(f"  {task.steps} steps, {batch}")
    lines = [
        *_tuning(plan, task, rows),
        f"shown: final values on the {split} split, median of {count(seeds, 'fresh seed')} {_interval(task, rows)}",
    ]
    target, minimum = task.target, task.made.minimum
    if target is not None:
        sign = ">=" if target.better == "higher" else "<="
        lines.append(f"target: {target.measure} {sign} {number(target.value)} ({target.origin})")
    if minimum is not None:
        lines.append(f"known minimum of train_loss: {number(minimum.loss)}")
    if plan.question.stop:
        rule = stop.short(parse(plan.question.stop))
        kept = rule_of(plan.question.stop, task.made).best
        at = f"; final values are those of the evaluation with the best {kept}" if kept else ""
        lines.append(f"runs may end sooner: {rule}{at}")
    yield from (Padding(line, (0, 0, 0, 2)) for line in lines)


def _interval(task: Task, rows: Sequence[Row]) -> str:
    """The level that the intervals keep, in words."""
    levels = [row.final[task.reported[0]].level for row in rows if row.best is not None]
    kept = [level for level in levels if not math.isnan(level)]
    return f"[{100 * min(kept):.3g} % interval]" if kept else "(too few for an interval, which takes 5)"


def _tuning(plan: Plan, task: Task, rows: Sequence[Row]) -> Iterator[str]:
    """What was tuned how, and which optimizers had one trial, as nothing of them is left to tune."""
    free = {str(row.contestant.optimizer): bool(row.contestant.trials[0].free) for row in rows}
    if any(free.values()):
        yield f"tuned by final {task.judged_by} on {len_of_tuning(plan)}"
    if left := sorted(name for name, tuned in free.items() if not tuned):
        yield f"one trial, as there is nothing to tune: {', '.join(left)}"


def len_of_tuning(plan: Plan) -> str:
    """The tuning budget in words."""
    from suite.plan import TUNING_SEEDS

    tried = max(contestant.budget for contestant in plan.contestants)
    how = "" if plan.question.search == "auto" else f", {plan.question.search} search"
    return f"{tried} trial{'s' if tried != 1 else ''} x {len(TUNING_SEEDS)} seeds{how}"


def _table(task: Task, rows: Sequence[Row], wide: bool) -> RenderableType:
    names = ["optimizer", "start"] if wide else ["optimizer\nstart"]
    from suite.outcome import clock_of

    clock = clock_of(rows)
    goal = f"{clock}, time\nto target" if rows[0].contestant.question.timed else f"{clock} to\ntarget"
    table = _columns(("", *names, *task.reported, goal, "diverged\n(tuning)"))
    for row in rows:
        table.add_row(*_cells(task, row, clock, wide), style="bold" if row is rows[0] and row.trained else "")
    return table


def _columns(headings: Sequence[str], numbers: bool = False) -> Table:
    """An empty table without lines; numbers stand to the right. What a narrow terminal has no room for goes below."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if numbers and i else "left", overflow="fold")
    return table


def _cells(task: Task, row: Row, clock: str, wide: bool) -> Iterator[RenderableType]:
    """The cells of a row; where there is little room, what belongs to a value stands below it."""
    from rich.text import Text

    between = "  " if wide else "\n"
    name = Text(str(row.contestant.optimizer)) + Text(f"  {setting(row)}".rstrip(), style="cyan")
    if row.contestant.full_batch:
        name += Text(f"  ({count(row.contestant.steps, 'full batch', 'full batches')})", style="dim")
    start = str(initializer.short(row.contestant.initializer))
    yield mark(row)
    yield from (name, start) if wide else (name + Text(f"\n{start}"),)
    if row.best is None:
        yield "skipped" if row.skipped else "failed"
        return
    for measure in task.reported:
        yield _estimate(row, measure, between)
    yield _to_target(row, clock, between)
    (here, of), (there, of_tuning) = row.diverged["evaluation"], row.diverged["tuning"]
    yield f"{percent(here, of)}{between}({percent(there, of_tuning)})"


def mark(row: Row) -> str:
    """``*`` for the best, ``=`` for what cannot be told from it, ``?`` where there were too few seeds to tell."""
    if row.verdict is None:
        return "*" if row.trained else ""
    return {"indistinguishable": "=", "too few": "?", "better": "+", "worse": ""}[row.verdict.outcome]


def setting(row: Row) -> str:
    """The best values of what was tuned, with ``!`` where one lies at the edge of its range."""
    if row.best is None:
        return ""
    edges = {edge.partition(" ")[0] for edge in row.edge}
    inner = [free.inner for free in row.best.free]
    shown = []
    for free, at in zip(row.best.free, row.best.fractions, strict=True):
        name = free.inner if inner.count(free.inner) == 1 else free.name
        shown.append(f"{name}={free.at(at):g}{'!' if free.name in edges else ''}")
    return ", ".join(shown)


def name_of(row: Row) -> str:
    """A row in words: its optimizer, the best of what was tuned, and its start."""
    return (
        f"{row.contestant.optimizer} {setting(row)}".rstrip() + f" from {initializer.short(row.contestant.initializer)}"
    )


def spent(costs: Mapping[str, Any]) -> str:
    """What a start cost, in words; empty where it is a mere draw."""
    kinds = [key for key in costs if key.startswith("start_") and key != "start_seconds" and costs[key]]
    if not kinds:
        return ""
    said = [f"{key.removeprefix('start_').removesuffix('_calls')} {costs[key]:.0f}" for key in kinds]
    return f" (before the first step: {', '.join(said)}, {costs['start_seconds']:.3g} s)"


def _estimate(row: Row, measure: str, between: str) -> RenderableType:
    from rich.text import Text

    found = row.final[measure]
    if math.isinf(found.value):
        return "diverged"
    interval = "" if math.isnan(found.low) else f"[{number(found.low)}, {number(found.high)}]"
    return Text(number(found.value) + between) + Text(interval, style="dim")


def _to_target(row: Row, clock: str, between: str) -> str:
    """The median, and how many runs got there if not all did; a dash without a target."""
    found = row.to_target(clock)
    if found is None:
        return "-"
    n = row.diverged["evaluation"][1]
    steps = "not reached" if math.isinf(found) else told(found, clock)
    if row.seconds_to_target is not None and math.isfinite(row.seconds_to_target):
        steps += f", {duration(row.seconds_to_target)}"
    return steps + (f"{between}({row.reached}/{n})" if row.reached < n else "")


def percent(part: int, whole: int) -> str:
    """A share in per cent, never rounded to none or all."""
    share = 100 * part / whole
    return f"{min(max(share, 1), 99) if 0 < part < whole else share:.0f} %"


def _starts(rows: Sequence[Row]) -> Iterator[str]:
    """What the starts cost that are more than a draw."""
    said = {
        f"start {initializer.short(row.contestant.initializer)}{spent(row.spent)}": None for row in rows if row.spent
    }
    yield from said


def _errors(rows: Sequence[Row]) -> Iterator[RenderableType]:
    from rich.text import Text

    for row in rows:
        if row.problem:
            where = f"{row.contestant.optimizer} from {initializer.short(row.contestant.initializer)}"
            yield Text(f"{where} {row.problem}", style="dim" if row.skipped else "red")


def _legend(outcome: Comparison) -> Iterator[str]:
    rows = [row for found in outcome.rows.values() for row in found]
    marks = {mark(row) for row in rows}
    if "+" in marks:
        yield "+ better than the best in the paired test, though not by its median"
    yield "* best   = cannot be told from the best (paired signed-rank test, Holm for all pairs, 95 %)"
    if "?" in marks:
        most = max(sum(row.best is not None for row in found) for found in outcome.rows.values())
        yield f"? too few seeds to tell: {too_few(most)}"
    if any(row.edge for row in rows):
        yield "! the best setting lies at the edge of its search range: a better one may lie beyond"


def too_few(rows: int) -> str:
    """How many seeds it takes to tell rows apart, in words."""
    from suite.plan import seeds_needed

    return f"all pairs of {rows} rows need --seeds {seeds_needed(rows)} or more"


def skipped(plan: Plan) -> Iterator[str]:
    """Which starts make no sense for which problem, what patterns do not stand for, and why."""
    for name, start, reason in plan.skipped:
        yield f"skipped: {start} on {name} ({reason})"
    yield from left_out(plan.left_out)


def left_out(found: Mapping[str, str]) -> Iterator[str]:
    """A line for all that patterns leave out for one reason."""
    for reason in dict.fromkeys(found.values()):
        yield f"left out: {', '.join(name for name, why in found.items() if why == reason)}: {reason}"


def _where(outcome: Comparison) -> Iterator[str]:
    """On what the reported runs were made, and whether by one state of the suite."""
    found = machines(outcome.environments)
    yield from (_measured(environment, outcome.plan.question.dtype, commits) for environment, commits in found)
    states = {commit for _, commits in found for commit in commits}
    if len(states) > 1:
        yield (
            f"! runs of {len(states)} commits of the suite stand side by side: their definitions are the same, what "
            "runs them may differ; --force trains all anew"
        )


def _measured(environment: Mapping[str, Any], dtype: str, commits: Sequence[str] = ()) -> str:
    commits = commits or [short(environment["commit"])] if environment.get("commit") else []
    versions = ", ".join(f"{name} {environment[name]}" for name in ("torch", "numpy", "python") if name in environment)
    of = f", {'commits' if len(commits) > 1 else 'commit'} {', '.join(commits)}" if commits else ""
    return (
        f"measured on {environment.get('processor')}, {count(environment.get('threads', 1), 'thread')} a run, "
        f"device {environment.get('device')}, {dtype}, {versions}{of}"
    )


# runs and names ------------------------------------------------------------------


def show_run(to: Console, result: Result) -> None:
    """The trace of a run, a row per evaluation, and what came of it."""
    probed = result.probed
    rows: dict[int, dict[str, float]] = {}
    for step, measure, value in result.trace:
        if measure not in probed:
            rows.setdefault(step, {})[measure] = value
    shown = {measure: pairs for measure, pairs in probed.items() if "/" not in measure}
    for step, values in rows.items():
        values |= {measure: max(p for p in pairs if p[0] <= step)[1] for measure, pairs in shown.items()}
    measures = list(dict.fromkeys(measure for values in rows.values() for measure in values))
    table = _columns(("step", *measures), numbers=True)
    for step, values in rows.items():
        table.add_row(str(step), *(number(values[measure]) if measure in values else "" for measure in measures))
    show(to, *([table] if rows else []), *_seen(result, len(shown)), *outcome(result))


def _seen(result: Result, shown: int) -> Iterator[str]:
    """How probes' columns are to be read, and where the rest is."""
    count_of = sum(map(len, result.probed.values()))
    if count_of and result.run.probes:
        few = f"{shown} of {len(result.probed)} measures" if shown < len(result.probed) else "probes"
        yield f"{few}: the value measured last, at the step or before; all {count_of} with --json, or see trace"


def trace_table(rows: pd.DataFrame) -> Table:
    """A row for each step, a column for each measure."""
    table = _columns(("step", *map(str, rows.columns)), numbers=True)
    for step, values in rows.iterrows():
        table.add_row(str(step), *("" if math.isnan(value) else number(value) for value in values))
    return table


def outcome(result: Result, brief: bool = False) -> Iterator[str]:
    """What came of a run, what it was, and unless ``brief`` what it was measured on."""
    run, summary = result.run, result.summary
    yield f"{result.status}{f': {result.detail}' if result.detail else ''}"
    yield f"{problem.short(parse(run.problem))}, {optimizer.short(parse(run.optimizer))}, seed {run.seed}, run {run.id}"
    if run.initializer != "default":
        yield f"start: {initializer.short(parse(run.initializer))}{spent(summary)}"
    if "target" in summary:
        step = summary["steps_to_target"]
        yield f"target {summary['target']} of {number(summary['target_value'])}: " + (
            "not reached" if step is None else f"reached at step {step}"
        )
    if "best_step" in summary:
        by = summary["best_by"]
        yield f"best {by} {number(summary[f'at_best_{by}'])} at step {summary['best_step']}"
    if result.environment and not brief:
        yield _measured(result.environment, run.dtype)


def show_lines(to: Console, heading: str, rows: Iterable[tuple[str, str]]) -> None:
    """Names with lines that belong to them; a name is said once."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    said = None
    for name, line in rows:
        indent = len(line) - len(line.lstrip())
        table.add_row(Text("" if name == said else name, style="bold"), Text(line, style="dim" if indent else ""))
        said = name
    show(to, *([Text(heading, style="bold underline")] if heading else []), table, "")
