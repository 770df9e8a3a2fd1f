"""The text form: what is printed parses back, and any text is either read or refused in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.names import Spec, UsageError, parse, parse_list, render

WORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
NAMES = st.one_of(
    WORDS,
    st.builds("torch.{}".format, WORDS),
    st.builds("./{}/{}.py:{}".format, WORDS, WORDS, WORDS),
    st.builds("{}.{}:{}.{}".format, WORDS, WORDS, WORDS, WORDS),
)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(allow_nan=False), st.text(max_size=10)
)


def specs(values):
    return st.builds(
        lambda name, args, kwargs: Spec(name, tuple(args), tuple(kwargs.items())),
        NAMES,
        st.lists(values, max_size=2),
        st.dictionaries(WORDS, values, max_size=3),
    )


VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3).map(tuple) | specs(inner), max_leaves=6)


@given(specs(VALUES))
def test_what_is_printed_parses_back(spec):
    assert parse(str(spec)) == spec
    assert str(parse(str(spec))) == str(spec)


@given(st.lists(specs(PLAIN), min_size=1, max_size=4))
def test_lists_too(found):
    assert parse_list(", ".join(map(str, found))) == found


@given(st.text(max_size=30) | st.text("adm(=.,)'\"\\-+10e x:/", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        spec = parse(text)
    except UsageError:
        return
    assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("adam", Spec("adam")),
        ("adam()", Spec("adam")),
        (" adam ( 0.1 , rho1 = .9 ) ", Spec("adam", (0.1,), (("rho1", 0.9),))),
        ("adam(lr=1e-3,)", Spec("adam", (), (("lr", 1e-3),))),
        ("mlp((64, 32))", Spec("mlp", ((64, 32),))),
        ("f((1,), ())", Spec("f", ((1,), ()))),
        ("f(-inf, inf, True, None)", Spec("f", (-math.inf, math.inf, True, None))),
        ("f('a, b)', \"c\")", Spec("f", ("a, b)", "c"))),
        ("../my-dir/mine.py:Mine(lr=+1)", Spec("../my-dir/mine.py:Mine", (), (("lr", 1),))),
        ("2024/mine.py:Mine", Spec("2024/mine.py:Mine")),
        (
            "polyak(clip(sgd(lr=0.1)), decay=0.99)",
            Spec("polyak", (Spec("clip", (Spec("sgd", (), (("lr", 0.1),)),)),), (("decay", 0.99),)),
        ),
    ],
)
def test_forms(text, spec):
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected a name such as adam\(lr=0.001\), found nothing"),
        ("adam(", "expected a name or a value, found the end"),
        ("adam(lr=0.1", r"expected ',' or '\)', found the end"),
        ("adam(lr=0.1))", r"expected the end, found '\)'"),
        ("adam, sgd", "expected the end, found ','"),
        ("0.1", "expected a name such as adam.*found the value 0.1"),
        ("adam(lr=0.1, 0.9)", "0.9 must come before the named settings"),
        ("adam(lr=0.1, lr=0.2)", "lr is given twice"),
        ("adam(1e=3)", "'1e' is not the name of a setting"),
        ("adam(lr=007)", "cannot read the value '007'"),
        ("adam(lr=%)", "cannot read '%"),
        ("adam(lr='unfinished)", "cannot read"),
        ("adam(" + "9" * 5000 + ")", "cannot read the value"),
        ("f(" * 5000, "nested too deeply"),
    ],
)
def test_mistakes_are_told_where_they_are(text, message):
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_nothing_is_evaluated():
    assert parse("f(__import__('os'))") == Spec("f", (Spec("__import__", ("os",)),))


def test_replace_keeps_the_order():
    spec = parse("adam(lr=0.1, rho1=0.9)")
    assert str(spec.replace(lr=0.2, delta=1e-8)) == "adam(lr=0.2, rho1=0.9, delta=1e-08)"
    assert spec.options == {"lr": 0.1, "rho1": 0.9}


def test_nan_has_no_text():
    with pytest.raises(UsageError, match="nan"):
        render(math.nan)
