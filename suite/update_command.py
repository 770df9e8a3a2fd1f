"""``python -m suite cost --update``: what an optimizer's update costs, beside torch.optim's and the least there is."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.numbers import duration
from problems.names import Spec, UsageError, parse
from problems.selection import left_out, selected
from suite import export, records, tables
from suite.environment import check_device
from suite.optimizers import optimizer

if TYPE_CHECKING:
    import pandas as pd

    from suite.updates import Update

COLUMNS = 4  # of panels in a figure
FOLDER = "updates"  # in the folder of results


def update(
    *, names: str, sizes: str, cold: bool, dtype: str, device: str, seconds: float, resume: bool,
    budget: float | None, results: str, figure: str | None, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Measure, keep, and show; the exit code."""
    from analysis.replay.accelerator import accelerator

    check_device(device)
    specs, counts = [optimizer.bind(spec) for spec in selected(optimizer, names)], _counts(sizes)
    settings = {"dtype": dtype, "device": device, "cold": cold or accelerator(device) is not None}
    found, refused, late = _measured(specs, counts, settings, seconds, results, resume, budget, quiet)
    updates = [each for spec in specs for count in counts for each in found.get((spec, count), ())]
    skipped = [{"optimizer": str(optimizer.short(spec)), "reason": reason} for spec, reason in refused.items()]
    without = left_out(optimizer, names)
    missing = [{"optimizer": str(optimizer.short(spec)), "parameters": count} for spec, count in late]
    if as_json:
        told = {"updates": [each.to_dict() for each in updates], "skipped": skipped, "missing": missing}
        told |= {"left_out": export.of_left_out(without)}
        click.echo(export.to_json(told))
    else:
        show(updates)
        for one in skipped:
            click.echo(f"skipped: {one['optimizer']}: {one['reason']}")
        for line in tables.left_out(without):
            click.echo(line)
        if missing:
            total = len(found) + len(missing)
            click.echo(f"missing after {budget:g} s: {len(missing)} of {total}; the same command goes on with them")
            for spec, count in late:
                click.echo(f"  {optimizer.short(spec)} on {count:,} parameters")
    if figure is not None and updates:
        draw(updates, figure)
    return int(not updates or bool(missing))


def _measured(
    specs: Sequence[Spec], counts: Sequence[int], settings: dict[str, Any], seconds: float, results: str,
    resume: bool, budget: float | None, quiet: bool,
) -> tuple[dict[tuple[Spec, int], list[Update]], dict[Spec, str], list[tuple[Spec, int]]]:  # fmt: skip
    """The updates, each kept as soon as it is known; the reason of each that was refused; those not reached in time."""
    from suite.updates import FLAT, measure

    began = time.perf_counter()
    found: dict[tuple[Spec, int], list[Update]] = {}
    refused: dict[Spec, str] = {}
    late: list[tuple[Spec, int]] = []
    for count, spec in itertools.product(sorted(counts), specs):
        if resume and (kept := _kept(spec, count, settings, results)):
            found[spec, count] = kept
        elif spec in refused:
            continue
        elif budget is not None and time.perf_counter() - began >= budget:
            late.append((spec, count))
        else:
            if not quiet:
                click.echo(f"measuring {optimizer.short(spec)} on {count:,} parameters …", err=True)
            try:
                found[spec, count] = measure(spec, count, seconds=seconds, **settings)
            except UsageError as error:
                refused[spec] = str(error).removeprefix(f"{spec.name}: ").removeprefix(f"{FLAT}: ")
                continue
            for each in found[spec, count]:
                _save(each, results)
    return found, refused, late


def load_updates(results: str | Path = "results") -> pd.DataFrame:
    """The updates measured so far, one row for each optimizer, size and form: see ``suite.updates.Update``."""
    import pandas as pd

    return pd.json_normalize(records.load(Path(results) / FOLDER))


def _save(update: Update, results: str) -> None:
    record = update.to_dict()
    of = [record[k] for k in ("optimizer", "parameters", "form", "dtype", "device", "cold")]
    records.save(record, Path(results) / FOLDER, records.here(of, record["environment"]))


def _kept(spec: Spec, count: int, settings: dict[str, Any], results: str) -> list[Update]:
    """Those of this machine and version in the forms that are kept, which are measured together."""
    from suite.updates import FORMS, Update

    folder, rest = Path(results) / FOLDER, list(settings.values())
    found = (records.kept(Update, folder, [str(spec), count, form, *rest], settings["device"]) for form in FORMS)
    return [each for each in found if each is not None]


def _counts(text: str) -> list[int]:
    """Numbers of parameters, as in ``1e4,1e6`` or ``10000``."""
    found = []
    for word in text.split(","):
        try:
            count = float(word)
        except ValueError:
            count = 0.0
        if not 1 <= count <= 1e9 or count % 1:
            raise UsageError(f"cost: sizes must be whole numbers from 1 to 1e9 such as 1e4,1e6, got {word.strip()!r}")
        found.append(int(count))
    return found


def show(updates: Sequence[Update]) -> None:
    """For each size a row per optimizer: times the floor in each form, and the floor itself."""
    from suite.updates import FORMS

    to = tables.console(sys.stdout)
    for count in dict.fromkeys(u.parameters for u in updates):
        of = [u for u in updates if u.parameters == count]
        forms = [form for form in FORMS if any(u.form == form for u in of)]
        table = tables._columns(["", *forms, "floor", "moved"], numbers=True)
        for name in dict.fromkeys(u.optimizer for u in of):
            table.add_row(*_cells(name, [u for u in of if u.optimizer == name], forms))
        caches = ", caches emptied before each" if of[0].cold else ""
        tables.show(to, f"{count:,} parameters in one vector, {of[0].dtype}: times the floor{caches}", "", table, "")
    if updates:
        tables.show(
            to,
            "compiled, uncompiled, kernels: the suite's update, its chains compiled, as they run without a compiler,",
            "or kernel by kernel as recorded; the others torch.optim's",
            "floor: reading and writing, once, the bytes that have to be moved   ~ quartiles more than 20 % apart",
            tables._measured(updates[0].environment, updates[0].dtype),
        )


def _cells(name: str, of: Sequence[Update], forms: Sequence[str]) -> Iterator[str]:
    by = {u.form: u for u in of}
    yield str(optimizer.short(parse(name)))
    for form in forms:
        found = by.get(form)  # type: ignore[call-overload]  # one of FORMS
        yield "-" if found is None else f"{found.ratio:.2f}{'~' if found.noisy else ''}"
    yield duration(of[0].floor)
    yield f"{of[0].traffic / 1e6:.3g} MB"


def draw(updates: Sequence[Update], file: str) -> None:
    """Times the floor against the number of parameters, one panel for each optimizer, one line for each form."""
    import pandas as pd

    from analysis.figures import Line, Palette, beside, line_chart
    from suite.updates import FORMS

    table = pd.DataFrame([u.to_dict() for u in updates])
    line = Line(
        "parameters", "ratio", by="form", low="low", high="high", xlabel="parameters", ylabel="times the floor",
        xscale="log", yscale="log", points=True,
    )  # fmt: skip
    palette = Palette(pd.Series(FORMS))
    charts = [
        line_chart("updates", str(optimizer.short(parse(str(name)))), own, line, palette=palette)
        for name, own in table.groupby("optimizer", sort=False)
    ]
    columns = min(COLUMNS, len(charts))
    beside("updates", "What an update costs", charts, size=charts[0].size, columns=columns).save(file)
