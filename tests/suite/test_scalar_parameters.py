"""A module with a parameter that is a single number, such as a learned temperature."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from analysis.objective import of_module
from analysis.operators import hessian
from problems import Problem
from suite.lanes import lanes_of
from suite.optimizers import optimizer

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 2


class Tempered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.linear = nn.Linear(3, 2)
        self.heat = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.heat.exp()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_it_trains_as_by_hand(name: str) -> None:
    module = Tempered()
    made = Problem.from_module(module, nn.functional.cross_entropy, (X, Y), batch_size=20)
    start = made.layout.join({name: value.detach() for name, value in module.named_parameters()})
    lanes = lanes_of(made, [optimizer.bind(f"torch.{name}(lr=0.1)")], start[None].clone(), [0], 0, "sequential")
    instance = getattr(torch.optim, name)(module.parameters(), lr=0.1)
    for k in range(10):
        lanes.step(k)
        instance.zero_grad()
        nn.functional.cross_entropy(module(X), Y).backward()
        instance.step()
    end = made.layout.join({name: value.detach() for name, value in module.named_parameters()})
    assert not lanes.errors
    torch.testing.assert_close(lanes.theta[0], end, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spec", ["shampoo", "soap", "muon", "lars", "lamb"])
def test_rules_that_go_by_layers_take_it_for_a_vector(spec: str) -> None:
    made = Problem.from_module(Tempered(), nn.functional.cross_entropy, (X, Y), batch_size=20)
    start = torch.full((1, made.size), 0.5)
    lanes = lanes_of(made, [optimizer.bind(spec)], start.clone(), [0], 0, "sequential")
    for k in range(3):
        lanes.step(k)
    assert not lanes.errors
    assert bool(lanes.theta.isfinite().all())
    assert lanes.theta[0, made.layout.spans["heat"][0]] != 0.5


def test_its_row_of_the_hessian() -> None:
    module = Tempered().double()
    made = of_module(module, nn.CrossEntropyLoss(), (X.double(), Y))
    exact = torch.func.hessian(lambda theta: made.loss(made.split(theta), (X.double(), Y)))(made.theta)
    torch.testing.assert_close(hessian(made).dense(), exact)
