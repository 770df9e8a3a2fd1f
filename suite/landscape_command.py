"""``python -m suite landscape``: the loss of a problem along lines and over planes, and its critical points."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from analysis.numbers import number
from problems.names import UsageError
from suite.environment import check_device
from suite.options import need_figure

if TYPE_CHECKING:
    from analysis.critical import Critical
    from analysis.objective import Objective
    from suite.curvature import Training

POINTS = {"critical": 9}  # of training, from each of which some seconds are searched
ROOM = 0.15  # of the trajectory's extent, seen around it


@dataclass(frozen=True)
class View:
    """What a kind of look comes to: values for JSON and the chart, and lines to print."""

    values: dict[str, Any]
    lines: list[str]


def landscape(
    *,
    kind: str,
    problem: str,
    optimizer: str | None,
    initializer: str,
    seed: int,
    batch_size: int | None,
    order: str,
    device: str,
    dtype: str | None,
    steps: int | None,
    points: int | None,
    count: int | None,
    span: float,
    split: str,
    examples: int,
    chunk: int | None,
    results: str,
    figure: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Look, keep and show; the exit code."""
    need_figure("landscape", figure)
    if kind in ("line", "path") and optimizer is None:
        raise UsageError(f"landscape: {kind} needs an optimizer, whose training it shows")
    if kind in ("line", "path") and steps == 0:
        raise UsageError(f"landscape: {kind} needs --steps of at least 1, for it shows training, got 0")
    check_device(device)
    from suite import curvature, export, landscapes, tables
    from suite.environment import environment
    from suite.spectrum_command import progress_line
    from suite.threads import one_thread

    kept = dtype or ("float64" if kind == "critical" else "float32")
    training = curvature.Training(problem, optimizer, initializer, seed, batch_size, order, device, kept)
    say = progress_line(quiet)
    with one_thread(), curvature.told():
        look = _Look(
            training, curvature.Seen(split, examples, chunk), steps, points or POINTS.get(kind, 25), count, span, say
        )
        found: View = getattr(look, kind)()
    say("")
    seen = {"run": asdict(training), "kind": kind, **found.values}
    asked = {"steps_taken": look.steps, "places": count, "span": span, "split": split, "examples": examples}
    landscapes.save(seen, {"asked": asked | {"points": look.points}}, environment(device), results)
    if figure is not None:
        landscapes.chart(seen).save(figure)
    if as_json:
        click.echo(export.to_json(seen))
    else:
        tables.show(tables.console(sys.stdout), *found.lines)
    return 0


