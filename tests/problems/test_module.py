"""Anyone's ``torch.nn.Module`` as a problem, and those that cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from problems import Problem, UsageError, problem
from problems.problem import Data
from problems.transforms.normalization import batch_norm

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(64, 1, 8, 8, generator=GENERATOR), torch.randint(0, 3, (64,), generator=GENERATOR)


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 3))
    )


def make(module: nn.Module, **rest: object) -> Problem:
    return Problem.from_module(module, nn.functional.cross_entropy, (X, Y), name="mine", **rest)


def test_value_and_gradient_are_the_modules() -> None:
    module = net()
    p = make(module)
    theta = p.layout.join({name: value.detach() for name, value in module.named_parameters()}).requires_grad_()
    loss = p.loss(theta, (X, Y))
    (g,) = torch.autograd.grad(loss, theta)
    expected = nn.functional.cross_entropy(module(X), Y)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    grads = p.layout.join({name: value.grad for name, value in module.named_parameters()})
    assert torch.allclose(g, grads, atol=1e-6)


def test_layout_has_names_shapes_and_roles() -> None:
    p = make(net())
    assert [(piece.name, piece.role) for piece in p.layout] == [
        *(("0.weight", "weight"), ("0.bias", "bias"), ("3.weight", "scale"), ("3.bias", "bias")),
        *(("4.weight", "weight"), ("4.bias", "bias")),
    ]
    kernel = p.layout.named("0.weight")
    assert (kernel.fan_in, kernel.fan_out) == (9, 36)
    assert set(p.layout.named("3.weight").fill) == {1.0}


def test_layers_that_run_once_are_hidden_but_for_the_last() -> None:
    p = make(net())
    assert p.hidden == ("0",) and make(nn.Sequential(nn.Flatten(), nn.Linear(64, 3))).hidden == ()
    theta = p.start(torch.Generator().manual_seed(0))
    seen = {}

    def between(name: str, sums: Tensor) -> Tensor:
        seen[name] = sums.shape
        return 0 * sums

    silenced = p.outputs(p.layout.split(theta), (X, Y), between)
    assert seen == {"0": (64, 4, 4, 4)}
    assert torch.allclose(silenced, silenced[:1].expand_as(silenced))  # no input gets past a hidden layer of zeros
    shared = nn.Linear(64, 64)
    assert make(nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared, nn.Linear(64, 3))).hidden == ()


def test_batch_norm_of_a_module() -> None:
    p = batch_norm(make(net()))
    theta = p.start(torch.Generator().manual_seed(0))
    shifted = p.layout.split(theta.clone())
    shifted["0.weight"] *= 3
    assert torch.allclose(p.loss(theta, (X, Y)), p.loss_of(shifted, (X, Y)), atol=1e-4)


def test_start_is_drawn_by_the_layers_and_leaves_the_global_generator_alone() -> None:
    p = make(net())
    assert p.start is not None
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a, b = (p.start(torch.Generator().manual_seed(seed)) for seed in (7, 8))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(a, p.start(torch.Generator().manual_seed(7)))
    assert not torch.equal(a, b)
    assert p.layout.split(a)["4.weight"].abs().max() <= 1 / 8


def test_lanes_have_the_bits_of_the_run_alone() -> None:
    p = make(net())
    assert p.start is not None
    thetas = [p.start(torch.Generator().manual_seed(seed)) for seed in range(5)]
    stride = -(-p.size // 16) * 16
    rows = torch.zeros(5, stride)[:, : p.size]
    rows.copy_(torch.stack(thetas))

    def gradient(matrix: Tensor) -> list[Tensor]:
        pieces = {k: v.detach().requires_grad_() for k, v in p.layout.split(matrix).items()}
        losses = torch.vmap(p.loss_of, in_dims=(0, None))(pieces, (X, Y))
        return list(torch.autograd.grad(losses.sum(), list(pieces.values())))

    together = gradient(rows)
    for lane in range(5):
        only = torch.zeros(1, stride)[:, : p.size].copy_(rows[lane : lane + 1])
        assert all(torch.equal(a[lane], b[0]) for a, b in zip(together, gradient(only), strict=True))


def test_module_is_copied_and_converts_to_float64() -> None:
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)).eval()
    p = make(module, valid=Data((X, Y)), epochs=3, batch_size=16)
    with torch.no_grad():
        module[2].weight.zero_()
    double = p.to("cpu", torch.float64)
    assert p.start is not None
    theta = p.start(torch.Generator().manual_seed(0))
    assert p.predict({**p.layout.split(theta), **p.fixed}, (X, Y)).abs().max() > 0
    assert double.loss(theta.double(), double.train.tensors).dtype == torch.float64
    assert (p.epochs, p.batch_size, list(p.splits)) == (3, 16, ["train", "valid"])


class Counter(nn.Module):
    """Keeps a state that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = nn.Linear(64, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x.flatten(1)) * self.calls


class Branching(nn.Module):
    """Looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x.flatten(1))
        return y if y.sum() > 0 else -y


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)), r"changes 1\.running_mean.*use \.eval"),
        (nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)), "draws random numbers"),
        (Counter(), "keeps a state"),
        (Branching(), "cannot run in lanes"),
        (nn.Flatten(), "no parameters"),
    ],
)
def test_what_is_not_pure_is_refused_with_the_reason(module: nn.Module, reason: str) -> None:
    with pytest.raises(UsageError, match=f"mine: .*{reason}"):
        make(module)


def test_frozen_parameters_are_not_trained() -> None:
    module = net()
    module[0].weight.requires_grad_(False)
    p = make(module)
    assert "0.weight" not in [piece.name for piece in p.layout]
    assert "0.weight" in p.fixed


FILE = '''
import torch
from torch import nn
from problems import Problem, problem

@problem(source="mine", embedded=True)
def mine(width: int = 4):
    """Mine."""
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    module = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    return Problem.from_module(module, nn.functional.mse_loss, (x, x.sum(1, keepdim=True)))
'''


def test_ten_lines_in_a_file_make_a_problem(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    p = problem.build(problem.bind(f"{tmp_path}/mine.py:mine(width=6)"))
    assert p.size == 3 * 6 + 6 + 6 + 1
    assert p.name == "Sequential"
