"""``sys.exit`` in somebody's definition ends its own runs, with a message; an interrupt ends all."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from suite import engine
from suite.optimizers import optimizer
from suite.spec import Run

OWN = """
    import sys
    import torch
    from problems import problem
    from suite import first_order, optimizer


    @optimizer(tune={})
    def ends(lr: float = 0.1, at: int = 0):
        '''Leaves.'''

        def init(theta):
            return {"t": 0.0}

        def update(g, state, theta):
            sys.exit("enough")

        return first_order(init, update)


    @optimizer(tune={})
    def made(lr: float = 0.1):
        '''Leaves before it is made.'''
        sys.exit(4)


    class Ends(torch.optim.SGD):
        '''Leaves at its second step, by the way of scripts.'''

        def step(self, closure=None):
            self.taken = getattr(self, "taken", 0) + 1
            if self.taken == 2:
                raise SystemExit
            return super().step(closure)


    class Interrupted(torch.optim.SGD):
        '''Is interrupted.'''

        def step(self, closure=None):
            raise KeyboardInterrupt


    def start():
        def draw(made, generator):
            sys.exit(5)

        return draw


    @problem()
    def lost():
        sys.exit(6)
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own_exits.py"
    file.write_text(textwrap.dedent(OWN))
    return file


def trained(runs, jobs=1):
    found = {}
    engine.train(runs, jobs=jobs, on_result=lambda result: found.setdefault(result.run, result))
    return [found[run] for run in runs]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_exits_has_failed_and_nothing_else_has(own, jobs):
    texts = ["sgd(lr=0.1)", f"{own}:ends", f"{own}:Ends", f"{own}:made"]
    runs = [Run.make("quadratic", text, steps=3, eval_every=1, batch_size=0) for text in texts]
    plain, *others = trained(runs, jobs)
    assert plain.status == "done"
    assert [other.status for other in others] == ["failed"] * 3
    assert "SystemExit: enough" in others[0].detail and "own_exits.py, line " in others[0].detail
    assert others[1].detail.startswith("SystemExit") and "own_exits.py, line " in others[1].detail
    assert "SystemExit: 4" in others[2].detail


def test_so_has_a_start(own):
    (found,) = trained([Run.make("digits_logistic", "sgd", f"{own}:start", steps=1, eval_every=1)])
    assert (found.status, "SystemExit: 5" in found.detail) == ("failed", True)


def command(*words, folder):
    words = [sys.executable, "-m", "suite", *words, "--results", str(folder / "results")]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "rule", "code", "words"),
    [
        ("quadratic", "ends", 1, "SystemExit: enough"),
        ("quadratic", "Ends", 1, "SystemExit ("),
        ("lost", "sgd", 2, "cannot be made: SystemExit: 6"),
        ("quadratic", "Interrupted", 130, "interrupted"),
    ],
)
def test_the_command_says_so_and_has_its_own_exit_code(own, tmp_path, problem, rule, code, words):
    texts = [f"{own}:{name}" if name in ("lost", "ends", "Ends", "Interrupted") else name for name in (problem, rule)]
    done = command("run", *texts, "--steps", "3", folder=tmp_path)
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_checks_go_on_after_it(own):
    from suite.checks import check_optimizer

    assert optimizer.find(f"{own}:ends")
    found = {check.name: check for check in check_optimizer(f"{own}:ends")}
    assert not found["takes a step"].holds
    assert "SystemExit: enough" in found["takes a step"].words
