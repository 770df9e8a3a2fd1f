"""Every registered optimizer and strategy keeps the contract; and what breaks it is told so."""

from __future__ import annotations

import textwrap

import pytest

from problems.names import Spec
from suite.checks import check_optimizer, example, outside
from suite.optimizers import optimizer

FOREIGN = ["torch.AdamW", "torch.RMSprop", "torch.LBFGS(max_iter=3)", "polyak(clip(torch.SGD))"]


@pytest.mark.parametrize("name", [*optimizer.names(), *FOREIGN])
def test_keeps_the_contract(name):
    spec = example(optimizer.find(name)) if name in optimizer.names() else optimizer.bind(name)
    broken = [f"{check.name}: {check.words}" for check in check_optimizer(spec) if not check.holds]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("entry", list(optimizer), ids=lambda entry: entry.name)
def test_every_number_has_bounds_and_the_tuned_lie_inside(entry):
    for parameter in entry.parameters:
        if parameter.kind in ("number", "integer"):
            assert parameter.bound is not None, f"{entry.name}: give {parameter.name} a bound, such as Positive"
    bounds = {parameter.name: parameter.bound for parameter in entry.parameters}
    for key, span in entry.tune.items():
        assert span.low in bounds[key]
        assert span.high in bounds[key]


def test_values_outside_of_the_bounds():
    by_name = {parameter.name: outside(parameter) for parameter in optimizer.find("adam").parameters}
    assert by_name == {"lr": [0.0], "rho1": [-1.0, 1.0], "rho2": [-1.0, 1.0], "delta": [0.0], "correct": []}


BAD = {
    "docstring": "def bad(lr=0.1):\n    return first_order(lambda t: {}, lambda g, s, t: (t - lr * g, s))",
    "inputs untouched": """
        def bad(lr=0.1):
            return first_order(lambda t: {}, lambda g, s, t: (t.sub_(lr * g), s))""",
    "pure": """
        def bad(lr=0.1):
            def update(g, s, t):
                return t - lr * random.random() * g, s
            return first_order(lambda t: {}, update)""",
    "lifts to lanes": """
        def bad(lr=0.1):
            def update(g, s, t):
                return (t - lr * g if g.norm() > 1 else t), s
            return first_order(lambda t: {}, update)""",
    "loss falls": "def bad(lr=0.1):\n    return first_order(lambda t: {}, lambda g, s, t: (t + lr * g, s))",
    "zero gradients": """
        def bad(lr=0.1):
            return first_order(lambda t: {}, lambda g, s, t: (t - lr * g / g.norm(), s))""",
    "finite": "def bad(lr=1e200):\n    return first_order(lambda t: {}, lambda g, s, t: (t - lr * g, s))",
}


STEPPED = "return first_order(lambda t: {}, lambda g, s, t: "
TOLD = [
    ("return lr", "takes a step", "must return an Optimizer, as first_order(init, update) does; got float"),
    (STEPPED + "t - lr * g)", "takes a step", "got Tensor"),
    (STEPPED + "((t - lr * g).sum(), s))", "takes a step", "theta of shape (8,), got ()"),
    (STEPPED + "(t - lr * g, {'h': t}))", "takes a step", "['h'] goes from nothing to (8,)"),
    (STEPPED + "(t - lr * torch.randn_like(g), s))", "pure", "random numbers come from suite.strategies.noise"),
    (STEPPED + "(t - lr * g if g.norm() > 1 else t, s))", "lifts to lanes", "mine.py, line 6"),
    (STEPPED + "(t - lr * g, s))", "bounds of lr", "annotate it as Positive"),
    (STEPPED + "(t - 1e-9 * lr * g, s))", "loss falls", "it has to halve; only one setting was tried"),
]


@pytest.mark.parametrize(("body", "name", "words"), TOLD)
def test_the_author_is_told_what_to_mend(body, name, words, tmp_path):
    file = tmp_path / "mine.py"
    head = 'import torch\nfrom suite import first_order\n\ndef bad(lr=0.1):\n    "Bad 2020."\n    '
    file.write_text(head + body + "\n")
    checks = {check.name: check for check in check_optimizer(f"{file}:bad")}
    assert not checks[name].holds
    assert words in checks[name].words


@pytest.mark.parametrize(
    ("span", "words"), [("(1e-5, 1.0)", "write a range, log_range"), ("log_range(1e-5, 5.0)", "leaves its bounds")]
)
def test_a_tuning_range_that_is_none_is_told(span, words, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from suite import Fraction, first_order, log_range, optimizer\n"
        f"@optimizer(tune={{'lr': {span}}})\ndef bad(lr: Fraction = 0.1):\n    'Bad 2020.'\n"
        "    return first_order(lambda t: {}, lambda g, s, t: (t - lr * g, s))\n"
    )
    checks = {check.name: check for check in check_optimizer(f"{file}:bad")}
    assert not checks["tuning"].holds
    assert words in checks["tuning"].words
    assert "takes a step" not in checks


@pytest.mark.parametrize("name", BAD)
def test_what_breaks_the_contract_is_found(name, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import random\nfrom suite import first_order\n" + textwrap.dedent(BAD[name]))
    checks = {check.name: check for check in check_optimizer(Spec(f"{file}:bad"))}
    assert not checks[name].holds
    assert checks[name].words


def test_a_rule_that_raises_is_reported_not_raised(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from suite import first_order\ndef bad(lr=0.1):\n    '''Bad (2020).'''\n"
        "    return first_order(lambda t: {}, lambda g, s, t: 1 / 0)\n"
    )
    checks = {check.name: check for check in check_optimizer(f"{file}:bad")}
    assert "ZeroDivisionError" in checks["takes a step"].words
    assert "mine.py, line 4" in checks["takes a step"].words
    assert "loss falls" not in checks
    assert checks["docstring"].holds
