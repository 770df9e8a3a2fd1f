"""Where each optimizer's settings are searched: a number of trials, the same for every optimizer.

What a person writes is fixed; of the rest, what the optimizer declares in ``tune`` is free,
inside strategies too. In ``clip(sgd, norm=2.0)`` the rate of ``sgd`` is free and the norm is
not; in ``sgd(lr=cosine(steps=500))`` the schedule's ``value`` is searched in the range of
``lr``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from problems.bounds import Range
from problems.names import Spec, UsageError
from suite.optimizers import optimizer
from suite.search import Point, points, proposed

Path = tuple[str, ...]
EDGE = 0.05  # share of a range, on its scale, that counts as its edge
DIGITS = 4  # of a tried value, so that it can be read and typed again


@dataclass(frozen=True)
class Free:
    """A setting to search, by its path from the outermost optimizer."""

    path: Path
    inner: str  # its name within its own optimizer
    range: Range
    whole: bool  # only whole numbers

    @property
    def name(self) -> str:
        """The path as shown: ``lr``, or ``optimizer.lr`` inside a strategy."""
        return ".".join(self.path)

    def at(self, fraction: float) -> float | int:
        """The value to try that lies so far into the range."""
        value = self.range.at(fraction)
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.range.low), self.range.high)


@dataclass(frozen=True)
class Trial:
    """One setting of an optimizer that is tried."""

    spec: Spec  # bound
    free: tuple[Free, ...]
    fractions: Point  # where in each range it lies

    @property
    def edge(self) -> tuple[str, ...]:
        """The free settings that lie at an edge of their range, as ``lr low``."""
        ends = {True: "low", False: "high"}
        places = zip(self.free, self.fractions, strict=True)
        return tuple(f"{f.name} {ends[at < 0.5]}" for f, at in places if at <= EDGE or at >= 1 - EDGE)


def free_settings(spec: Spec) -> tuple[Free, ...]:
    """What tuning may choose in a spec as a person wrote it."""
    return tuple(_walk(optimizer.named(spec), ()))


def _walk(spec: Spec, at: Path) -> Iterator[Free]:
    entry = optimizer.find(spec.name)
    for parameter in entry.parameters:
        name, path = parameter.name, (*at, parameter.name)
        given = spec.options.get(name)
        if parameter.kind == "nested" and isinstance(given, Spec):
            yield from _walk(given, path)
        elif name in entry.tune and name not in spec.options:
            yield Free(path, name, entry.tune[name], parameter.kind == "integer")
        elif name in entry.tune and isinstance(given, Spec) and "value" not in given.options:
            yield Free(
                (*path, "value"), f"{name}.value", entry.tune[name], False
            )  # a schedule whose height is left open


def trials(spec: Spec, count: int, search: str = "auto") -> list[Trial]:
    """The settings to try: ``count`` of them, or the one there is where nothing is free.

    Raises:
        UsageError: the optimizer cannot be made with these settings.
    """
    if count < 1:
        raise UsageError(f"trials must be >= 1, got {count}")
    free = free_settings(spec)
    return _at(spec, free, points(search, len(free), count) if free else [()])


def further(spec: Spec, tried: Sequence[Trial], costs: Sequence[float], count: int) -> list[Trial]:
    """The next settings to try, of a search that learns from those before.

    Args:
        costs: of each trial, lower is better; infinite where it diverged.
    """
    free = free_settings(spec)
    return _at(spec, free, proposed([trial.fractions for trial in tried], costs, count)) if free else []


def _at(spec: Spec, free: tuple[Free, ...], places: Sequence[Point]) -> list[Trial]:
    return [Trial(optimizer.bind(_with(spec, free, place)), free, place) for place in places]


def _with(spec: Spec, free: tuple[Free, ...], point: Point) -> Spec:
    spec = optimizer.named(spec)
    for setting, fraction in zip(free, point, strict=True):
        spec = _put(spec, setting.path, setting.at(fraction))
    return spec


def _put(spec: Spec, path: Path, value: float) -> Spec:
    """The spec with the setting at a path replaced."""
    key, *rest = path
    return spec.replace(**{key: _put(spec.options[key], tuple(rest), value) if rest else value})
