"""Names for problems, optimizers, initializers and schedules: one class serves them all."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from problems.entries import Entry, Family
from problems.names import Spec, UsageError, parse, render
from problems.parameters import In, Parameter, parameters_of
from problems.references import RAISED, import_file, import_module, own_file

T = TypeVar("T")
_ALL: list[Registry[Any]] = []  # to tell a name of another kind from one that nobody knows


class Registry(Generic[T]):
    """Factories by name.

    Args:
        kind: the word for one entry in messages, as in ``unknown optimizer 'adm'``.
        packages: where the built-in definitions are: modules, or packages whose modules (but those
            that begin with an underscore) are imported on first use.
        numbers: a registry whose entries may stand for any number (schedules).
        nested: the registry of arguments that are specs themselves; this one unless given.
        adopt: makes an entry of an object named by ``file.py:Name``; None refuses it.
        families: name prefixes such as ``torch``, before a dot, and whose members they are.
        skip: arguments of every factory that the suite supplies.
        plural: of the kind; ``<kind>s`` unless given.
        groups: words that stand for several entries (see ``problems.selection``), beside ``all``.
        beside: further modules whose code the built-in definitions are made of: it counts as theirs, so that
            results are not kept when it changes.
        such_as: what makes what a factory is to return, for messages.

    Third-party packages join through the entry-point group ``suite.<plural>``.
    """

    def __init__(
        self,
        kind: str,
        *packages: str,
        numbers: Registry[Any] | None = None,
        nested: Registry[Any] | None = None,
        adopt: Callable[[Any, str], Entry[T] | None] | None = None,
        families: Mapping[str, Family[T]] | None = None,
        skip: tuple[str, ...] = (),
        plural: str = "",
        groups: Mapping[str, Callable[[Entry[T]], bool]] | None = None,
        beside: tuple[str, ...] = (),
        such_as: str = "",
    ) -> None:
        self.kind = kind
        self.groups = {"all": lambda entry: True, **(groups or {})}
        self.plural = plural or f"{kind}s"
        self.packages, self.within = packages, (*packages, *beside)
        self.numbers = numbers
        self.nested = nested if nested is not None else self
        self.families = dict(families or {})
        self.skip = skip
        self.such_as = such_as
        self._adopt = adopt
        self._entries: dict[str, Entry[T]] = {}
        self._foreign: dict[str, Entry[T]] = {}
        self._aliases: dict[str, str] = {}
        self._loaded = False
        if packages:
            _ALL.append(self)

    # registering -----------------------------------------------------------------------

    def __call__(
        self, name: str | None = None, *, aliases: tuple[str, ...] = (), **meta: Any
    ) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorate a factory: ``@optimizer(section="8.5.2", tune={...})``."""
        if callable(name):
            given = getattr(name, "__name__", repr(name))
            raise UsageError(f"{given}: @{self.kind} needs parentheses: @{self.kind}()")

        def register(factory: Callable[..., T]) -> Callable[..., T]:
            entry = self.entry(factory, name or factory.__name__, aliases=aliases, **meta)
            factory.__registered__ = entry  # type: ignore[attr-defined]  # found again by file.py:Name
            if factory.__module__.partition(".")[0] != "_suite_user":
                self.add(entry)
            return factory

        return register

    def entry(self, factory: Callable[..., T], name: str, *, aliases: tuple[str, ...] = (), **meta: Any) -> Entry[T]:
        """An entry for a factory, or for what ``adopt`` makes one of; not registered."""
        adopted = None if self._adopt is None else self._adopt(factory, name)
        if adopted is not None:
            factory, parameters, meta = adopted.factory, adopted.parameters, {**adopted.meta, **meta}
        else:
            parameters = parameters_of(factory, self.skip)
        unknown = sorted(set(meta.get("tune", {})) - {p.name for p in parameters})
        if unknown:
            raise UsageError(f"{name}: tune names {unknown[0]}, which is not one of its settings")
        return Entry(name, factory, parameters, meta, aliases, kind=self.kind, within=self.within)

    def add(self, entry: Entry[T]) -> None:
        """Register an entry.

        Raises:
            UsageError: the name or an alias is taken by another factory.
        """
        for name in (entry.name, *entry.aliases):
            taken = self._entries.get(self._aliases.get(name, name))
            if taken is not None and _home(taken.factory) != _home(entry.factory):
                raise UsageError(f"{self.kind} {name!r} is registered already, by {taken.factory.__module__}")
        self._entries[entry.name] = entry
        self._aliases.update(dict.fromkeys(entry.aliases, entry.name))

    # looking up ------------------------------------------------------------------------

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for name in self.packages:
            package = importlib.import_module(name)
            for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
                if not module.name.startswith("_") and not module.ispkg:
                    importlib.import_module(f"{name}.{module.name}")
        for point in entry_points(group=f"suite.{self.plural}"):
            self._import_point(point)

    def _import_point(self, point: Any) -> None:
        """One package's broken definition must not take the others down: it is said and passed over."""
        try:
            self.add(self._of_object(point.load(), point.name))
        except RAISED as error:
            print(f"{self.kind} {point.name!r} ({point.value}) cannot be loaded: {error}", file=sys.stderr)

    def __repr__(self) -> str:
        return f"<registry of {self.plural}: names() gives them, @{self.kind}(...) adds one>"

    def __iter__(self) -> Iterator[Entry[T]]:
        self._load()
        return iter(self._entries[name] for name in sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries or name in self._aliases

    def names(self) -> list[str]:
        """The registered names, sorted, without aliases."""
        return [entry.name for entry in self]

    def is_group(self, name: str) -> bool:
        """Whether it is a word or a pattern that stands for several (see ``problems.selection``)."""
        return name in self.groups or any(mark in name for mark in "*?")

    def find(self, name: str) -> Entry[T]:
        """The entry of a name, an alias, ``family.Member``, ``file.py:Name`` or ``package.module:Name``.

        Raises:
            UsageError: there is none; the message suggests near ones.
        """
        self._load()
        name = self._aliases.get(name, name)
        if name in self._entries:
            return self._entries[name]
        if name not in self._foreign:
            self._foreign[name] = self._find_foreign(name)
        return self._foreign[name]

    def _find_foreign(self, name: str) -> Entry[T]:
        prefix, _, member = name.partition(".")
        if self.is_group(name):
            raise UsageError(f"{name} stands for several {self.plural}, and one is asked for")
        if ":" in name:
            return self._of_reference(name)
        if prefix in self.families and member:
            return self.families[prefix].find(member)
        if name.endswith(".py"):
            raise UsageError(f"{name}: name {_a(self.kind)} in it, as in {name}:Name")
        for other in _ALL:
            if other is not self and name in other:
                raise UsageError(
                    f"{name} is {_a(other.kind)}, not {_a(self.kind)} (python -m suite list {self.plural})"
                )
        hint = hint_of(name, self.names(), [*self._aliases, *self.groups])
        raise UsageError(f"unknown {self.kind} {name!r}; {hint} (python -m suite list {self.plural})")

    def _of_reference(self, reference: str) -> Entry[T]:
        where, _, attribute = reference.rpartition(":")
        module = _module(where)
        try:
            found: Any = module
            for part in attribute.split("."):
                found = getattr(found, part)
        except AttributeError:
            public = list(_own(module))
            near = difflib.get_close_matches(attribute, public, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; it defines {', '.join(public) or 'nothing'}"
            raise UsageError(f"{where} has no {attribute!r}{hint}") from None
        entry = self._of_object(found, reference)
        source = own_file(module)
        return Entry(reference, entry.factory, entry.parameters, entry.meta, (), source, self.kind, self.within)

    def members(self, where: str) -> list[str]:
        """What a family has, or what a file or a module defines by decorating it or as a class that is adopted."""
        if where in self.families:
            return self.families[where].members()
        return [name for name, value in _own(_module(where)).items() if self._means(value, name)]

    def _means(self, found: Any, name: str) -> bool:
        try:
            return self._meant(found, name) is not None
        except UsageError:  # it is of another kind
            return False

    def _meant(self, found: Any, name: str) -> Entry[T] | None:
        """The entry of what was decorated, or is adopted; None for anything else."""
        entry: Entry[T] | None = getattr(found, "__dict__", {}).get("__registered__")  # not a parent class's
        if entry is not None and entry.kind != self.kind:
            raise UsageError(f"{name} is {_a(entry.kind)}, not {_a(self.kind)}")
        return self._adopt(found, name) if entry is None and self._adopt is not None else entry

    def _of_object(self, found: Any, name: str) -> Entry[T]:
        entry = self._meant(found, name)
        if entry is None and inspect.isfunction(found):
            entry = self.entry(found, name)
        if entry is None:
            shown = "" if "\n" in repr(found) else f", {found!r}"
            what = f"the class {found.__name__}" if inspect.isclass(found) else f"{_a(type(found).__name__)}{shown}"
            how = f"write a function with @{self.kind}() that returns one{self.such_as and f', such as {self.such_as}'}"
            raise UsageError(f"{name} is {what}, not a factory of {_a(self.kind)}; {how}")
        return entry

    # settings --------------------------------------------------------------------------

    def bind(self, spec: Spec | str) -> Spec:
        """The spec with every setting checked, named, and in the factory's order, defaults included.

        The result is canonical: two texts that mean the same bind to equal specs.

        Raises:
            UsageError: unknown name or setting, wrong type, out of bounds, missing, or refused by what it is of: by
                ``refuses`` of the entry's ``meta``, which says of all settings together why they will not do.
        """
        spec = parse(spec) if isinstance(spec, str) else spec
        entry = self.find(spec.name)
        given = self._given(entry, spec)
        bound = []
        for parameter in entry.parameters:
            if parameter.name not in given and parameter.required:
                raise UsageError(f"{entry.name}: {parameter.name} must be given")
            value = given.get(parameter.name, parameter.default)
            bound.append((parameter.name, self._bind_value(entry, parameter, value)))
        refused = entry.meta["refuses"](dict(bound)) if "refuses" in entry.meta else ""
        if refused:
            raise UsageError(f"{entry.name}: {refused}")
        return Spec(entry.name, (), tuple(bound))

    def named(self, spec: Spec) -> Spec:
        """The spec as written but with every setting named, inside nested specs too; nothing is filled in.

        Raises:
            UsageError: unknown name or setting.
        """
        entry = self.find(spec.name)
        given = self._given(entry, spec)
        for parameter in entry.parameters:
            registry, value = self.inside(parameter), given.get(parameter.name)
            if registry is not None and isinstance(value, Spec):
                given[parameter.name] = registry.named(value)
        return Spec(entry.name, (), tuple(given.items()))

    def _given(self, entry: Entry[T], spec: Spec) -> dict[str, Any]:
        names = [p.name for p in entry.parameters]
        if len(spec.args) > len(names):
            takes = f"takes {', '.join(names)}" if names else "takes no settings"
            raise UsageError(f"{entry.name}: too many settings; it {takes}")
        given = dict(zip(names, spec.args, strict=False))
        for key, value in spec.kwargs:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(names) or 'none'}"
                raise UsageError(f"{entry.name}: unknown setting {key!r}; {hint}")
            if key in given:
                raise UsageError(f"{entry.name}: {key} is given twice")
            given[key] = value
        return given

    def inside(self, parameter: Parameter) -> Registry[Any] | None:
        """The registry that a setting's specs are of; None for a setting that cannot be one."""
        if isinstance(parameter.bound, In):
            return parameter.bound.registry
        return {"nested": self.nested, "number": self.numbers}.get(parameter.kind)

    def _bind_value(self, entry: Entry[T], parameter: Parameter, value: Any) -> Any:
        registry = self.inside(parameter)
        if parameter.kind in ("nested", "spec") and registry is not None:
            if value is None and parameter.default is None:
                return None
            if not isinstance(value, Spec):
                raise UsageError(
                    f"{entry.name}: {parameter.name} must be {_a(registry.kind)} such as "
                    f"{registry.names()[0]}, got {render(value)}"
                )
            return registry.bind(value)
        if isinstance(value, Spec) and parameter.kind == "number" and self.numbers is not None:
            if value.name not in self.numbers and not value.args and not value.kwargs:
                hint = hint_of(value.name, self.numbers.names())
                kind = self.numbers.kind
                raise UsageError(f"{entry.name}: {parameter.name} must be a number or {_a(kind)}, got {value}; {hint}")
            schedule = self.numbers.bind(value)
            for key, number in schedule.kwargs:
                if isinstance(number, float):
                    Parameter(f"{parameter.name}.{key}", "number", number, None).check(entry.name, number)
            parameter.check(entry.name, dict(schedule.kwargs)["value"])
            return schedule
        return parameter.check(entry.name, value)

    def build(self, bound: Spec, **supplied: Any) -> T:
        """Call the factory with a bound spec's settings; they are not checked again.

        Numbers may have been replaced by tensors, one value per lane.
        """
        entry = self.find(bound.name)
        inside = {p.name: self.inside(p) for p in entry.parameters if p.kind != "spec"}
        settings = {}
        for key, value in bound.kwargs:
            registry = inside.get(key)
            settings[key] = registry.build(value) if isinstance(value, Spec) and registry is not None else value
        return entry.factory(**settings, **supplied)

    def short(self, bound: Spec) -> Spec:
        """The spec as a person would write it: without the settings that are at their defaults, and what it
        wraps first, without a name."""
        entry = self.find(bound.name)
        kept = []
        for parameter in entry.parameters:
            value, registry, default = bound.options[parameter.name], self.inside(parameter), parameter.default
            if isinstance(value, Spec) and registry is not None:
                if not isinstance(default, Spec) or registry.bind(default) != value:
                    kept.append((parameter.name, registry.short(value)))
            elif parameter.required or value != default:
                kept.append((parameter.name, value))
        wrapped = entry.wraps and len(kept) > 0 and kept[0][0] == entry.parameters[0].name
        return Spec(bound.name, (kept[0][1],) if wrapped else (), tuple(kept[1:] if wrapped else kept))

    def fingerprint(self, bound: Spec) -> str:
        """A digest of the definitions that a bound spec stands on."""
        parts = [self.find(bound.name).fingerprint]
        for parameter in self.find(bound.name).parameters:
            value, registry = bound.options[parameter.name], self.inside(parameter)
            if isinstance(value, Spec) and registry is not None:
                parts.append(registry.fingerprint(value))
        return "-".join(parts)


def _module(where: str) -> ModuleType:
    return import_file(where) if where.endswith(".py") else import_module(where)


def _own(module: ModuleType) -> dict[str, Any]:
    """What a module defines itself."""
    return {name: v for name, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}


def hint_of(name: str, known: Sequence[str], others: Sequence[str] = ()) -> str:
    """Names like a given one, in whatever case it is written, or all that are known where none is like it.

    Args:
        others: names that may be meant, but are not listed.
    """
    may = {word.lower(): word for word in reversed([*known, *others])}
    lower = name.lower()
    near = [lower] if lower in may else difflib.get_close_matches(lower, may, n=3, cutoff=0.5)
    return (
        f"did you mean {' or '.join(may[word] for word in near)}?"
        if near
        else f"known are {', '.join(known) or 'none'}"
    )


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _home(factory: Callable[..., Any]) -> tuple[str, str]:
    """Where a factory is defined; a module that is loaded anew defines the same ones."""
    return factory.__module__, factory.__qualname__
