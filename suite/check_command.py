"""``python -m suite check``: does a definition keep what the suite relies on?"""

from __future__ import annotations

import difflib
from typing import Any

import click

from problems.names import Spec, UsageError, parse
from problems.problem import Problem, problem
from problems.references import RAISED
from problems.registry import Registry
from suite import export
from suite.initializers import initializer
from suite.optimizers import optimizer

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
        known = [name for registry in REGISTRIES for name in registry.names()]
        near = difflib.get_close_matches(spec.name, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else " (python -m suite list shows all names)"
        raise UsageError(f"no optimizer, problem or initializer is called {spec.name!r}{hint}")
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


def _by_what_it_makes(spec: Spec) -> str:
    """The kind of a function that no decorator tells the kind of; an optimizer's where it cannot be called."""
    try:
        made: Any = problem.find(spec.name).factory(**dict(problem.bind(spec).kwargs))
    except RAISED:
        return optimizer.kind
    if isinstance(made, Problem):
        return problem.kind
    return initializer.kind if callable(made) else optimizer.kind


def check(*, name: str, kind: str | None, as_json: bool) -> int:
    """Print what holds and what does not; 1 if something does not."""
    from suite.checks import Check, check_optimizer
    from suite.other_checks import check_initializer, check_problem
    from suite.threads import one_thread

    spec = parse(name)
    kind = kind or kind_of(spec)
    ask = {"optimizer": check_optimizer, "problem": check_problem, "initializer": check_initializer}[kind]
    with one_thread():
        found: list[Check] = ask(spec)
    broken = [c for c in found if not c.holds]
    if as_json:
        click.echo(export.to_json({"name": name, "kind": kind, "checks": [c._asdict() for c in found]}))
        return int(bool(broken))
    width = max(len(c.name) for c in found)
    for c in found:
        mark = click.style("ok  ", fg="green") if c.holds else click.style("FAIL", fg="red", bold=True)
        click.echo(f"{mark}  {c.name:{width}}  {c.words}")
    verdict = "everything holds" if not broken else f"{len(broken)} of {len(found)} do not hold"
    click.echo(f"{kind} {name}: {verdict}")
    return int(bool(broken))
