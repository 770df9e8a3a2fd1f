"""Problems of one's own, with the mistakes that are made in them: each is told, by name and line."""

from __future__ import annotations

import textwrap

import pytest
import torch
from torch import nn
from torch.nn import functional

from problems import UsageError, problem
from problems.problem import Problem

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
LABELS = (X[:, 0] > 0).long()
TARGETS = X.sum(1, keepdim=True)


def net(*, inputs=5, outputs=2, inplace=False):
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(inplace=inplace), nn.Linear(8, outputs))


@pytest.mark.parametrize(
    ("module", "loss", "data", "words"),
    [
        (
            net(inputs=6),
            functional.cross_entropy,
            (X, LABELS),
            r"the loss of the first examples, \(4, 5\) of float32, \(4,\) of",
        ),
        (net(), functional.cross_entropy, (X, LABELS + 1), "cannot be computed: IndexError: Target 2 is out of bounds"),
        (net(), nn.CrossEntropyLoss, (X, LABELS), "cannot be computed"),
        (net(), nn.CrossEntropyLoss(reduction="none"), (X, LABELS), r"reduction='mean'\), got shape \(4,\)"),
        (net(), nn.CrossEntropyLoss(reduction="sum"), (X, LABELS), "of every example twice it is twice as large"),
        (net(outputs=1), functional.mse_loss, (X, TARGETS[:, 0]), "Using a target size"),
        (
            net(),
            functional.cross_entropy,
            (X.where(X[3, 1] != X, torch.nan), LABELS),
            "train: inputs of 1 of 40 examples are not finite, first of example 3",
        ),
        (net(), functional.cross_entropy, X, r"must be \(inputs, targets\), got one tensor of shape \(40, 5\)"),
        (lambda x: x, functional.cross_entropy, (X, LABELS), "a module must be a torch.nn.Module"),
    ],
)
def test_what_is_wrong_with_a_module_problem_is_said(module, loss, data, words):
    with pytest.raises(UsageError, match=words):
        Problem.from_module(module, loss, data)


@pytest.mark.parametrize("kind", [lambda t: t.double(), lambda t: t.double().numpy()])
def test_arrays_and_doubles_are_taken_as_they_come(kind):
    made = Problem.from_module(net(), functional.cross_entropy, (kind(X), LABELS)).to("cpu", torch.float32)
    plain = Problem.from_module(net(), functional.cross_entropy, (X, LABELS))
    theta = torch.linspace(-1, 1, plain.size)
    assert torch.equal(made.loss(theta, made.train.tensors), plain.loss(theta, plain.train.tensors))


def test_layers_that_work_in_place_have_a_gradient():
    inplace, plain = (
        Problem.from_module(net(outputs=1, inplace=how), functional.mse_loss, (X, TARGETS)) for how in (True, False)
    )
    theta = torch.linspace(-1, 1, plain.size)
    gradients = [torch.func.grad(made.loss)(theta, made.train.tensors) for made in (inplace, plain)]
    assert torch.equal(*gradients)
    leaf = theta.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(inplace.loss(leaf, inplace.train.tensors), leaf)[0], gradients[1])


OWN = """
    import torch
    from torch import nn
    from problems import Problem, problem

    X = torch.ones(40, 3)

    @problem()
    def raises():
        '''Raises.'''
        made = {}
        return made["nothing"]

    @problem()
    def nothing():
        '''Forgets to return.'''

    @problem()
    def attention():
        '''Has parameters that only their making draws.'''
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.randn(3, 1))
            def forward(self, x):
                return x @ self.w
        return Problem.from_module(Net(), nn.functional.mse_loss, (X, X[:, :1]))

    @problem()
    def draws():
        '''Draws its data from the global generator.'''
        x = torch.randn(40, 3)
        return Problem.from_module(nn.Linear(3, 1), nn.functional.mse_loss, (x, x[:, :1]))
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(textwrap.dedent(OWN))
    return str(file)


def made(name):
    return problem.build(problem.bind(name))


def test_what_a_factory_raises_is_told_with_its_line(own):
    with pytest.raises(UsageError, match=r"own.py:raises cannot be made: KeyError: 'nothing' \(line 12\)"):
        made(f"{own}:raises")
    with pytest.raises(UsageError, match=r"own.py:raises cannot be made"):
        made(f"batch_norm({own}:raises)")
    with pytest.raises(UsageError, match=r"own.py:nothing must return a Problem, .* got NoneType"):
        made(f"{own}:nothing")


def test_what_a_factory_draws_is_the_same_each_time(own):
    before = torch.get_rng_state()
    first, again = (made(f"{own}:draws") for _ in range(2))
    assert first.train.fingerprint == again.train.fingerprint
    starts = [
        one.start(torch.Generator().manual_seed(0)) for one in (made(f"{own}:attention"), made(f"{own}:attention"))
    ]
    assert torch.equal(*starts)
    assert torch.equal(before, torch.get_rng_state())


def test_a_file_may_import_what_lies_beside_it_and_stands_on_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("WIDTH = 3\n")
    file = tmp_path / "importing.py"
    file.write_text(
        "from beside_it import WIDTH\nfrom problems import problem\n\n@problem()\ndef mine():\n    return WIDTH\n"
    )
    entry = problem.find(f"{file}:mine")
    assert entry.factory() == 3
    other = problem._of_reference(f"{file}:mine")
    assert other.fingerprint == entry.fingerprint
    (tmp_path / "beside_it.py").write_text("WIDTH = 4\n")
    assert problem._of_reference(f"{file}:mine").fingerprint != entry.fingerprint


def test_names_of_another_kind_and_another_case_are_told():
    from suite.optimizers import optimizer

    with pytest.raises(UsageError, match=r"digits_mlp is a problem, not an optimizer"):
        optimizer.find("digits_mlp")
    with pytest.raises(UsageError, match=r"unknown optimizer 'SGD'; did you mean sgd?"):
        optimizer.find("SGD")
    with pytest.raises(UsageError, match=r"mine.py: name an optimizer in it, as in mine.py:Name"):
        optimizer.find("mine.py")
