"""Optimizers of the package pytorch_optimizer by name."""

from __future__ import annotations

import inspect
import sys

import pytest
import torch
from oracles import PlainOracle, path, rosenbrock

from problems.layout import Layout, Piece
from problems.names import UsageError, parse
from problems.selection import left_out, selected
from suite.checks import bowl, check_optimizer, start
from suite.lanes import lanes_of
from suite.optimizers import optimizer
from suite.strategies.noise import key_of

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


def by_hand(make, steps=10, **how):
    """θ after some steps of an instance on the pieces; ``how`` is told to ``backward``."""
    views = [view.clone().requires_grad_() for view in LAYOUT.split(START).values()]
    instance = make(views)
    for _ in range(steps):
        instance.zero_grad()
        loss = rosenbrock(torch.cat([view.flatten() for view in views]))
        loss.backward(**how)
        instance.step(lambda loss=loss: loss)
    return torch.cat([view.detach().flatten() for view in views])


def ours(spec, steps=10):
    oracle = PlainOracle(rosenbrock, LAYOUT)
    return path(optimizer.build(optimizer.bind(spec)), oracle, START, steps)[-1], oracle.calls


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize(("name", "settings"), [("AdaHessian", {}), ("SophiaH", {"update_period": 3})])
def test_those_that_differentiate_gradients_get_hessian_products(name, settings):
    """The same θ as with ``backward(create_graph=True)``, and each product counted."""
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    written = ", ".join(f"{key}={value}" for key, value in settings.items())
    before = torch.get_rng_state()
    end, calls = ours(f"zoo.{name}(lr=0.01, {written})")
    assert torch.equal(torch.get_rng_state(), before)  # random numbers come from a stream of their own
    torch.manual_seed(0)
    torch.set_rng_state(torch.Generator().manual_seed(int(key_of(START))).get_state())
    torch.testing.assert_close(end, by_hand(lambda p: getattr(zoo, name)(p, lr=0.01, **settings), create_graph=True))
    assert calls == {"gradient": 10, "hvp": 10 if name == "AdaHessian" else 4}
    torch.set_rng_state(before)


def test_matrices_and_the_rest_are_groups_for_muon():
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")

    def make(views):
        return zoo.Muon([{"params": views[:1], "use_muon": True}, {"params": views[1:], "use_muon": False}], lr=0.01)

    assert torch.equal(ours("zoo.Muon(lr=0.01)")[0], by_hand(make))


def test_a_closure_is_given_to_those_that_ask_for_one():
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    assert torch.equal(ours("zoo.AliG(max_lr=0.01)")[0], by_hand(lambda p: zoo.AliG(p, max_lr=0.01)))


GIVEN = {"BSAM": "num_data=32", "Ranger21": "num_iterations=20"}
ONLY_MATRICES = {"SpectralSphere"}
STILL = {"SaRA"}  # it trains small weights only, of which there is none
NEEDS = {
    "DeMo": "process group",
    "DistributedMuon": "process group",
    "FAdam": "expected dtype float",  # it trains in float32 only
    "BSAM": "same number of elements",  # a fault of its own
}


@pytest.mark.filterwarnings("ignore")
def test_the_whole_zoo_trains_or_says_why_not():
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    names = [n for n, c in vars(zoo).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)]
    assert len(names) > 100
    made, trained, refused = bowl(), 0, {}
    before = made.loss(start(), made.train.tensors)
    for name in names:
        spec = f"zoo.{name}({GIVEN.get(name, '')})"
        try:
            group = lanes_of(made, [parse(str(optimizer.bind(spec)))], start()[None], [0], 0, "sequential")
        except UsageError as error:
            refused[name] = str(error)
            continue
        for k in range(12):  # AdaShift keeps ten gradients before it moves
            group.step(k)
        if group.errors:
            refused[name] = group.errors[0]
            continue
        assert group.theta.isfinite().all(), name
        assert torch.equal(group.theta[0], start()) == (name in STILL), name
        assert made.loss(group.theta[0], made.train.tensors) < 10 * before, name
        trained += 1
    for name, words in refused.items():
        known = NEEDS.get(name) or ("2D parameters" if name in ONLY_MATRICES else "is made of its")
        assert known in words, (name, words)
    assert trained > 115


def test_a_pattern_stands_for_its_own_classes_that_take_a_step():
    zoo = pytest.importorskip("pytorch_optimizer", reason="the extra 'zoo' is not installed")
    found = {spec.name for spec in selected(optimizer, "zoo.*")}
    without = left_out(optimizer, "zoo.*")
    classes = {n: c for n, c in vars(zoo).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)}
    handed_on = {n for n, c in classes.items() if c.__module__.startswith("torch.")}
    assert len(found) > 100 and not found & set(without)
    assert found | set(without) == {f"zoo.{n}" for n in {*classes} - handed_on - {"BaseOptimizer", "Optimizer"}}
    reasons = {"SpectralSphere": "2D", "Ranger21": "num_iterations must be given", "Lookahead": "made of its optimizer"}
    for name, words in {**reasons, "DeMo": "process group"}.items():
        assert words in without[f"zoo.{name}"]
    assert [str(s) for s in selected(optimizer, "zoo.AdaB*(lr=0.1)")] == [
        "zoo.AdaBelief(lr=0.1)",
        "zoo.AdaBound(lr=0.1)",
    ]


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
    with pytest.raises(UsageError, match=r"zoo\.\* needs the package pytorch_optimizer: pip install"):
        selected(optimizer, "zoo.Ada*")
