"""Optimizers of the package pytorch_optimizer by name."""

from __future__ import annotations

import sys

import pytest
import torch
from oracles import PlainOracle, path, rosenbrock

from problems.layout import Layout, Piece
from problems.names import UsageError
from suite.checks import check_optimizer
from suite.optimizers import optimizer

START = torch.tensor([-1.2, 1.0, 0.3, -0.4, 0.5, 0.9], dtype=torch.float64)
LAYOUT = Layout((Piece("matrix", (2, 2), "weight", 2, 2), Piece("vector", (2,), "bias")))


def test_same_bits_as_by_hand():
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    views = [view.clone().requires_grad_() for view in LAYOUT.split(START).values()]
    instance = zoo.SOAP(views, lr=0.01)
    for _ in range(10):
        instance.zero_grad()
        rosenbrock(torch.cat([view.flatten() for view in views])).backward()
        instance.step()
    made = optimizer.build(optimizer.bind("zoo.SOAP(lr=0.01)"))
    end = path(made, PlainOracle(rosenbrock, LAYOUT), START, 10)[-1]
    assert torch.equal(end, torch.cat([view.detach().flatten() for view in views]))


@pytest.mark.parametrize("name", ["Lion", "SOAP", "Shampoo", "Prodigy", "AdaBelief"])
def test_keeps_the_contract(name):
    pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    broken = [f"{check.name}: {check.words}" for check in check_optimizer(f"zoo.{name}") if not check.holds]
    assert not broken, "\n".join(broken)


def test_unknown_names_get_a_suggestion():
    pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    with pytest.raises(UsageError, match=r"pytorch_optimizer has no such optimizer; did you mean zoo\.Lion\?"):
        optimizer.find("zoo.Lionn")


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(UsageError, match=r"zoo\.Lion9 needs the package pytorch_optimizer: pip install"):
        optimizer.find("zoo.Lion9")
