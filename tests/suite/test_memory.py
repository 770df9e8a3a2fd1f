"""Memory at its peak, where the system tells of it and where it does not."""

from __future__ import annotations

import ctypes
import sys
from typing import NoReturn

import pytest
import torch

from problems.names import UsageError, parse
from problems.problem import problem
from suite import memory
from suite.calibrate import lanes_for
from suite.lanes import lanes_of
from suite.memory import Peak
from suite.optimizers import optimizer
from suite.spec import Run


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a process's peak")
def test_the_peak_is_that_of_what_was_held_at_once() -> None:
    with Peak("cpu") as peak:
        torch.ones(1 << 24).sum()
        torch.ones(1 << 23).sum()
    assert peak.bytes is not None
    assert 0.8 * 2**26 < peak.bytes < 1.7 * 2**26


def test_a_system_without_the_c_librarys_trimming_measures_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(name: str | None) -> NoReturn:
        raise TypeError("argument 1 must be str, not None")  # as on Windows

    monkeypatch.setattr(ctypes, "CDLL", nameless)
    with Peak("cpu") as peak:
        torch.ones(1000).sum()
    assert peak.bytes is None or peak.bytes >= 0


@pytest.mark.parametrize(("lanes", "said"), [(1, "each parameter, would take"), (3, "in each of 3 lanes would take")])
@pytest.mark.parametrize("name", ["newton", "saddle_free_newton", "bfgs", "polyak(bfgs(minibatch=2))"])
def test_matrices_that_do_not_fit_are_refused_by_name(monkeypatch, name, lanes, said):
    """Before anything is computed, with the problem, the number of its parameters, the bytes and what to do."""
    made = problem.build(problem.bind("digits_mlp"))
    specs, theta = [parse(str(optimizer.bind(name)))] * lanes, torch.zeros(lanes, made.size)
    monkeypatch.setattr(memory, "free", lambda device: 10**7)
    with pytest.raises(
        UsageError, match=r"on digits_mlp: matrices of 2,410 x 2,410 numbers.*0\.0 GB are free"
    ) as raised:
        lanes_of(made, specs, theta, list(range(lanes)), 0, "reshuffle")
    assert said in str(raised.value) and "hessian_free" in str(raised.value)
    lanes_of(made, [parse("lbfgs")] * lanes, theta, list(range(lanes)), 0, "reshuffle")


def test_so_many_lanes_go_together_as_their_matrices_allow(monkeypatch):
    assert lanes_for(Run.make("linear_regression", "newton", steps=1), 64) > 8
    dense = lanes_for(Run.make("digits_mlp", "newton", steps=1), 64)
    monkeypatch.setattr(memory, "free", lambda device: 4 * 10**8)
    assert lanes_for(Run.make("digits_mlp", "newton", steps=1), 64) == 2 < dense
    assert dense <= 6 <= lanes_for(Run.make("digits_mlp", "hessian_free", steps=1), 64)
