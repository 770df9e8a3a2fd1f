"""``python -m suite check``: do definitions keep what the suite relies on?"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from problems.names import Spec, UsageError, parse_list
from problems.problem import Problem, problem
from problems.references import RAISED
from problems.registry import Registry, hint_of
from problems.selection import Unmatched, candidates, lacking, left_out, picked
from suite import export, tables
from suite.initializers import initializer
from suite.optimizers import optimizer

if TYPE_CHECKING:
    from suite.checks import Check

REGISTRIES: tuple[Registry[Any], ...] = (optimizer, problem, initializer)


def kind_of(spec: Spec) -> str:
    """Whether a name is an optimizer's, a problem's or an initializer's.

    Raises:
        UsageError: it is none's.
    """
    if ":" not in spec.name and "." not in spec.name:
        kinds = [registry.kind for registry in REGISTRIES if spec.name in registry]
        if len(kinds) > 1:
            raise UsageError(f"{spec.name} is the name of {' and '.join(kinds)}; say which with --kind")
        if kinds:
            return kinds[0]
        known = [name for registry in REGISTRIES for name in (*registry.names(), *registry.groups)]
        raise UsageError(f"no optimizer, problem or initializer is called {spec.name!r}{_near(spec.name, known)}")
    kinds, errors = [], []
    for registry in REGISTRIES:
        try:
            registry.find(spec.name)
            kinds.append(registry.kind)
        except UsageError as error:
            errors.append(error)
    if not kinds:
        raise errors[0]
    return _by_what_it_makes(spec) if len(kinds) > 1 else kinds[0]


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else " (python -m suite list shows all names)"


def _by_what_it_makes(spec: Spec) -> str:
    """The kind of a function that no decorator tells the kind of; an optimizer's where it cannot be called."""
    try:
        made: Any = problem.find(spec.name).factory(**dict(problem.bind(spec).kwargs))
    except RAISED:
        return optimizer.kind
    if isinstance(made, Problem):
        return problem.kind
    return initializer.kind if callable(made) else optimizer.kind


def _kinds_of(name: str, among: Sequence[Registry[Any]]) -> list[str]:
    """The kinds of what a name, a group or a pattern stands for."""
    if not any(registry.is_group(name) for registry in among):
        return [among[0].kind if len(among) == 1 else kind_of(Spec(name))]
    among = [registry for registry in among if name.partition(".")[0] in registry.families] or among
    kinds, errors = [], []
    for registry in among:
        try:
            if registry.is_group(name) and picked(registry, [Spec(name)], _lacks(registry)):
                kinds.append(registry.kind)
        except UsageError as error:
            errors.append(error)
    if kinds:
        return kinds
    if len(among) > 1 and all(isinstance(error, Unmatched) for error in errors):
        known = [each for registry in among for each in candidates(registry, name)]
        hint = f"; {hint_of(name[name.rindex(':') + 1 :], known)}" if ":" in name else _near(name, known)
        raise UsageError(f"no optimizer, problem or initializer matches {name!r}{hint}")
    raise next((error for error in errors if not isinstance(error, Unmatched)), errors[0])


def _lacks(registry: Registry[Any]) -> Callable[[Any], str]:
    """What must be given beside a name for a definition to be checked."""
    from suite.checks import lacking as lacking_optimizer

    return lacking_optimizer if registry is optimizer else lacking


def asked(text: str, kind: str | None = None) -> tuple[list[tuple[str, Spec]], dict[str, str]]:
    """The definitions that a text names, each with its kind, and what patterns do not stand for, with the reasons.

    A group or a pattern stands for what it matches of every kind, unless one is given.

    Raises:
        UsageError: an unknown name, a setting out of bounds, or nothing is left.
    """
    from suite.checks import filled

    among = [registry for registry in REGISTRIES if kind in (None, registry.kind)]
    written: dict[str, list[Spec]] = {registry.kind: [] for registry in among}
    for spec in parse_list(text):
        for each in _kinds_of(spec.name.removeprefix("-"), among):
            written[each].append(spec)
    found: list[tuple[str, Spec]] = []
    without: dict[str, str] = {}
    for registry in among:
        specs, lacks = written[registry.kind], _lacks(registry)
        found += [(registry.kind, spec) for spec in picked(registry, specs, lacks)]
        without |= left_out(registry, specs, lacks)
    if not found:
        raise UsageError(f"{text!r}: nothing is left to check")
    for each, spec in found:
        (filled if each == optimizer.kind else next(r for r in among if r.kind == each).bind)(spec)
    return found, without


def check(*, names: Sequence[str], kind: str | None, as_json: bool) -> int:
    """Print what holds and what does not; 1 if something does not."""
    from suite.threads import one_thread

    found, without = asked(", ".join(names), kind)
    records: list[dict[str, Any]] = []
    with one_thread():
        for each, spec in found:
            checks = _checked(each, spec)
            holds = all(c.holds for c in checks)
            records.append({"name": str(spec), "kind": each, "holds": holds, "checks": [c._asdict() for c in checks]})
            if not as_json:
                _show(each, spec, checks, last=len(records) == len(found))
    broken = [record for record in records if not record["holds"]]
    if as_json:
        click.echo(export.to_json({"checked": records, "left_out": export.of_left_out(without)}))
        return int(bool(broken))
    if len(found) > 1:
        wrong = ", ".join(f"{record['kind']} {record['name']}" for record in broken)
        words = f"not all holds of {len(broken)}: {wrong}" if broken else "everything holds"
        click.echo(f"\n{len(found)} checked: {words}")
    for line in tables.left_out(without):
        click.echo(line)
    return int(bool(broken))


def _checked(kind: str, spec: Spec) -> list[Check]:
    from suite.checks import Check, check_optimizer
    from suite.other_checks import check_initializer, check_problem

    ask = {"optimizer": check_optimizer, "problem": check_problem, "initializer": check_initializer}[kind]
    try:
        return ask(spec)
    except UsageError as error:  # such as data that are not here
        return [Check("can be made", False, f"{error}; nothing else was asked of it")]


def _show(kind: str, spec: Spec, checks: Sequence[Check], last: bool) -> None:
    """The checks of one definition, and what they come to."""
    width = max(len(c.name) for c in checks)
    for c in checks:
        mark = click.style("ok  ", fg="green") if c.holds else click.style("FAIL", fg="red", bold=True)
        click.echo(f"{mark}  {c.name:{width}}  {c.words}")
    broken = sum(not c.holds for c in checks)
    verdict = f"{broken} of {len(checks)} do not hold" if broken else "everything holds"
    click.echo(f"{kind} {spec}: {verdict}" + ("" if last else "\n"))
    sys.stdout.flush()
