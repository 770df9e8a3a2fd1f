"""Classes of torch.optim through the adapter, against the same classes used by hand."""

from __future__ import annotations

import pytest
import torch
from oracles import PlainOracle, path, rosenbrock

from problems.layout import Layout, Piece
from problems.names import UsageError
from problems.selection import left_out, selected
from suite.optimizers import optimizer
from suite.optimizers._torch_optim import adapt, first_fault

START = torch.tensor([-1.2, 1.0, 0.3, -0.4, 0.5, 0.9], dtype=torch.float64)
PIECES = Layout((Piece("matrix", (2, 2), "weight", 2, 2), Piece("vector", (2,), "bias")))


def by_hand(make, steps, closure=False):
    theta = START.clone().requires_grad_()
    instance = make([theta])
    points = [theta.detach().clone()]

    def evaluate():
        instance.zero_grad()
        loss = rosenbrock(theta)
        loss.backward()
        return loss

    for _ in range(steps):
        if closure:
            instance.step(evaluate)
        else:
            evaluate()
            instance.step()
        points.append(theta.detach().clone())
    return torch.stack(points)


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("torch.AdamW(lr=0.01, weight_decay=0.1)", lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
        ("torch.Rprop(lr=0.001)", lambda p: torch.optim.Rprop(p, lr=0.001)),
        ("torch.SGD(lr=0.0005, momentum=0.9)", lambda p: torch.optim.SGD(p, lr=0.0005, momentum=0.9)),
        ("torch.NAdam(lr=0.01, betas=(0.8, 0.9))", lambda p: torch.optim.NAdam(p, lr=0.01, betas=(0.8, 0.9))),
    ],
)
def test_same_bits_as_by_hand(spec, make):
    points = path(optimizer.build(optimizer.bind(spec)), PlainOracle(rosenbrock), START, 20)
    assert torch.equal(torch.stack(points), by_hand(make, 20))


def test_a_closure_is_given_to_those_that_need_one():
    oracle = PlainOracle(rosenbrock)
    points = path(optimizer.build(optimizer.bind("torch.LBFGS(lr=0.1, max_iter=5)")), oracle, START, 4)
    hand = by_hand(lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=5), 4, closure=True)
    assert torch.equal(torch.stack(points), hand)
    assert oracle.calls["gradient"] > 4


def test_theta_changes_in_place_and_is_returned():
    theta = START.clone()
    made = optimizer.build(optimizer.bind("torch.SGD(lr=0.001)"))
    oracle = PlainOracle(rosenbrock)
    version = theta._version
    new, state = made.step(oracle, made.init(oracle, theta), theta)
    assert new is theta
    assert theta._version > version  # others that look at θ notice
    assert not torch.equal(theta, START)
    elsewhere = START.clone()
    new, _ = made.step(oracle, state, elsewhere)  # a strategy put θ elsewhere
    torch.testing.assert_close(new, START - 0.001 * torch.func.grad(rosenbrock)(START))


def test_a_schedule_reaches_the_param_groups():
    oracle, theta = PlainOracle(lambda theta: theta.sum()), torch.zeros(3)
    state = adapt(torch.optim.SGD, {"lr": 1.0, "momentum": 0.0}).init(oracle, theta)
    for lr in (1.0, 0.5, 0.25):
        theta, state = adapt(torch.optim.SGD, {"lr": lr, "momentum": 0.0}).step(oracle, state, theta)
    assert theta.tolist() == [-1.75] * 3


def test_what_the_optimizer_changes_by_itself_stays():
    class Halving(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["lr"] /= 2

    points = path(adapt(Halving, {"lr": 1.0}), PlainOracle(lambda theta: theta.sum()), torch.zeros(1), 3)
    assert [point.item() for point in points] == [0.0, -1.0, -1.5, -1.75]


def test_pieces_keep_their_shapes():
    seen = []

    class Looking(torch.optim.SGD):
        def step(self, closure=None):
            seen.append([(tuple(p.shape), tuple(p.grad.shape)) for p in self.param_groups[0]["params"]])
            return super().step(closure)

    oracle = PlainOracle(rosenbrock, PIECES)
    points = path(adapt(Looking, {"lr": 0.001}), oracle, START, 3)
    assert seen[0] == [((2, 2), (2, 2)), ((2,), (2,))]
    assert torch.equal(torch.stack(points), by_hand(lambda p: torch.optim.SGD(p, lr=0.001), 3))


def test_gradients_may_be_changed_by_the_optimizer():
    fixed = torch.ones(3)

    class Constant:
        def gradient(self, theta):
            return theta.sum(), fixed

    class Spoiling(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["params"][0].grad.zero_()

    path(adapt(Spoiling, {"lr": 1.0}), Constant(), torch.zeros(3), 2)
    assert fixed.tolist() == [1.0] * 3


def test_refused_settings_and_shapes_name_the_class():
    oracle = PlainOracle(rosenbrock)
    with pytest.raises(UsageError, match=r"torch Adam\(lr=-1.0\) cannot be made: Invalid learning rate"):
        adapt(torch.optim.Adam, {"lr": -1.0}).init(oracle, START.clone())
    with pytest.raises(UsageError, match=r"Muon.*2D"):
        optimizer.build(optimizer.bind("torch.Muon(lr=0.1)")).init(oracle, START.clone())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("torch.Adam(lr=-1)", r"^torch\.Adam: Adam\(lr=-1\.0\) cannot be made: Invalid learning rate: -1\.0$"),
        ("torch.Adam(betas=(0.9, 1.5))", "Invalid beta parameter at index 1: 1.5"),
        ("torch.SGD(nesterov=True)", "Nesterov momentum requires a momentum"),
        ("polyak(clip(torch.RMSprop(alpha=-0.5)))", r"^torch\.RMSprop: .* Invalid alpha value: -0\.5"),
        ("torch.Adam(lr=linear(-1.0))", r"Adam\(lr=linear\(.*\) cannot be made: Invalid learning rate: -1"),
        ("torch.Muon(lr=-2)", "Learning rate should be >= 0"),  # which takes matrices alone
        ("torch.LBFGS(line_search_fn='armijo')", None),  # seen at the first step only
        ("torch.Muon(lr=2)", None),
        ("torch.Adam(lr=cosine(0.1, steps=10))", None),
    ],
)
def test_settings_that_the_class_refuses_are_told_before_anything_runs(text, message):
    if message is None:
        assert optimizer.bind(text)
        return
    with pytest.raises(UsageError, match=message):
        optimizer.bind(text)


