"""The settings of a factory, read off its signature."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from problems.bounds import Bound, OneOf
from problems.names import Spec, UsageError, parse, render

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class In:
    """What a setting may be that is a spec of another registry than its owner's.

    ``teacher: Annotated[Problem, In(problem)]`` is made of its text, ``Annotated[Spec, In(problem)]``
    is handed on as the bound spec.
    """

    registry: Any

    def __str__(self) -> str:
        return f"{'an' if self.registry.kind[0] in 'aeiou' else 'a'} {self.registry.kind}"


def spec(text: str) -> Any:
    """The default of a setting that is a spec: ``optimizer: Annotated[Spec, In(optimizer)] = spec("adam")``."""
    return parse(text)


@dataclass(frozen=True)
class Parameter:
    """One setting of a factory, with what it may be.

    Its kind is "number", "integer", "flag", "text", "numbers" or "integers" (tuples), "nested" (made
    of a spec), or "spec" (a spec that the factory gets as it is).
    """

    name: str
    kind: str
    default: Any
    bound: Bound | OneOf | In | None

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def __str__(self) -> str:
        default = "" if self.required else f"={render(self.default)}"
        return f"{self.name}{default}" + (f" {self.bound}" if self.bound else "")

    def check(self, owner: str, value: Any) -> Any:
        """The value in its canonical form.

        Raises:
            UsageError: ``owner: name must be ..., got ...``.
        """
        say = f"{owner}: {self.name} must be"
        if value is None and self.default is None:
            return None
        if self.kind == "flag":
            if isinstance(value, bool):
                return value
            raise UsageError(f"{say} True or False, got {render(value)}")
        if self.kind == "text":
            if isinstance(value, Spec) and not value.args and not value.kwargs:
                value = value.name  # a bare word is taken as text where text is wanted
            if not isinstance(value, str) or (isinstance(self.bound, OneOf) and value not in self.bound):
                raise UsageError(f"{say} {self.bound or 'text'}, got {render(value)}")
            return value
        if self.kind in ("numbers", "integers"):
            entries = value if isinstance(value, tuple) else (value,)
            return tuple(self._number(say, entry) for entry in entries)
        return self._number(say, value)

    def _number(self, say: str, value: Any) -> float | int:
        whole = self.kind in ("integer", "integers")
        if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value % 1):
            raise UsageError(f"{say} {'a whole number' if whole else 'a number'}, got {_shown(value)}")
        endless = abs(value) == math.inf and self.bound is None  # someone else's setting, whose default it may be
        if not (abs(value) <= sys.float_info.max or endless):
            raise UsageError(f"{say} finite, got {_shown(value)}")
        value = int(value) if whole else float(value)
        if isinstance(self.bound, Bound) and value not in self.bound:
            raise UsageError(f"{say} {self.bound}, got {value:g}")
        return value


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, float) else render(value)


def _annotation(parameter: inspect.Parameter, namespace: Mapping[str, Any]) -> Any:
    """The annotation as an object; a name that is imported for type checkers only reads as None."""
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return eval(parameter.annotation, dict(namespace))
    except (NameError, TypeError):
        return None


def parameters_of(factory: Callable[..., Any], skip: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    """The settings of a factory, read off its signature and annotations."""
    namespace = getattr(sys.modules.get(factory.__module__), "__dict__", {})
    found = []
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.name in skip or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        kind, bound = _kind(_annotation(parameter, namespace), parameter.default)
        found.append(Parameter(parameter.name, kind, parameter.default, bound))
    return tuple(found)


def _kind(annotation: Any, default: Any) -> tuple[str, Bound | OneOf | In | None]:
    bound = None
    if get_origin(annotation) is Annotated:
        annotation, bound = get_args(annotation)[:2]
    if get_origin(annotation) in (Union, UnionType):
        options = [a for a in get_args(annotation) if a is not type(None)]
        if len(options) == 1:
            return _kind(options[0], default)
        if float in options:  # such as float | Tensor
            return "number", bound
    if isinstance(bound, In):
        return "spec" if annotation is Spec else "nested", bound
    kinds = {bool: "flag", int: "integer", float: "number", str: "text", tuple: "numbers"}
    of_annotation = kinds.get(get_origin(annotation) or annotation)
    of_default = {**kinds, Spec: "nested"}.get(type(default), "nested" if default is REQUIRED else "number")
    kind = of_annotation or of_default
    entries = get_args(annotation) if of_annotation else tuple(map(type, default if kind == "numbers" else ()))
    return "integers" if kind == "numbers" and set(entries) - {Ellipsis} == {int} else kind, bound
