"""What somebody does in the first hour, with the mistakes that are made in it: each is told in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fake_engine import FakeEngine

import suite
from problems.problem import problem
from suite import engine
from suite.cli import cli
from suite.plan import Question, plan

ROOT = Path(__file__).resolve().parents[2]
OWN = """
    import torch
    from suite import first_order, optimizer

    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())

    @optimizer()
    def raises(lr: float = 0.1):
        '''Has a wrong name where it is made.'''
        return first_orderly(lr)

    @optimizer()
    def nothing(lr: float = 0.1):
        '''Forgets what it is to return.'''
"""


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a file of one's own."""
    (tmp_path / "own.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "digits_mlp", "adam(lr=cosin)"), "lr must be a number or a schedule, got cosin; did you mean cosine"),
        (("run", "digits_mlp", "adam(lr=0.1"), "expected ',' or ')', found the end"),
        (("compare", "--optimizers", "adam sgd"), "'adam sgd': expected a comma or the end, found 'sgd'"),
        (("compare", "digits_mlp", "adam"), "names come by options, as in --problems digits_mlp --optimizers adam,sgd"),
        (("compare", "--epochs", "2", "--steps", "9"), "compare: give steps or epochs, not both"),
        (("compare", "--epochs", "-1"), "compare: epochs must be >= 0, got -1"),
        (("run", "digits_mlp", "adam", "--device", "gpu"), "torch knows no device 'gpu'; its name for one is cuda"),
        (("run", "own.py:net", "adam"), "own.py:net is a Sequential, not a factory of a problem; write a function with "
         "@problem() that returns one, such as Problem.from_module(net, loss, (x, y))"),
        (("run", "digits_mlp", "own.py:net"), "with @optimizer() that returns one, such as first_order(init, update)"),
        (("run", "digits_mlp", "own.py:nothing"),
         "own.py:nothing must return an Optimizer, as first_order(init, update) does; got NoneType"),
        (("compare", "--problems", "digits_mlp", "--batch-size", "32", "--optimizers", "own.py:raises,adam"),
         "own.py:raises cannot be made: NameError: name 'first_orderly' is not defined ("),
        (("run", "digits_mlp", "clip(polyak(bfgs))", "--batch-size", "32"), "clip: the optimizer weighs losses"),
        (("trace", "digits_mlp", "polyak(clip(bfgs))", "--batch-size", "32"), "clip: the optimizer weighs losses"),
        (("run", "table_mlp('.')", "adam"), ".: is a folder, and a file is needed; hub_mlp reads folders of images"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_what_to_do(own: Path, words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code == 2 and done.stdout == ""
    assert said in done.stderr
    assert "inside the suite" not in done.stderr and "Traceback" not in done.stderr


def test_a_folder_of_images_is_taken_for_no_set_of_torchvision(own: Path) -> None:
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    (own / "photos").mkdir()
    said = call("run", "vision_mlp('photos')", "adam").stderr
    assert "torchvision has no set 'photos'; " in said and "a folder of images is read by hub_mlp('photos')" in said
    assert len(said) < 200, "all sets are not listed"


@pytest.mark.parametrize("command", ["", *cli.commands])
def test_help_is_whole(command: str) -> None:
    text = call(*filter(None, [command]), "--help").stdout
    assert "None" not in text
    if not command:
        told = text.partition("Commands:")[2]
        assert "..." not in told
        assert re.findall(r"^  (\w+)", told, re.MULTILINE) == list(cli.commands)


def test_epochs_of_a_comparison_are_those_of_each_problem() -> None:
    made = plan(Question("digits_mlp, linear_regression", "adam, rprop", initializers="default", epochs=2))
    for contestant in made.contestants:
        task, whole = contestant.task, str(contestant.optimizer) == "rprop"
        assert contestant.full_batch == whole
        assert contestant.steps == 2 * (1 if whole else len(task.made.train) // task.batch_size)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seeds": "five"}, "compare: seeds must be a whole number, got 'five'"),
        ({"steps": 30.0}, "compare: steps must be a whole number, got 30.0"),
        (
            {"optimizers": [print]},
            "optimizers are called by their names, as in 'adam' or 'mine.py:Mine', got <built-in",
        ),
    ],
)
def test_a_program_is_told_what_a_value_must_be(tmp_path: Path, asked: dict[str, object], said: str) -> None:
    with pytest.raises(suite.UsageError) as told:
        suite.compare("digits_mlp", **{"optimizers": "adam", "results": str(tmp_path), **asked})
    assert said in str(told.value)


def test_progress_that_nobody_reads_ends_no_run(tmp_path: Path) -> None:
    """As behind ``2>&1 | head``."""
    heard, told = os.pipe()
    os.close(heard)
    words = "compare --problems digits_mlp --optimizers sgd --initializers default --trials 2 --seeds 5 --steps 20"
    command = [sys.executable, "-m", "suite", *words.split(), "--jobs", "1", "--results", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=told, text=True, env=environment, check=False)
    os.close(told)
    assert done.returncode == 0 and "failed" not in done.stdout
    assert "digits_mlp: sgd lr=" in done.stdout and "is alone" in done.stdout


def test_numbers_of_numpy_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "train", FakeEngine())
    table = suite.compare(
        "digits_mlp", "adam", seeds=np.int64(5), trials=2, steps=20, results=str(tmp_path), quiet=True
    )
    assert set(table["n"]) == {5}


def test_the_problem_of_the_readme_is_one(own: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(# ours.py\n.*?)```", text, re.DOTALL)
    (own / "ours.py").write_text(example)
    (asked,) = re.findall(r'--problems "(ours[^"]*)"', text)
    made = [problem.build(problem.bind(spec)) for spec in asked.split(", ")]
    assert [len(each.layout) for each in made] == [4, 4] and made[0].layout.size < made[1].layout.size
    done = call("run", "ours.py:ring", "adam(lr=0.03)", "--quiet", "--json", "--results", str(own))
    assert done.exit_code == 0, done.output
    checked = call("check", "ours.py:ring")
    assert checked.exit_code == 0, checked.stdout
