"""Optimizers that were not written for the suite: any ``torch.optim.Optimizer`` subclass."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from problems.bounds import Range, log_range
from problems.entries import Entry, Family
from problems.names import UsageError
from problems.parameters import Parameter, parameters_of

if TYPE_CHECKING:
    from suite.optimizers.base import Optimizer

_OWN = ("self", "params", "foreach", "maximize", "capturable", "differentiable", "fused")


def adopt(found: Any, name: str) -> Entry[Optimizer] | None:
    """An entry for a torch optimizer class; None for anything else."""
    if not inspect.isclass(found):
        return None
    import torch

    if not issubclass(found, torch.optim.Optimizer):
        return None
    settings = tuple(_settings(found, name))
    tuned = _tuned(settings)
    meta = {"tune": tuned, "family": "torch.optim", "refuses": _refusal(found, settings, tuned)}
    return Entry(name, _factory(found), settings, meta)


def _torch(member: str) -> ModuleType:
    import torch

    return torch.optim


def _zoo(member: str) -> ModuleType:
    try:
        return importlib.import_module("pytorch_optimizer")
    except ImportError:
        raise UsageError(f"zoo.{member} needs the package pytorch_optimizer: pip install -e '.[zoo]'") from None


def _family(name: str, package: str, imported: Callable[[str], ModuleType]) -> Family[Optimizer]:
    """The optimizer classes of a package: ``torch.AdamW``, ``zoo.Lion``.

    Its members are those that it defines, without the class that all are made of, sorted; found by their names are
    also those that it only hands on.
    """

    def find(member: str) -> Entry[Optimizer]:
        entry = adopt(getattr(imported(member), member, None), f"{name}.{member}")
        if entry is None:
            near = difflib.get_close_matches(member, _classes(imported(member)), n=1, cutoff=0.4)
            hint = f"; did you mean {name}.{near[0]}?" if near else ""
            raise UsageError(f"unknown optimizer '{name}.{member}': {package} has no such optimizer{hint}")
        return replace(entry, meta={**entry.meta, "fails": cache(lambda: _first_step(entry))})

    def members() -> list[str]:
        return _classes(imported("*"))

    return Family(package, find, members)


TORCH = _family("torch", "torch.optim", _torch)
ZOO = _family("zoo", "pytorch_optimizer", _zoo)


def _classes(package: ModuleType) -> list[str]:
    """The optimizers that a package defines."""
    import torch

    base = torch.optim.Optimizer

    def own(found: Any) -> bool:
        if not inspect.isclass(found) or not issubclass(found, base) or found is base or inspect.isabstract(found):
            return False
        return f"{found.__module__}.".startswith(f"{package.__name__}.")

    return sorted(name for name, found in vars(package).items() if own(found))


def _first_step(entry: Entry[Optimizer]) -> str:
    """Why an optimizer with its defaults cannot take a step on a layer's weights and biases; empty if it can."""
    from suite.optimizers._torch_optim import first_fault

    return first_fault(entry.factory(**{p.name: p.default for p in entry.parameters}))


def _settings(found: Any, name: str) -> Iterator[Parameter]:
    """What of a class's constructor can be set in text."""
    annotated = {p.name for p in inspect.signature(found.__init__).parameters.values() if p.annotation is not p.empty}
    for parameter in parameters_of(found.__init__, _OWN):
        if parameter.required and parameter.kind == "nested":
            if parameter.name in annotated:
                raise UsageError(
                    f"{name}: it is made of its {parameter.name}, an object that text cannot give; for what wraps "
                    "another optimizer see the strategies (python -m suite list strategies)"
                )
            yield replace(parameter, kind="number")
        elif parameter.required or _accepted(parameter):
            yield parameter


def _accepted(parameter: Parameter) -> bool:
    """Whether the default of a setting is one that text could give for it."""
    try:
        parameter.check("", parameter.default)
    except UsageError:
        return False
    return _literal(parameter.default)


def _literal(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float | str)
        or (isinstance(value, tuple) and all(isinstance(v, int | float) for v in value))
    )


def _tuned(settings: tuple[Parameter, ...]) -> dict[str, Any]:
    return {"lr": log_range(1e-5, 1.0)} if any(p.name == "lr" for p in settings) else {}


def _refusal(cls: Any, settings: Sequence[Parameter], tuned: Mapping[str, Range]) -> Callable[[Mapping[str, Any]], str]:
    """Says why a class does not take settings; of what is at its default or where tuning searches nothing is asked."""

    def refused(given: Mapping[str, Any]) -> str:
        def plain(p: Parameter) -> bool:
            value, within = given[p.name], tuned.get(p.name)
            searched = within is not None and isinstance(value, float) and within.low <= value <= within.high
            return value == p.default or searched

        if all(map(plain, settings)):
            return ""
        from suite.optimizers._torch_optim import refusal

        needy = any(p.required for p in settings)
        return refusal(cls, given, None if needy else {p.name: p.default for p in settings})

    return refused


def _factory(cls: Any) -> Callable[..., Optimizer]:
    def make(**settings: Any) -> Optimizer:
        from suite.optimizers._torch_optim import adapt

        return adapt(cls, settings)

    make.__doc__ = (inspect.getdoc(cls) or f"{cls.__qualname__}").strip()
    make.__qualname__ = cls.__qualname__
    make.__module__ = cls.__module__
    make.__wrapped__ = cls  # type: ignore[attr-defined]  # inspect finds the class's source for its fingerprint
    return make
