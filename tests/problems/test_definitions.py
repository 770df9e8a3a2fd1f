"""A definition's digest covers all that it computes by, and nothing else."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from problems import definitions
from problems.problem import problem
from problems.registry import Registry
from suite.initializers import initializer
from suite.optimizers import optimizer
from suite.schedules import schedule
from suite.spec import Run
from suite.stopping import stop

FILES = {
    "__init__.py": "",
    "base.py": """
        class Interface:
            width: int = 1


        registry = {}


        def shared(x):
            return x + 1
    """,
    "helpers.py": """
        import math

        SCALE = 2.0  # of everything
        UNUSED = 1


        def helper(x):
            '''Doubles.'''
            return further(x) * SCALE


        def further(x):
            return math.sqrt(x)


        def another(x):
            return x
    """,
    "elsewhere.py": """
        def far(x):
            return x
    """,
    "rules.py": """
        from rulebook import helpers as tools
        from rulebook.base import Interface, registry, shared
        from rulebook.elsewhere import far


        @registry.get
        def direct(x: Interface) -> Interface:
            return tools.helper(shared(far(x)))


        def lazy(x):
            from .helpers import another

            return Interface(), another(x)
    """,
}


def written(folder, changed=()):
    package = folder / "rulebook"
    package.mkdir(exist_ok=True)
    for name, text in {**FILES, **dict(changed)}.items():
        (package / name).write_text(textwrap.dedent(text))


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """What the texts of ``direct`` and ``lazy`` are, with some of the package's files changed."""

    def made(**changed):
        texts = {f"{name}.py": FILES[f"{name}.py"].replace(*how) for name, how in changed.items()}
        assert all(text != FILES[name] for name, text in texts.items())
        written(tmp_path, texts)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [name for name in sys.modules if name.partition(".")[0] == "rulebook"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        definitions._source.cache_clear()
        functions = {"direct": lambda: None, "lazy": lambda: None}
        for name, function in functions.items():
            function.__module__, function.__qualname__ = "rulebook.rules", name
        within = ("rulebook.rules", "rulebook.helpers", "rulebook.base")
        return {name: definitions.code(function, within) for name, function in functions.items()}

    return made


@pytest.mark.parametrize(
    ("module", "old", "new", "changes"),
    [
        ("rules", "shared(far(x))", "far(x)", {"direct"}),
        ("helpers", "* SCALE", "+ SCALE", {"direct"}),
        ("helpers", "SCALE = 2.0", "SCALE = 3.0", {"direct"}),
        ("helpers", "math.sqrt", "math.log", {"direct"}),  # what a helper calls
        ("helpers", "return x\n", "return -x\n", {"lazy"}),  # imported inside, relatively
        ("base", "x + 1", "x + 2", {"direct"}),
        ("helpers", "# of everything", "# of all", set()),
        ("helpers", "Doubles.", "Twice.", set()),
        ("helpers", "UNUSED = 1", "UNUSED = 2", set()),
        ("base", "width: int = 1", "width: int = 2", set()),  # of an interface
        ("base", "registry = {}", "registry = dict()", set()),
        ("rules", "@registry.get\n", "@registry.setdefault\n", set()),
        ("elsewhere", "return x", "return 2 * x", set()),  # not where names are followed
    ],
)
def test_what_a_definition_names_counts_and_nothing_else(digests, module, old, new, changes):
    before = digests()
    after = digests(**{module: (old, new)})
    assert {name for name in before if before[name] != after[name]} == changes


def test_where_things_stand_does_not_count(digests):
    before = digests()
    after = digests(
        helpers=("def further(x):\n            return math.sqrt(x)\n", "from rulebook.base import further\n")
    )
    assert before["direct"] != after["direct"]  # it is gone
    moved = digests(
        helpers=("def further(x):\n            return math.sqrt(x)\n", "from rulebook.base import further\n"),
        base=("registry = {}", "import math\n\n\n        def further(x):\n            return math.sqrt(x)\n"),
    )
    assert moved["direct"] == before["direct"]


def texts(registry, name):
    entry = registry.find(name)
    return definitions.code(entry.factory, entry.within)


@pytest.mark.parametrize(
    ("registry", "name", "helper"),
    [
        (optimizer, "bfgs", "def descent("),
        (optimizer, "bfgs", "class _Bracket("),
        (optimizer, "adam", "def first_order("),
        (optimizer, "conjugate_gradients", "def polak_ribiere("),  # from a table of formulas
        (optimizer, "kfac", "def _inverse("),
        (optimizer, "gradient_noise", "def normal("),
        (problem, "digits_mlp", "def classifier("),
        (problem, "mnist_2c2d", "def truncated_normal("),
        (problem, "adding_rnn", "def adding("),
        (problem, "cifar10_3c3d", "def standardized("),  # how data are prepared
        (problem, "mnist_mlp", "def flattened("),
        (problem, "digits_mlp", "def shuffled("),
        (problem, "hub_lstm", "def texts("),
        (problem, "shakespeare_lstm", "def _sequences("),
        (problem, "table_mlp", "def _standardized("),
        (problem, "batch_norm", "def _moments("),
        (initializer, "orthogonal", "def _orthogonal("),
        (initializer, "hints", "def learn("),
        (stop, "early", "def measured("),
        (schedule, "reduce_on_plateau", "class Plateau"),
    ],
)
def test_what_built_in_definitions_share_is_theirs(registry, name, helper):
    assert helper in texts(registry, name)


def test_the_engine_and_other_definitions_are_not():
    adam = texts(optimizer, "adam")
    assert "class Oracle" not in adam and "def rmsprop" not in adam and "Registry(" not in adam
    assert "class Problem" not in texts(problem, "digits_mlp")
    assert "def find(" not in texts(problem, "cifar10_3c3d") and "class Remote" not in texts(
        problem, "shakespeare_lstm"
    )
    assert '"""' not in adam and "@optimizer" not in adam and "#" not in adam


@pytest.mark.parametrize("registry", [optimizer, problem, initializer, schedule, stop], ids=lambda r: r.kind)
def test_every_definition_has_its_source(registry):
    for entry in registry:
        assert "def " in texts(registry, entry.name)


def test_a_changed_helper_makes_other_runs_and_a_comment_does_not(monkeypatch):
    def made():
        return {name: Run.make("digits_mlp", name).id for name in ("bfgs", "lbfgs", "adam")}

    def changed(old, new):
        source = definitions._source("suite.optimizers.line_search")
        lines = [line.replace(old, new) for line in source.lines]
        assert lines != source.lines
        monkeypatch.setattr(source, "lines", lines)
        for name in before:
            optimizer.find(name).__dict__.pop("fingerprint", None)

    before = made()
    changed("0.66 * (ay - ap)", "0.67 * (ay - ap)")
    after = made()
    monkeypatch.undo()
    for name in before:
        optimizer.find(name).__dict__.pop("fingerprint", None)
    assert {name for name in before if before[name] != after[name]} == {"bfgs", "lbfgs"}
    assert made() == before


def test_data_that_stay_where_they_are_keep_their_digest():
    made = problem.build(problem.bind("digits_mlp"))
    assert made.to("cpu", torch.float32).train is made.train
    moved = made.to("cpu", torch.float64).train
    assert moved is not made.train and moved.tensors[0].dtype == torch.float64


def test_what_a_file_of_ones_own_takes_of_the_suite_counts(tmp_path, monkeypatch):
    file = tmp_path / "own_search.py"
    file.write_text(
        "from suite.optimizers import line_search\nfrom suite.optimizers.first_order import sgd\n\n\n"
        "def searched(lr=0.1):\n    return line_search.gradient_descent('armijo')\n"
    )

    def prints():
        return Registry("tool", beside=("suite.optimizers",)).find(f"{file}:searched").fingerprint

    def changed(module, old, new):
        source = definitions._source(module)
        lines = [line.replace(old, new) for line in source.lines]
        assert lines != source.lines
        monkeypatch.setattr(source, "lines", lines)
        return prints()

    before = prints()
    assert changed("suite.optimizers.adaptive", "square", "abs") == before
    assert changed("suite.optimizers.line_search", "FARTHEST = 1e-20, 1e20", "FARTHEST = 1e-20, 1e19") != before
    monkeypatch.undo()
    assert prints() == before


def test_it_is_the_same_in_another_process():
    program = "from suite.spec import Run; print(Run.make('batch_norm(mnist_mlp)', 'clip(adam)', 'orthogonal').id)"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and len(found.pop().strip()) == 20


def test_relative_imports_and_modules_of_ones_own_count(tmp_path, monkeypatch):
    package = tmp_path / "own_rules"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("RATE = 1\n")
    (package / "outer.py").write_text("from .inner import RATE\n\n\ndef drill(speed=1.0):\n    return speed * RATE\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def prints():
        return Registry("tool").find("own_rules.outer:drill").fingerprint

    before = prints()
    assert prints() == before
    (package / "inner.py").write_text("RATE = 2\n")
    assert prints() != before
