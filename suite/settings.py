"""The hyperparameters of many lanes: one tree of settings, each number a tensor [lanes]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from problems.names import Spec
from problems.registry import Registry
from suite.optimizers import optimizer
from suite.optimizers.base import Optimizer
from suite.schedules import Hearing, schedule

Path = tuple[str, ...]


def walk(registry: Registry[Any], spec: Spec, visit: Callable[[Path, Any], Any], at: Path = ()) -> Spec:
    """The spec with what ``visit`` makes of every number that may vary between lanes (a float or a schedule)."""
    kinds = {p.name: p.kind for p in registry.find(spec.name).parameters}
    settings = []
    for key, value in spec.kwargs:
        if kinds[key] == "nested":
            value = walk(registry.nested, value, visit, (*at, key))
        elif kinds[key] == "number" and value is not None:
            value = visit((*at, key), value)
        settings.append((key, value))
    return Spec(spec.name, (), tuple(settings))


def structure(spec: Spec) -> str:
    """What lanes must share to train together: the text of a bound optimizer without its numbers."""

    def blank(path: Path, value: Any) -> Any:
        if not isinstance(value, Spec):
            return "*"
        return Spec(value.name, (), tuple((k, "*" if isinstance(v, float) else v) for k, v in value.kwargs))

    return str(walk(optimizer, spec, blank))


class Settings:
    """The settings of a group of lanes whose bound specs differ in numbers only.

    ``tensors`` holds, for each number, a float64 tensor [lanes] with its current values;
    :meth:`refresh` brings those that follow a schedule to a step.
    """

    def __init__(self, specs: Sequence[Spec], device: torch.device | str = "cpu") -> None:
        self.template = specs[0]
        columns: list[dict[Path, Any]] = []
        for spec in specs:
            column: dict[Path, Any] = {}
            walk(optimizer, spec, column.setdefault)
            columns.append(column)
        self.tensors: dict[Path, Tensor] = {}
        self._schedules: dict[Path, Callable[[int], Any]] = {}
        for path, first in columns[0].items():
            values = [column[path] for column in columns]
            if isinstance(first, Spec):
                self._schedules[path] = _scheduled(values, device)
                values = [0.0] * len(values)
            self.tensors[path] = torch.tensor(values, dtype=torch.float64, device=device)
        self.refresh(0)

    @property
    def scheduled(self) -> list[Tensor]:
        """The tensors whose values change from step to step."""
        return [self.tensors[path] for path in self._schedules]

    @property
    def rate(self) -> Tensor | None:
        """The learning rates [lanes] now: the outermost setting ``lr``; None where there is none."""
        paths = [path for path in self.tensors if path[-1] == "lr"]
        return self.tensors[min(paths, key=len)] if paths else None

    def refresh(self, step: int) -> None:
        """Set the numbers that follow a schedule to their values at a step."""
        for path, at in self._schedules.items():
            value = at(step)
            if isinstance(value, Tensor):
                self.tensors[path].copy_(value)
            else:
                self.tensors[path].fill_(value)

    def hear(self, losses: Tensor) -> None:
        """Tell the schedules that want to know of the minibatch losses [lanes] of a step."""
        for at in self._schedules.values():
            if isinstance(at, Hearing):
                at.hear(losses)

    def keep(self, specs: Sequence[Spec], lanes: Sequence[int]) -> Settings:
        """Those of the given lanes, whose specs are given too, from where they stand."""
        kept = Settings(specs, next(iter(self.tensors.values())).device if self.tensors else "cpu")
        for path, at in kept._schedules.items():
            if isinstance(at, Hearing):
                at.follow(self._schedules[path], lanes)
        return kept

    def build(self, values: Mapping[Path, Any]) -> Optimizer:
        """The optimizer with these numbers, which are those of one lane."""
        return optimizer.build(walk(optimizer, self.template, lambda path, _: values[path]))

    def spec_of(self, lane: int) -> Spec:
        """The bound spec of one lane with its current numbers as plain floats."""
        return walk(optimizer, self.template, lambda path, _: self.tensors[path][lane].item())

    def of_lane(self, lane: int) -> Optimizer:
        """The optimizer of one lane with its current numbers as plain floats."""
        return optimizer.build(self.spec_of(lane))


def _scheduled(specs: Sequence[Spec], device: torch.device | str) -> Callable[[int], Any]:
    """One schedule for all lanes, its numbers tensors [lanes]."""
    columns = {
        key: torch.tensor([dict(s.kwargs)[key] for s in specs], dtype=torch.float64, device=device)
        if isinstance(value, float)
        else value
        for key, value in specs[0].kwargs
    }
    return schedule.build(Spec(specs[0].name, (), tuple(columns.items())))
