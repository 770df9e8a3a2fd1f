"""Groups, patterns and what is left out of them stand for the names that they match, once each and in order."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.entries import Family
from problems.names import Spec, UsageError
from problems.problem import problem
from problems.registry import Registry
from problems.selection import left_out, selected
from suite.initializers import initializer
from suite.optimizers import optimizer


@pytest.fixture(scope="module")
def registry():
    made = Registry("thing", groups={"odd": lambda entry: entry.meta.get("odd", False)})

    def add(name, factory, **meta):
        made(name, aliases=meta.pop("aliases", ()), **meta)(factory)

    add("one", lambda a=1: a, odd=True, aliases=("uno",))
    add("two", lambda a=2: a)
    add("three", lambda a=3: a, odd=True)

    @made()
    def needy(a: int):
        return a

    one = Spec("one")

    @made()
    def wrapper(inner: Spec = one):
        return inner

    return made


def names(registry, text):
    return [str(spec) for spec in selected(registry, text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("all", ["one", "three", "two"]),
        ("odd", ["one", "three"]),
        ("t*", ["three", "two"]),
        ("t?o", ["two"]),
        ("*(a=5)", ["one(a=5)", "three(a=5)", "two(a=5)"]),
        ("two, all", ["two", "one", "three"]),
        ("all, -two", ["one", "three"]),
        ("all, -odd", ["two"]),
        ("all, -t*", ["one"]),
        ("uno(a=3), two, -one", ["two"]),
        ("two, -two, two(a=3)", ["two(a=3)"]),
        ("two, two", ["two"]),
        ("needy(a=1), wrapper, odd", ["needy(a=1)", "wrapper", "one", "three"]),
    ],
)
def test_a_text_names(registry, text, found):
    assert names(registry, text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x*", "no thing matches 'x*'; known are needy, one, three, two, wrapper"),
        ("all, -all", "'all, -all': no thing is left"),
        ("one, -two", "-two: no such thing among those before it (one)"),
        ("-one, one", "-one: no such thing among those before it (none)"),
        ("one, -onne", "unknown thing 'onne'; did you mean one?"),
        ("one, -x*", "no thing matches 'x*'"),
        ("al", "unknown thing 'al'; did you mean all?"),
        ("tow*", "no thing matches 'tow*'; did you mean two?"),
    ],
)
def test_what_cannot_be_meant_is_told(registry, text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        [registry.bind(spec) for spec in selected(registry, text)]


@given(st.lists(st.sampled_from(["one", "two", "three", "all", "odd", "t*"]), min_size=1), st.data())
def test_leaving_out_what_was_named_leaves_the_rest(registry, words, data):
    before = names(registry, ", ".join(words))
    gone = data.draw(st.sampled_from(before))
    rest = [name for name in before if name != gone]
    if rest:
        assert names(registry, ", ".join([*words, f"-{gone}"])) == rest


@pytest.mark.parametrize("registry", [problem, optimizer, initializer], ids=lambda registry: registry.kind)
def test_every_group_can_be_made_by_name_alone(registry):
    for word in registry.groups:
        for spec in selected(registry, word):
            assert registry.bind(spec).name == spec.name
            assert not registry.find(spec.name).wraps


def test_the_book_group_has_the_algorithms_of_the_chapter():
    found = names(optimizer, "book")
    assert {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "rmsprop_nesterov", "adam"} <= set(found)
    assert {"newton", "conjugate_gradients", "bfgs", "lbfgs", "coordinate_descent"} <= set(found)
    assert "lion" not in found


def test_a_file_s_own_definitions(tmp_path):
    file = tmp_path / "several.py"
    file.write_text(
        "import torch\nfrom torch.optim import Adam\nfrom problems.problem import problem\n"
        "from suite import first_order, optimizer\n"
        "def _made(lr): return first_order(lambda theta: None, lambda g, v, theta: (theta - lr * g, v))\n"
        "@optimizer()\ndef plain(lr: float = 0.1): return _made(lr)\n"
        "@optimizer()\ndef plainer(lr: float = 0.1): return _made(lr)\n"
        "@problem()\ndef hard(): ...\n"
        "class Mine(torch.optim.SGD): pass\n"
        "def helper(): ...\n"
    )
    assert names(optimizer, f"{file}:*") == [f"{file}:plain", f"{file}:plainer", f"{file}:Mine"]
    assert names(optimizer, f"{file}:plain?r, adam") == [f"{file}:plainer", "adam"]
    assert names(problem, f"{file}:*") == [f"{file}:hard"]
    with pytest.raises(UsageError, match="known are plain, plainer, Mine"):
        selected(optimizer, f"{file}:x*")
    assert left_out(optimizer, f"{file}:*") == {}


PARTS = {
    "Able": lambda a=1: a,
    "Adept": lambda a=2: a,
    "Broken": lambda: 3,
    "Needy": lambda b: b,
}


def family(registry):
    def find(member):
        if member not in PARTS:
            raise UsageError(f"box.{member}: it cannot be made")
        return registry.entry(PARTS[member], f"box.{member}", fails=lambda: "it broke" if member == "Broken" else "")

    return Family("boxes", find, lambda: [*PARTS, "Sealed"])


@pytest.fixture
def boxes():
    made = Registry("thing")
    made.families["box"] = family(made)
    made("able")(lambda: 0)
    return made


def test_a_family_stands_for_what_of_it_can_be_used_by_name_alone(boxes):
    assert names(boxes, "box.*") == ["box.Able", "box.Adept"]
    assert names(boxes, "box.A*(a=5), able, -box.Ab*") == ["box.Adept(a=5)", "able"]
    assert names(boxes, "all, box.Able") == ["able", "box.Able"]
    assert left_out(boxes, "able, box.*") == {
        "box.Broken": "it broke",
        "box.Needy": "b must be given",
        "box.Sealed": "it cannot be made",
    }
    assert left_out(boxes, "box.Broken, box.A*, -box.Needy") == {}  # what is named keeps its own error
    assert boxes.bind("box.Broken").name == "box.Broken"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("box.Ade?", "no thing matches 'box.Ade?'; did you mean Adept or Able?"),
        ("box.x*", "no thing matches 'box.x*'; known are Able, Adept, Broken, Needy, Sealed"),
        ("bx.*", "no thing matches 'bx.*'; did you mean box.*?"),
        ("box.[AB]*", "cannot read"),
        ("box.N*", "no thing that matches 'box.N*' can be used by its name alone (box.Needy: b must be given)"),
        ("box.*, -box.Broken", "-box.Broken: no such thing among those before it (box.Able, box.Adept)"),
    ],
)
def test_what_of_a_family_cannot_be_meant_is_told(boxes, text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        selected(boxes, text)


@pytest.mark.parametrize("text", ["sg*", "torch.*", "book", "clip(torch.A*)", "polyak(all)"])
def test_where_one_is_asked_for_several_are_told_apart_from_unknown_names(text):
    with pytest.raises(UsageError, match="stands for several optimizers, and one is asked for"):
        optimizer.bind(text)


def test_a_file_s_definitions_that_need_more_are_told(tmp_path):
    file = tmp_path / "needy.py"
    file.write_text(
        "from problems.names import Spec\nfrom suite import optimizer\n"
        "@optimizer()\ndef whole(lr: float = 0.1): ...\n"
        "@optimizer()\ndef needy(lr: float, rho: float): ...\n"
        "@optimizer()\ndef wrapping(inner: Spec): ...\n"
    )
    assert names(optimizer, f"{file}:*") == [f"{file}:whole"]
    assert left_out(optimizer, f"{file}:*") == {
        f"{file}:needy": "lr and rho must be given",
        f"{file}:wrapping": "inner must be given",
    }
