"""``python -m suite spectrum``: Hessian spectra as a table, JSON or a figure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from problems.names import UsageError
from suite.environment import check_device, environment
from suite.options import need_figure

if TYPE_CHECKING:
    from analysis.density import Interval
    from analysis.lanczos import Eigenpairs
    from suite.curvature import Moment

KEPT = ("top", "bottom", "density", "probes", "steps", "method")  # options by which stored spectra are told apart


def spectrum(
    *,
    problem: str,
    optimizer: str | None,
    initializer: str,
    seed: int,
    batch_size: int | None,
    order: str,
    device: str,
    dtype: str,
    at: str,
    matrix: str,
    layers: bool,
    split: str,
    examples: int,
    chunk: int | None,
    results: str,
    figure: str | None,
    as_json: bool,
    quiet: bool,
    lanczos_steps: int,
    **options: Any,
) -> int:
    """Measure and show; the exit code."""
    at_steps = steps_of(at)
    names = [name.strip() for name in matrix.split(",")]
    need_figure("spectrum", figure)
    check_device(device)
    from suite import curvature, export, spectra, tables
    from suite.threads import one_thread

    unknown = [name for name in names if name not in curvature.MATRICES]
    if unknown:
        raise UsageError(f"spectrum: matrix must be of {', '.join(curvature.MATRICES)}, got {unknown[0]!r}")
    training = curvature.Training(problem, optimizer, initializer, seed, batch_size, order, device, dtype)
    seen = curvature.Seen(split, examples, chunk)
    say = progress_line(quiet)
    options |= {"steps": lanczos_steps, "seed": seed}
    with one_thread():
        found = list(curvature.along(training, at_steps, names, seen, layers=layers, on_progress=say, options=options))
    say("")
    asked = {"split": split, "examples": examples, "matrices": names, "layers": layers, "at": at_steps}
    spectra.save(training, found, asked | {key: options[key] for key in KEPT}, results, environment(device))
    if figure is not None:
        from suite.curvature_figure import spectrum_chart

        title = f"{problem}{f', {optimizer}' if optimizer else ''}"
        spectrum_chart(spectra.frame(found), title).save(figure)
    if as_json:
        click.echo(export.to_json(of_moments(training, found, at != "0")))
    else:
        show(tables.console(sys.stdout), found)
    return 0


def steps_of(text: str) -> list[int]:
    """Steps from ``0,100,1000``, or log-spaced ones up to N from ``log:N``.

    Raises:
        UsageError: it is neither.
    """
    from suite.curvature import log_spaced

    kind, _, last = text.rpartition(":")
    parts = [last] if kind == "log" else text.split(",")
    if kind not in ("", "log") or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"at must be steps such as 0,100,1000 or log:1000, got {text!r}")
    return log_spaced(int(last)) if kind == "log" else sorted({int(part) for part in parts})


def progress_line(quiet: bool) -> Callable[[str], None]:
    """What says how far something is."""
    return _silent if quiet else _Line()


class _Line:
    """Progress on one line of stderr, on a terminal alone."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()

    def __call__(self, said: str) -> None:
        if self.live:
            click.echo(f"\r\x1b[K{said}", err=True, nl=False)


def _silent(said: str) -> None:
    """Say nothing."""


# values for JSON --------------------------------------------------------------------------


def of_moments(training: Any, found: Sequence[Moment], by_step: bool) -> dict[str, Any]:
    """The spectra as plain values: at the top where one step was asked for, else under ``at`` by step."""
    from dataclasses import asdict

    steps = list(dict.fromkeys(moment.step for moment in found))
    each = {str(step): _of_step([m for m in found if m.step == step]) for step in steps}
    head = {"run": asdict(training), "products": sum(m.spectrum.products for m in found)}
    return head | ({"at": each} if by_step else each[str(steps[0])])


def _of_step(moments: Sequence[Moment]) -> dict[str, Any]:
    """The first matrix of all of θ, with the other matrices and the layers' blocks beside it."""
    first, *others = moments
    head = {"step": first.step, "loss": first.loss, "gradient_norm": first.gradient, "rate": first.rate}
    more = [{"matrix": m.matrix, "layer": m.layer} | _of_moment(m) for m in others]
    return head | {"matrix": first.matrix} | _of_moment(first) | ({"others": more} if more else {})


