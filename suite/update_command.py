"""``python -m suite cost --update``: what an optimizer's update costs, beside torch.optim's and the least there is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analysis.numbers import duration
from problems.names import UsageError, parse
from problems.selection import selected
from suite import export, records, tables
from suite.environment import check_device
from suite.optimizers import optimizer

if TYPE_CHECKING:
    import pandas as pd

    from suite.updates import Update

COLUMNS = 4  # of panels in a figure
FOLDER = "updates"  # in the folder of results


def update(
    *, names: str, sizes: str, dtype: str, device: str, seconds: float, results: str, figure: str | None, as_json: bool,
    quiet: bool,
) -> int:  # fmt: skip
    """Measure, keep, and show; the exit code."""
    from suite.updates import FLAT, measure

    check_device(device)
    specs, counts = [optimizer.bind(spec) for spec in selected(optimizer, names)], _counts(sizes)
    found: list[Update] = []
    skipped: list[dict[str, str]] = []
    for spec in specs:
        for count in counts:
            if not quiet:
                click.echo(f"measuring {optimizer.short(spec)} on {count:,} parameters …", err=True)
            try:
                updates = measure(spec, count, dtype=dtype, device=device, seconds=seconds)
            except UsageError as error:
                reason = str(error).removeprefix(f"{spec.name}: ").removeprefix(f"{FLAT}: ")
                skipped.append({"optimizer": str(optimizer.short(spec)), "reason": reason})
                break
            found += updates
            for each in updates:
                _save(each, results)
    if as_json:
        click.echo(export.to_json({"updates": [each.to_dict() for each in found], "skipped": skipped}))
    else:
        show(found)
        for one in skipped:
            click.echo(f"skipped: {one['optimizer']}: {one['reason']}")
    if figure is not None and found:
        draw(found, figure)
    return int(not found)


def load_updates(results: str | Path = "results") -> pd.DataFrame:
    """The updates measured so far, one row for each optimizer, size and form: see ``suite.updates.Update``."""
    import pandas as pd

    return pd.json_normalize(records.load(Path(results) / FOLDER))


def _save(update: Update, results: str) -> None:
    record = update.to_dict()
    machine = [record["environment"].get(key) for key in ("processor", "device", "threads", "torch")]
    key = [record[k] for k in ("optimizer", "parameters", "form", "dtype", "device")] + machine
    records.save(record, Path(results) / FOLDER, key)


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
        tables.show(to, f"{count:,} parameters in one vector, {of[0].dtype}: times the floor", "", table, "")
    if updates:
        tables.show(
            to,
            "compiled, blocks, kernels: the suite's update, its chains compiled, over blocks (without a compiler),",
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
