"""``python -m suite cost``: what a step costs, as a table, JSON or a figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from analysis.numbers import duration, three
from problems.names import Spec, UsageError, parse
from problems.problem import problem
from problems.selection import left_out, selected
from suite import export, tables
from suite.cost_rows import measured, told
from suite.environment import check_device
from suite.optimizers import optimizer
from suite.options import need_figure

if TYPE_CHECKING:
    from rich.console import Console

    from suite.cost import Cost

PROBLEMS = "digits_mlp,quadratic_deep"
OPTIMIZERS = "sgd,momentum,adagrad,rmsprop,adam"
COLUMNS = 3  # of panels in a figure
LEAST_FLOOR = 1e-5  # seconds that the update's bytes must take: of less, the calls are all of its cost
SHORT = {"measurement": "measure"}
KINDS = {  # of evaluations, as they stand in the table
    "gradient": ("g", "gradients"),
    "value": ("f", "values"),
    "hvp": ("Hv", "products with the Hessian"),
    "ggn": ("Gv", "products with the Gauss-Newton matrix"),
    "factors": ("K", "backward passes for Kronecker factors"),
}
PAIRS = 9  # measurements of each of two optimizers that are compared


def cost(
    *,
    problems: str,
    optimizers: str,
    batch_size: int | None,
    dtype: str,
    device: str,
    seconds: float,
    compare: tuple[str, str] | None,
    update: str | None,
    sizes: str,
    cold: bool,
    resume: bool,
    budget: float | None,
    results: str,
    figure: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure, keep, and show; the exit code."""
    import sys

    check_device(device)
    need_figure("cost", figure)
    resume = resume or budget is not None  # else the next call would begin anew
    if resume and compare is not None:
        raise UsageError("cost: --compare measures its pairs anew each time, without --resume or --budget")
    if update is not None:
        return _update(update, problems, compare, sizes=sizes, cold=cold, dtype=dtype, device=device,
                       seconds=seconds, resume=resume, budget=budget, results=results, figure=figure,
                       as_json=as_json, quiet=quiet)  # fmt: skip
    if cold:
        raise UsageError("cost: --cold is for --update; whole steps leave in the caches what they leave")
    named = [problem.bind(spec) for spec in selected(problem, problems or PROBLEMS)]
    settings = {"batch_size": batch_size, "dtype": dtype, "device": device}
    if compare is not None:
        texts = [optimizer.bind(text) for text in compare]
        return _compare(named, texts, settings, seconds, as_json)
    texts = [optimizer.bind(spec) for spec in selected(optimizer, optimizers or OPTIMIZERS)]
    without = left_out(problem, problems or PROBLEMS) | left_out(optimizer, optimizers or OPTIMIZERS)
    say = (lambda words: None) if quiet else (lambda words: click.echo(words, err=True))
    found = measured(named, texts, settings, seconds, results, resume=resume, budget=budget, say=say)
    if as_json:
        rest = {"skipped": found.skipped, "missing": found.missing, "left_out": export.of_left_out(without)}
        click.echo(export.to_json({"costs": [c.to_dict() for c in found.costs], **rest}))
    else:
        if found.costs:
            show(tables.console(sys.stdout), found.costs)
        for line in (*told(found, budget), *tables.left_out(without)):
            click.echo(line)
    if figure is not None and found.costs:
        draw(found.costs, figure)
    return int(bool(found.missing))


def _update(names: str, problems: str, compare: Any, **options: Any) -> int:
    from suite.update_command import update

    if problems or compare is not None:
        raise UsageError("cost: --update measures by itself, without problems or --compare")
    return update(names=names, **options)


def _compare(
    named: Sequence[Spec], texts: Sequence[Spec], settings: dict[str, Any], seconds: float, as_json: bool
) -> int:
    """How many times as much a step of the first costs as one of the second."""
    from suite.cost import ratios

    names = [str(optimizer.short(text)) for text in texts]
    rows = []
    for at in named:
        low, middle, high = statistics.quantiles(ratios(at, *texts, seconds=seconds, pairs=PAIRS, **settings), n=4)
        found = {"problem": str(problem.short(at)), "first": names[0], "second": names[1]}
        rows.append(found | {"ratio": middle, "low": low, "high": high, "pairs": PAIRS})
        if not as_json:
            same = low <= 1 <= high
            verdict = "cannot be told from" if same else f"costs {middle:.2f} times as much as"
            click.echo(
                f"{problem.short(at)}: a step of {names[0]} {verdict} one of {names[1]} "
                f"({middle:.2f}, quartiles {low:.2f} to {high:.2f} of {PAIRS} pairs)"
            )
    if as_json:
        click.echo(export.to_json({"comparisons": rows}))
    return 0