def test_so_are_those_of_a_class_of_ones_own(tmp_path):
    file = tmp_path / "careful.py"
    file.write_text(
        "import torch\nclass Careful(torch.optim.SGD):\n    def __init__(self, params, lr: float, odd: float = 1.0):\n"
        "        if lr > 10 or odd % 2 == 0:\n            raise TypeError(f'too much: {lr}, {odd}')\n"
        "        super().__init__(params, lr=lr)\n"
        "class Broken(torch.optim.SGD):\n    def __init__(self, params, lr=1.0, other=2.0):\n"
        "        raise KeyError(other)\n"
    )
    for settings in ("lr=11.0", "lr=0.1, odd=2.0", "lr=11.0, odd=3.0"):
        with pytest.raises(UsageError, match=r"careful.py:Careful: Careful\(.*\) cannot be made: too much: "):
            optimizer.bind(f"{file}:Careful({settings})")
    assert optimizer.bind(f"{file}:Careful(lr=0.1, odd=3.0)")
    assert optimizer.bind(f"{file}:Broken(other=3.0)")  # it is not for its settings that it cannot be made


def test_defaults_and_rates_that_tuning_tries_need_no_instance(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("asked")

    monkeypatch.setattr("suite.optimizers._torch_optim.refusal", never)
    for text in ("torch.Adam", "torch.Adam(lr=0.1)", "torch.Adam(0.00001, weight_decay=0.0)"):
        optimizer.bind(text)
    with pytest.raises(AssertionError):
        optimizer.bind("torch.Adam(lr=0.1, weight_decay=0.1)")


def test_a_required_setting_must_be_given(tmp_path):
    file = tmp_path / "needy.py"
    file.write_text(
        "import torch\nclass Needy(torch.optim.SGD):\n    def __init__(self, params, lr: float):\n"
        "        super().__init__(params, lr=lr)\n"
    )
    with pytest.raises(UsageError, match="lr must be given"):
        optimizer.bind(f"{file}:Needy")
    assert optimizer.bind(f"{file}:Needy(lr=0.1)").options == {"lr": 0.1}


def test_unknown_class_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"did you mean torch\.Adam"):
        optimizer.bind("torch.Adm")


def test_a_pattern_stands_for_the_classes_that_take_a_step():
    """All of torch.optim, without the class that they are made of; what is named keeps its own error."""
    found = [spec.name for spec in selected(optimizer, "torch.*")]
    without = left_out(optimizer, "torch.*")
    classes = [name for name, kind in vars(torch.optim).items() if isinstance(kind, type)]
    ours = {f"torch.{n}" for n in classes if issubclass(getattr(torch.optim, n), torch.optim.Optimizer)}
    assert {*found, *without} == ours - {"torch.Optimizer"}
    assert set(without) == {"torch.SparseAdam", "torch.Muon"}
    assert "does not support dense gradients" in without["torch.SparseAdam"]
    assert "only supports 2D" in without["torch.Muon"]
    assert found == sorted(found) and {"torch.Adam", "torch.LBFGS", "torch.SGD"} < set(found)
    assert optimizer.bind("torch.SparseAdam").name == "torch.SparseAdam"


def test_trying_a_class_leaves_no_trace(recwarn):
    torch.manual_seed(0)
    before = torch.get_rng_state()

    class Drawing(torch.optim.SGD):
        def step(self, closure=None):
            import warnings

            warnings.warn("noise", stacklevel=1)
            torch.rand(3)
            return super().step(closure)

    assert first_fault(adapt(Drawing, {"lr": 0.1})) == ""
    assert torch.equal(torch.get_rng_state(), before) and not recwarn.list
