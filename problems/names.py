"""The text form of everything that has a name: ``polyak(adam(lr=0.001), decay=0.99)``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Literal = int | float | bool | str | None | tuple["Literal", ...]
Value = "Literal | Spec"


class UsageError(ValueError):
    """A mistake of the person who asked: shown as one message, never as a traceback."""


class NotApplicable(UsageError):
    """What was asked for makes no sense for a problem; the message says why. Such runs are skipped."""


@dataclass(frozen=True)
class Spec:
    """A name with arguments, as written: nothing is looked up or checked yet.

    ``str(spec)`` is the text that :func:`parse` reads back to an equal ``Spec``.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = field(default=())

    def __str__(self) -> str:
        inside = [render(value) for value in self.args]
        inside += [f"{key}={render(value)}" for key, value in self.kwargs]
        return f"{self.name}({', '.join(inside)})" if inside else self.name

    @property
    def options(self) -> Mapping[str, Any]:
        """The keyword arguments as a mapping."""
        return dict(self.kwargs)

    def replace(self, **changes: Any) -> Spec:
        """The same spec with keyword arguments set anew, in order of first appearance."""
        return Spec(self.name, self.args, tuple({**dict(self.kwargs), **changes}.items()))


def render(value: Any) -> str:
    """A literal or a spec as text that :func:`parse` reads."""
    if isinstance(value, Spec):
        return str(value)
    if isinstance(value, tuple):
        inside = ", ".join(map(render, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, float) and value != value:
        raise UsageError("nan is not a value that a setting can have")
    if isinstance(value, float) and abs(value) == float("inf"):
        return "1e999" if value > 0 else "-1e999"
    return repr(value)


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.:/]))
    | (?P<name>[\w.~/\\*?-]+(?::[A-Za-z_*?][\w.*?]*)?)
    | (?P<mark>[(),=])
    )""",
    re.VERBOSE,
)
_CONSTANTS = {
    "True": True,
    "False": False,
    "None": None,
    "inf": float("inf"),
    "-inf": -float("inf"),
    "nan": float("nan"),
}


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            bad = text[at:].strip()
            raise UsageError(f"{text!r}: cannot read {bad!r}; write name(setting=value, ...)")
        assert match.lastgroup is not None
        yield match.lastgroup, match.group(match.lastgroup)
        at = match.end()


class _Parser:
    """Recursive descent over ``item := literal | tuple | name ['(' arguments ')']``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, mark: str | None = None, wanted: str = "a name or a value") -> tuple[str, str]:
        token = self.peek()
        if token[0] == "end" or (mark is not None and token != ("mark", mark)):
            found = repr(token[1]) if token[1] else "the end"
            raise UsageError(f"{self.text!r}: expected {wanted}, found {found}")
        self.at += 1
        return token

    def item(self) -> Any:
        kind, token = self.take()
        if kind in ("string", "number"):
            try:
                return ast.literal_eval(token.lstrip("+"))
            except (ValueError, SyntaxError):  # 007, a number of 5,000 digits, a broken escape
                raise UsageError(f"{self.text!r}: cannot read the value {token!r}") from None
        if kind == "name" and token in _CONSTANTS:
            return _CONSTANTS[token]
        if kind == "name":
            return self.call(token)
        if token == "(":
            return tuple(self.sequence(self.item))
        raise UsageError(f"{self.text!r}: expected a name or a value, found {token!r}")

    def call(self, name: str) -> Spec:
        if self.peek() != ("mark", "("):
            return Spec(name)
        self.take("(")
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for key, value in self.sequence(self.argument):
            if key is None and kwargs:
                raise UsageError(f"{self.text!r}: {render(value)} must come before the named settings")
            if key is not None and key in kwargs:
                raise UsageError(f"{self.text!r}: {key} is given twice")
            if key is None:
                args.append(value)
            else:
                kwargs[key] = value
        return Spec(name, tuple(args), tuple(kwargs.items()))

    def argument(self) -> tuple[str | None, Any]:
        kind, token = self.peek()
        if kind == "name" and self.at + 1 < len(self.tokens) and self.tokens[self.at + 1] == ("mark", "="):
            if not token.isidentifier():
                raise UsageError(f"{self.text!r}: {token!r} is not the name of a setting")
            self.at += 2
            return token, self.item()
        return None, self.item()

    def sequence(self, read: Any) -> Iterator[Any]:
        """Items up to the closing parenthesis, a trailing comma allowed."""
        while self.peek() != ("mark", ")"):
            yield read()
            if self.peek() == ("mark", ")"):
                break
            self.take(",", "',' or ')'")
        self.take(")")


def _spec(value: Any, text: str) -> Spec:
    if isinstance(value, Spec):
        return value
    raise UsageError(f"{text!r}: expected a name such as adam(lr=0.001), found the value {render(value)}")


def parse(text: str) -> Spec:
    """Read ``name``, ``name(0.1, key=value)``, ``file.py:Name`` or ``package.module:Name(...)``.

    Values are literals (numbers, strings, ``True``, ``False``, ``None``, tuples) or
    specs themselves; nothing is evaluated.

    Raises:
        UsageError: the text is not of this form; the message shows what was found where.
    """
    (spec,) = parse_list(text, exactly_one=True)
    return spec


def parse_list(text: str, *, exactly_one: bool = False) -> list[Spec]:
    """Read specs separated by commas: ``adam, sgd(lr=0.1), mine.py:Mine``."""
    if not text.strip():
        raise UsageError(f"{text!r}: expected a name such as adam(lr=0.001), found nothing")
    parser = _Parser(text)
    try:
        specs = [_spec(parser.item(), text)]
    except RecursionError:
        raise UsageError(f"{text[:40]!r}...: nested too deeply") from None
    while parser.peek() == ("mark", ",") and not exactly_one:
        parser.take(",")
        if parser.peek()[0] == "end":
            break
        specs.append(_spec(parser.item(), text))
    if parser.peek()[0] != "end":
        rest = "the end" if exactly_one else "a comma or the end"
        raise UsageError(f"{text!r}: expected {rest}, found {parser.peek()[1]!r}")
    return specs
