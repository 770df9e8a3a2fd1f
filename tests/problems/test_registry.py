"""Names, settings, other people's definitions, and the messages when something is wrong."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import registry as module
from problems.bounds import Bound, Count, Fraction, OneOf, Positive, Real, Widths, log_range
from problems.names import Spec, UsageError
from problems.parameters import Parameter, parameters_of
from problems.registry import Registry
from suite.optimizers import optimizer
from suite.schedules import schedule


@pytest.fixture
def tools(monkeypatch):
    """A small registry of its own."""
    monkeypatch.setattr(module, "entry_points", lambda group: [])
    made: Registry[tuple] = Registry("tool", numbers=schedule)

    @made(section="1", aliases=("hit",), tune={"force": log_range(0.1, 10)})
    def hammer(force: Positive = 1.0, times: Count = 1, loud: bool = False):
        """Hit a nail."""
        return ("hammer", force, times, loud)

    @made("saw")
    def _saw(teeth: Widths = (3, 5), kind=None, blade: str = "steel", angle: Fraction | None = None):
        """Cut wood."""
        return ("saw", teeth, kind, blade, angle)

    @made()
    def glove(tool: object, size: float | None = None):
        """Hold another tool."""
        return ("glove", tool, size)

    return made


def says(message, call, *args):
    with pytest.raises(UsageError) as caught:
        call(*args)
    assert message in str(caught.value)


# settings -----------------------------------------------------------------------------------


def test_bind_gives_every_setting_in_order(tools):
    assert str(tools.bind("hammer")) == "hammer(force=1.0, times=1, loud=False)"
    assert tools.bind("hammer(2)") == tools.bind("hammer(force=2.0)") == tools.bind("hit(times=1, force=2)")
    assert str(tools.bind("glove(saw(7))")) == (
        "glove(tool=saw(teeth=(7,), kind=None, blade='steel', angle=None), size=None)"
    )
    assert tools.build(tools.bind("glove(hammer(3))")) == ("glove", ("hammer", 3.0, 1, False), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hamer", "unknown tool 'hamer'; did you mean hammer"),
        ("xyzzy", "unknown tool 'xyzzy'; known are glove, hammer, saw"),
        ("hammer(forse=1)", "hammer: unknown setting 'forse'; did you mean force?"),
        ("hammer(zzz=1)", "hammer: unknown setting 'zzz'; it takes force, times, loud"),
        ("hammer(1, 2, True, 4)", "hammer: too many settings; it takes force, times, loud"),
        ("hammer(1, force=2)", "hammer: force is given twice"),
        ("hammer(force=0)", "hammer: force must be > 0, got 0"),
        ("hammer(force=inf)", "hammer: force must be finite, got inf"),
        ("hammer(force=True)", "hammer: force must be a number, got True"),
        ("hammer(force='hard')", "hammer: force must be a number, got 'hard'"),
        ("hammer(force=None)", "hammer: force must be a number, got None"),
        ("hammer(times=0)", "hammer: times must be >= 1, got 0"),
        ("hammer(times=1.5)", "hammer: times must be a whole number, got 1.5"),
        ("hammer(times=inf)", "hammer: times must be a whole number, got inf"),
        ("hammer(times=linear(3.0))", "hammer: times must be a whole number, got linear(3.0)"),
        ("hammer(loud=1)", "hammer: loud must be True or False, got 1"),
        ("saw(teeth=(3, 0))", "saw: teeth must be >= 1, got 0"),
        ("saw(teeth=(3, 1.5))", "saw: teeth must be a whole number, got 1.5"),
        ("saw(blade=3)", "saw: blade must be text, got 3"),
        ("saw(angle=1)", "saw: angle must be in [0, 1), got 1"),
        ("glove", "glove: tool must be given"),
        ("glove(3)", "glove: tool must be a tool such as glove, got 3"),
        ("glove(tool=hamer)", "did you mean hammer"),
        ("hammer(force=linear(-1.0))", "hammer: force must be > 0, got -1"),
        ("hammer(force=lineer(1.0))", "unknown schedule 'lineer'; did you mean linear"),
    ],
)
def test_mistakes_name_the_thing_the_rule_and_the_value(tools, text, message):
    says(message, tools.bind, text)


def test_numbers_too_large_for_a_float(tools):
    says("force must be finite", tools.bind, Spec("hammer", (10**400,)))


def test_choices_and_bare_words(monkeypatch):
    monkeypatch.setattr(module, "entry_points", lambda group: [])
    made: Registry[str] = Registry("thing")
    from typing import Annotated

    made.add(made.entry(lambda: "", "plain"))
    parameter = Parameter("beta", "text", "fr", OneOf(("fr", "pr")))
    assert parameter.check("cg", Spec("pr")) == "pr"
    with pytest.raises(UsageError, match="cg: beta must be one of fr, pr, got 'xx'"):
        parameter.check("cg", "xx")
    assert Annotated[str, OneOf(("fr",))].__metadata__ == (OneOf(("fr",)),)


def test_kinds_are_read_off_annotations_and_defaults():
    def factory(
        a: Positive,
        b: int = 1,
        c: float | None = None,
        d: tuple[float, float] = (0.9, 0.999),
        e: tuple[int, ...] = (1,),
        f=(1, 2),
        g="x",
        h=0.5,
        i=True,
        j: Bound = None,
        *rest,
        **more,
    ):
        pass

    kinds = {p.name: p.kind for p in parameters_of(factory)}
    assert kinds == {
        "a": "number", "b": "integer", "c": "number", "d": "numbers", "e": "integers", "f": "integers",
        "g": "text", "h": "number", "i": "flag", "j": "number",
    }  # fmt: skip


ENTRIES = [*optimizer, *schedule]


def settings_of(entry):
    """Values within bounds for some settings of an entry."""
    found = {}
    for parameter in entry.parameters:
        if parameter.kind == "nested":
            found[parameter.name] = st.sampled_from([Spec("sgd"), Spec("clip", (Spec("adam"),))])
        elif parameter.kind == "number" and isinstance(parameter.bound, Bound):
            bound = parameter.bound
            found[parameter.name] = (
                st.floats(
                    max(bound.low, -1e6), min(bound.high, 1e6), exclude_min=bound.open_low, exclude_max=bound.open_high
                )
                if bound.high <= 1e6
                else st.floats(max(bound.low, -1e6), 1e6, exclude_min=bound.open_low)
            )
        elif parameter.kind == "flag":
            found[parameter.name] = st.booleans()
    required = {p.name: found[p.name] for p in entry.parameters if p.required}
    optional = {name: found[name] for name in found if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


@given(st.data(), st.sampled_from(ENTRIES))
def test_binding_is_idempotent_and_survives_the_text_form(data, entry):
    registry = optimizer if entry in ENTRIES[: len(list(optimizer))] else schedule
    given_ = data.draw(settings_of(entry))
    bound = registry.bind(Spec(entry.name, (), tuple(given_.items())))
    assert registry.bind(bound) == bound
    assert registry.bind(str(bound)) == bound
    assert registry.bind(str(registry.short(bound))) == bound
    registry.build(bound)


# registering --------------------------------------------------------------------------------


def test_the_decorator_needs_parentheses(tools):
    says("<lambda>: @tool needs parentheses: @tool()", tools, lambda: None)


def test_a_name_is_taken_once(tools):
    def hammer():
        """Another."""

    hammer.__module__, hammer.__qualname__ = "elsewhere", "hammer"
    says("tool 'hammer' is registered already, by test_registry", tools(), hammer)
    says("tool 'hit' is registered already", tools("hit"), hammer)
    says("tool 'saw' is registered already", tools("new", aliases=("saw",)), hammer)


def test_tuning_names_a_setting(tools):
    says(
        "x: tune names spead, which is not one of its settings", tools("x", tune={"spead": log_range(1, 2)}), lambda: 0
    )


def test_listing_is_sorted_and_says_what_each_is(tools):
    assert tools.names() == ["glove", "hammer", "saw"]
    entry = tools.find("hit")
    assert (entry.name, entry.summary, entry.meta["section"]) == ("hammer", "Hit a nail", "1")
    assert [str(p) for p in entry.parameters] == ["force=1.0 > 0", "times=1 >= 1", "loud=False"]


# other people's definitions -----------------------------------------------------------------


def points(monkeypatch, **references):
    found = [importlib.metadata.EntryPoint(name, value, "suite.tools") for name, value in references.items()]
    monkeypatch.setattr(module, "entry_points", lambda group: [p for p in found if p.group == group])
    return Registry("tool")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module that can be imported, with factories."""
    (tmp_path / "toolbox.py").write_text(
        "def wrench(size: float = 1.0):\n    '''Turn.'''\n    return size\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "toolbox"
    sys.modules.pop("toolbox", None)


def test_entry_points_join(monkeypatch, package):
    made = points(monkeypatch, wrench=f"{package}:wrench")
    assert made.names() == ["wrench"]
    assert made.find("wrench").summary == "Turn"


def test_a_broken_entry_point_is_said_and_passed_over(monkeypatch, capsys, package):
    made = points(monkeypatch, wrench=f"{package}:wrench", gone="no_such_module_at_all:x", odd=f"{package}:number")
    assert made.names() == ["wrench"]
    said = capsys.readouterr().err
    assert "tool 'gone' (no_such_module_at_all:x) cannot be loaded: No module named" in said
    assert "tool 'odd'" in said
    assert "is an int, 3, not a factory of a tool" in said


def test_a_function_of_a_module(tools, package):
    assert tools.build(tools.bind("toolbox:wrench(2)")) == 2.0
    assert str(tools.bind("toolbox:wrench")) == "toolbox:wrench(size=1.0)"
    says("toolbox has no 'wrensh'; did you mean wrench?", tools.find, "toolbox:wrensh")
    says("no_such_box cannot be imported: ModuleNotFoundError", tools.find, "no_such_box:wrench")
    says("toolbox:number is an int, 3, not a factory of a tool", tools.find, "toolbox:number")


def user_file(tmp_path, text, name="mine.py"):
    file = tmp_path / name
    file.write_text(textwrap.dedent(text))
    return file


def test_a_function_of_a_file(tools, tmp_path):
    file = user_file(tmp_path, "def drill(speed: float = 2.0):\n    '''Bore.'''\n    return speed\n")
    entry = tools.find(f"{file}:drill")
    assert (entry.summary, entry.source) == ("Bore", file)
    assert tools.build(tools.bind(f"{file}:drill(speed=3)")) == 3.0
    assert "drill" not in " ".join(tools.names())
    says("did you mean drill?", tools.find, f"{file}:dril")


def test_a_registered_function_of_a_file_keeps_what_it_says(tmp_path):
    file = user_file(
        tmp_path,
        """
        from suite import optimizer, first_order, log_range

        @optimizer("other", tune={"lr": log_range(1e-3, 1)})
        def mine(lr: float = 0.1):
            return first_order(lambda theta: {}, lambda g, s, theta: (theta - lr * g, s))
        """,
    )
    entry = optimizer.find(f"{file}:mine")
    assert set(entry.tune) == {"lr"}
    assert "other" not in optimizer.names()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef broken(:\n", "cannot be imported: SyntaxError: invalid syntax (line 2)"),
        ("x = 1\n\ny = 1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero (line 3)"),
        ("import no_such_thing\n", "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing' (line 1)"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3 (line 1)"),
    ],
)
def test_a_file_that_fails_is_told_with_its_line(tools, tmp_path, text, message):
    file = user_file(tmp_path, text)
    says(message, tools.find, f"{file}:thing")


def test_a_file_that_is_not_there(tools, tmp_path):
    says("no such file", tools.find, f"{tmp_path}/none.py:thing")


def test_the_fingerprint_changes_with_the_file(tmp_path):
    one = user_file(tmp_path, "def drill(speed=1.0): return speed\n", "one.py")
    two = user_file(tmp_path, "def drill(speed=1.0): return speed + 1\n", "two.py")
    made = Registry("tool")
    prints = [made.fingerprint(made.bind(f"{file}:drill")) for file in (one, two)]
    assert prints[0] != prints[1]
    one.write_text(two.read_text())
    again = Registry("tool")
    assert again.fingerprint(again.bind(f"{one}:drill")) == prints[1]


def test_the_fingerprint_covers_what_is_nested_and_scheduled():
    def of(text):
        return optimizer.fingerprint(optimizer.bind(text))

    assert len({of("sgd"), of("adam"), of("clip(sgd)"), of("clip(adam)"), of("sgd(lr=linear(1.0))")}) == 5
    assert of("sgd(lr=0.1)") == of("sgd(lr=0.2)")
    assert of("torch.Adam") != of("torch.AdamW")


# classes ------------------------------------------------------------------------------------


CLASSES = """
    import torch
    from suite import optimizer

    @optimizer(reference="mine 2024")
    class Mine(torch.optim.SGD):
        '''My own.'''
        def __init__(self, params, lr: float = 0.1, nesterov_like: bool = False):
            super().__init__(params, lr=lr)

    class Child(Mine):
        '''My child.'''
        def __init__(self, params, lr: float = 0.2):
            super().__init__(params, lr)
"""


def test_the_decorator_takes_torch_classes(tmp_path):
    file = user_file(tmp_path, CLASSES)
    entry = optimizer.find(f"{file}:Mine")
    assert [p.name for p in entry.parameters] == ["lr", "nesterov_like"]
    assert (entry.summary, entry.meta["reference"], set(entry.tune)) == ("My own", "mine 2024", {"lr"})
    assert optimizer.find(f"{file}:Child").summary == "My child"
    assert [p.name for p in optimizer.find(f"{file}:Child").parameters] == ["lr"]


def test_real_is_any_finite_number():
    assert 0.0 in Real.__metadata__[0]


def test_a_name_of_another_kind_is_told_though_nothing_has_asked_for_that_kind_yet():
    code = (
        "from problems.problem import problem\nimport suite.optimizers\n"
        "try: problem.find('adam')\nexcept ValueError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("adam is an optimizer, not a problem")