def show(to: Console, costs: Sequence[Cost]) -> None:
    """One row for each cost; what it was measured on once."""
    from suite.cost import PARTS

    for name, batch in dict.fromkeys((c.problem, c.batch_size) for c in costs):
        of = [c for c in costs if (c.problem, c.batch_size) == (name, batch)]
        size = f"batch {batch}" if batch else "full batch"
        parts = [part for part in PARTS if part != "curvature" or any(c.parts[part] > 0 for c in of)]
        heads = ["", "a step", *(SHORT.get(part, part) for part in parts), "evals", "state", "update at", "peak"]
        units = ["", "± IQR", *("%" for _ in parts), "a step", "B/param", "× floor", "MB"]
        table = tables._columns([f"{a}\n{b}" for a, b in zip(heads, units, strict=True)], numbers=True)
        for c in of:
            table.add_row(*_cells(c, parts))
        head = f"{problem.short(parse(name))}  {of[0].parameters:,} parameters, {size}, {of[0].dtype}"
        tables.show(to, head, f"  {_work(of)}", "", table, "", *_kinds(of), *_setting_up(of), *_launching(of))
    noisy = [c for c in costs if c.noisy]
    if noisy:
        tables.show(
            to, f"~ {len(noisy)} of {len(costs)} spread by more than 10 %: the machine was doing something else"
        )
    tables.show(
        to, "update: what is left of a step, a line search's and a solver's own work too; × floor: over a copy of"
    )
    tables.show(to, "as many bytes, where that takes 10 µs or more")
    tables.show(
        to, f"matrix products {costs[0].peak / 1e9:.0f} Gflop/s, copies {costs[0].bandwidth / 1e9:.1f} GB/s at best"
    )
    tables.show(to, tables._measured(costs[0].environment, costs[0].dtype))


def _setting_up(costs: Sequence[Cost]) -> list[str]:
    """What was spent before the first step, none of which is booked as a step's."""
    slowest = max(costs, key=lambda c: c.warmup)
    compiling = f", {duration(slowest.compilation)} of it compiling" if slowest.compilation else ""
    return [f"  setting up: at most {duration(slowest.warmup)}{compiling}, not part of a step", ""]


def _launching(costs: Sequence[Cost]) -> list[str]:
    """On a GPU, what is left of a step without launching its kernels."""
    found = [
        f"  {optimizer.short(parse(c.optimizer))}: {duration(c.replayed)} replayed as a CUDA graph"
        for c in costs
        if c.replayed is not None
    ]
    return [*found, ""] if found else []


def _work(costs: Sequence[Cost]) -> str:
    """What the evaluations of a step compute, and how near to the machine's peak they come."""
    if not any(c.flops for c in costs):
        return "no matrix products"
    unit, size = ("Gflop", 1e9) if max(c.flops for c in costs) >= 1e10 else ("Mflop", 1e6)
    flops = _range([three(c.flops / size) for c in sorted(costs, key=lambda c: c.flops)])
    shares = _range([f"{100 * share:.0f}" for share in sorted(c.flops_share for c in costs)])
    return f"{flops} {unit} a step, at {shares} % of this machine's matrix-product peak"


def _range(values: Sequence[str]) -> str:
    """From the first to the last."""
    return " to ".join(dict.fromkeys((values[0], values[-1])))


def _kinds(costs: Sequence[Cost]) -> list[str]:
    """What the letters of evaluations mean, where they are not gradients alone."""
    kinds = {kind for c in costs for kind in c.calls} - {"gradient"}
    words = "; ".join(f"{letter} {words}" for kind, (letter, words) in KINDS.items() if kind in kinds)
    return [f"  g gradients; {words}", ""] if kinds else []


def _cells(c: Cost, parts: Sequence[str]) -> list[str]:
    whole = sum(c.parts.values())
    shares = [f"{100 * c.parts[part] / whole:.0f}" for part in parts]
    spread = f"± {duration(c.spread)}{' ~' if c.noisy else ''}" if c.rounds > 1 else "once"
    step = f"{duration(c.seconds)} {spread}"
    compared = c.traffic / c.bandwidth > LEAST_FLOOR and c.bandwidth_share > 0
    floor = f"{1 / c.bandwidth_share:.1f}" if compared else "-"
    memory = "-" if c.memory is None else three(c.memory / 1e6)
    counts = [f"{three(c.calls[kind])} {letter}" for kind, (letter, _) in KINDS.items() if c.calls.get(kind)]
    evaluations = " + ".join(counts) or "-"
    return [str(optimizer.short(parse(c.optimizer))), step, *shares, evaluations, three(c.state), floor, memory]


def draw(costs: Sequence[Cost], file: str) -> None:
    """Bars of the parts of a step, one panel for each problem."""
    import pandas as pd

    from analysis import figures

    rows = []
    for c in costs:
        each = c.seconds / sum(c.parts[part] for part in figures.PARTS)  # a bar is as long as the step
        parts = {part: each * c.parts[part] for part in figures.PARTS}
        rows.append({"problem": c.problem, "optimizer": str(optimizer.short(parse(c.optimizer))), **parts})
    table = pd.DataFrame(rows)
    palette = figures.Palette(table["optimizer"])
    charts = [
        figures.cost_bars(own, title=str(problem.short(parse(str(name)))), palette=palette)
        for name, own in table.groupby("problem", sort=False)
    ]
    size = max((chart.size for chart in charts), key=max)
    figures.beside("costs", "What a step costs", charts, size=size, columns=min(COLUMNS, len(charts))).save(file)