def _of_moment(moment: Moment) -> dict[str, Any]:
    found = moment.spectrum
    values = {
        "parameters": found.size,
        "method": found.method,
        "products": found.products,
        "top": _of_pairs(found.top),
        "bottom": _of_pairs(found.bottom),
        "sharpness": moment.sharpness,
        "stable_below": moment.stable_below,
        "outliers": moment.outliers,
        "classes": moment.classes,
        "notes": list(found.notes),
        "density": None,
        "trace": None,
    }
    density = found.density
    if density is None:
        return values
    grid, curve = density.on_grid(400)
    pooled = density.pooled()
    shown = {"grid": grid.tolist(), "density": curve.tolist()}
    return values | {
        "density": shown | {"nodes": pooled.nodes.tolist(), "weights": pooled.weights.tolist(), "exact": pooled.exact},
        "trace": density.trace.value,
        "trace_interval": [density.trace.low, density.trace.high],
        "negative_share": _of_interval(density.negative),
        "log_determinant": _of_interval(density.logdet),
        "effective_rank": density.effective_rank,
        "condition_number": density.condition,
    }


def _of_interval(interval: Interval | None) -> Mapping[str, float] | None:
    return None if interval is None else {"value": interval.value, "low": interval.low, "high": interval.high}


def _of_pairs(pairs: Eigenpairs) -> list[dict[str, Any]]:
    """Residuals are relative to the largest |eigenvalue|."""
    rows = zip(pairs.values.tolist(), pairs.relative.tolist(), pairs.converged.tolist(), strict=True)
    return [{"value": value, "residual": residual, "converged": done} for value, residual, done in rows]


# tables -----------------------------------------------------------------------------------


def show(to: Any, found: Sequence[Moment]) -> None:
    """A block per spectrum: what it is of, its ends, and what its density says."""
    from rich.text import Text

    from analysis.numbers import number
    from suite import tables

    for moment in found:
        made = moment.spectrum
        name = f"{moment.matrix} of {moment.layer or 'all parameters'}, D = {made.size}"
        heading = Text(f"step {moment.step}", style="bold") + Text(
            f"  {name}, {made.products} products ({made.method})"
        )
        tables.show(to, heading, f"  {_facts(moment)}")
        for label, pairs in (("largest", made.top), ("smallest", made.bottom)):
            if len(pairs):
                values = "  ".join(number(value) for value in pairs.values)
                worst = pairs.relative.max()
                tables.show(to, f"  {label:9} {values}", f"  {'':9} residuals up to {worst:.1e} of the largest")
        tables.show(
            to, *(f"  {line}" for line in (*_density_lines(moment), *(f"note: {note}" for note in made.notes))), ""
        )


def _facts(moment: Moment) -> str:
    from analysis.numbers import number

    facts = [f"loss {number(moment.loss)}", f"gradient norm {number(moment.gradient)}"]
    if moment.sharpness is not None:
        limit = f" of the {number(moment.stable_below)} where steps diverge" if moment.stable_below else ""
        facts.append(f"sharpness {number(moment.sharpness)}{limit}")
    if moment.outliers is not None:
        beside = f" for {moment.classes} classes" if moment.classes else ""
        facts.append(f"{moment.outliers} outlier{'s' * (moment.outliers != 1)}{beside}")
    return ", ".join(facts)


def _density_lines(moment: Moment) -> list[str]:
    from analysis.numbers import number

    density = moment.spectrum.density
    if density is None:
        return []

    def told(name: str, interval: Interval) -> str:
        span = (
            ""
            if interval.low == interval.high or interval.low != interval.low
            else (f" [{number(interval.low)}, {number(interval.high)}]")
        )
        return f"{name} {number(interval.value)}{span}"

    lines = [told("trace", density.trace), told("share negative", density.negative)]
    lines.append(f"effective rank {number(density.effective_rank)}")
    if density.logdet is not None:
        lines.append(told("log determinant", density.logdet))
    if density.condition is not None:
        lines.append(f"condition number {number(density.condition)}")
    return [", ".join(lines)]