class _Look:
    """The looks, each on the points that training goes through."""

    def __init__(
        self,
        training: Training,
        seen: Any,
        steps: int | None,
        points: int,
        count: int | None,
        span: float,
        say: Callable[[str], None],
    ) -> None:
        self.training, self.seen, self.count, self.span, self.say = training, seen, count, span, say
        self.made = training.made()
        self.steps, self.points = self._budget(steps), points

    def _budget(self, steps: int | None) -> int:
        """Steps of training: as asked, or the problem's own; none without an optimizer."""
        from suite.plan import steps_per_epoch

        if self.training.optimizer is None:
            return 0
        if steps is not None:
            return steps
        size = self.training.batch_size
        return self.made.epochs * steps_per_epoch(self.made, self.made.batch_size if size is None else size)

    def _trained(self, count: int) -> list[tuple[int, Any]]:
        """(step, θ) at so many evenly spaced steps, the first and the last among them.

        Raises:
            UsageError: training diverged.
        """
        import numpy as np
        import torch

        from suite.curvature import points

        wanted = np.unique(np.linspace(0, self.steps, max(count, 1)).round().astype(int)).tolist()
        found = []
        for step, theta in points(self.training, wanted if count > 1 else [self.steps], self.made):
            if not torch.isfinite(theta).all():
                raise UsageError(f"landscape: {self.training.optimizer} diverged before step {step}; take fewer steps")
            self.say(f"trained {step} of {self.steps} steps")
            found.append((step, theta))
        return found

    def _at(self, theta: Any) -> Objective:
        return self.seen.objective(self.made, theta)

    def _told(self, done: int, of: int) -> None:
        self.say(f"{done} of {of} points")

    def line(self) -> View:
        """The loss on the line from the start of training to its end."""
        import numpy as np

        from analysis.landscape import Line, interpolation

        (_, start), *_, (_, end) = self._trained(2)
        places = np.unique([*np.linspace(-0.25, 1.25, self.count or 61).round(12), 0.0, 1.0])
        whole = interpolation(self._at(start), start, end, places, self._told)
        within = (places >= 0) & (places <= 1)
        inner = Line(places[within], whole.losses[within])
        verdict = "falls all the way" if inner.monotone() else f"climbs by up to {number(inner.rise)} on the way"
        lines = [
            f"from the start (0) to step {self.steps} (1): the loss {verdict}",
            f"loss {number(inner.losses[0])} at the start, {number(inner.losses[-1])} at the end, "
            f"{number(inner.losses.min())} at the lowest; at most {number(inner.barrier)} above the chord",
        ]
        values = _of_line(whole) | {"monotone": inner.monotone(), "rise": inner.rise, "barrier": inner.barrier}
        return View(values, lines)

    def slice(self) -> View:
        """The loss along one filter-normalized random direction."""
        import numpy as np

        from analysis.landscape import filter_normalized, slice_along

        _, theta = self._trained(1)[-1]
        at = self._at(theta)
        places = np.linspace(-self.span, self.span, self.count or 61)
        found = slice_along(at, filter_normalized(at, self.training.seed), places, self._told)
        lines = [
            f"step {self.steps}, along a filter-normalized random direction: loss {number(at.value())} in the middle",
            f"from {number(found.losses.min())} to {number(found.losses.max())} within {self.span:g} of the norms",
        ]
        return View(_of_line(found), lines)

    def plane(self) -> View:
        """The loss over the plane of two filter-normalized random directions."""
        import numpy as np

        from analysis.landscape import filter_normalized, plane

        _, theta = self._trained(1)[-1]
        at = self._at(theta)
        u, v = (filter_normalized(at, 2 * self.training.seed + i) for i in range(2))
        places = np.linspace(-self.span, self.span, self.count or 25)
        found = plane(at, u, v, places, places, self._told)
        lines = [
            f"step {self.steps}, two filter-normalized random directions: loss {number(at.value())} in the middle",
            f"from {number(np.nanmin(found.losses))} to {number(np.nanmax(found.losses))} over the plane",
        ]
        return View(_of_plane(found), lines)

    def path(self) -> View:
        """The loss over the plane in which training moved most, and the way that it took."""
        import numpy as np

        from analysis.landscape import plane, principal_directions

        trained = self._trained(self.points)
        way = principal_directions([theta for _, theta in trained])
        at = self._at(trained[-1][1])
        low, high = way.coordinates.min(0), way.coordinates.max(0)
        room = np.maximum(ROOM * (high - low), 1e-12)
        x, y = (np.linspace(a, b, self.count or 25) for a, b in zip(low - room, high + room, strict=True))
        u, v = way.vectors.to(at.device, at.dtype)
        found = plane(at, u, v, x, y, self._told)
        shares = [f"{100 * share:.0f} %" for share in way.shares]
        lines = [
            f"{len(trained)} points of {self.steps} steps: {shares[0]} and {shares[1]} of their variance in this plane",
            f"loss {number(at.value())} at the end; "
            f"from {number(np.nanmin(found.losses))} to {number(np.nanmax(found.losses))} over the plane",
        ]
        steps = [step for step, _ in trained]
        values = _of_plane(found) | {"steps": steps, "path": way.coordinates.tolist(), "shares": way.shares.tolist()}
        return View(values, lines)

    def critical(self) -> View:
        """Critical points near the points of training, by loss and index."""
        from analysis.critical import critical_point

        found = []
        for step, theta in self._trained(self.points if self.steps else 1):
            say = lambda words, step=step: self.say(f"from step {step}: {words}")  # noqa: E731  # it names the step
            found.append((step, critical_point(self._at(theta), tol=1e-6, seed=self.training.seed, on_progress=say)))
        rows = [{"step": step, **_of_critical(point)} for step, point in found]
        lines = [
            f"from step {step}: {point.kind if point.converged else 'no critical point reached'}, "
            f"loss {number(point.loss)}, gradient norm {number(point.gradient)}, index {number(point.index.value)}, "
            f"eigenvalues from {number(point.smallest)} to {number(point.largest)}"
            for step, point in found
        ]
        return View({"points": rows}, lines)


def _of_critical(point: Critical) -> dict[str, Any]:
    return {
        "kind": point.kind,
        "loss": point.loss,
        "gradient": point.gradient,
        "index": point.index.value,
        "index_interval": [point.index.low, point.index.high],
        "smallest": point.smallest,
        "largest": point.largest,
        "converged": point.converged,
        "products": point.products,
    }


def _of_line(line: Any) -> dict[str, Any]:
    return {"places": line.places.tolist(), "losses": line.losses.tolist()}


def _of_plane(found: Any) -> dict[str, Any]:
    return {"x": found.x.tolist(), "y": found.y.tolist(), "losses": found.losses.tolist()}
