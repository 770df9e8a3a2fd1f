"""What every problem of the registry must keep, built-in or added."""

from __future__ import annotations

import functools
import inspect
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from problems import Problem, problem
from problems.data.catalog import source
from problems.problem import Batch

FEW, MANY = 4, 35  # lanes; many where a problem is so small that several lanes share one vector register
NAMES = problem.names()
# Smaller versions of problems that are too large to be walked through in a moment, and files for those that read one.
SMALLER = {
    "batch_norm": "batch_norm(digits_mlp)",
    "annealed": "annealed(digits_mlp)",
    "auxiliary_heads": "auxiliary_heads(digits_deep_mlp(depth=4))",
    "continuation": "continuation(digits_mlp)",
    "skip_connections": "skip_connections(digits_deep_mlp(depth=4))",
    "curriculum": "curriculum(digits_mlp)",
    "l2": "l2(digits_mlp, decay=0.1)",
    "label_smoothing": "label_smoothing(digits_mlp)",
    "adding_lstm": "adding_lstm(length=8, sequences=256)",
    "adding_rnn": "adding_rnn(length=8, sequences=256)",
    "copy_lstm": "copy_lstm(delay=3, symbols=2, sequences=256)",
    "copy_rnn": "copy_rnn(delay=3, symbols=2, sequences=256)",
    "mnist_pixels_lstm": "mnist_pixels_lstm(every=49)",
    "shakespeare_lstm": "shakespeare_lstm(length=6, embedding=16, hidden=32)",
    "text_lstm": "text_lstm(file={text}, length=6, embedding=16, hidden=32)",
    "mnist_mlp": "mnist_mlp(hidden=(64, 32))",
    "fashion_mnist_mlp": "fashion_mnist_mlp(hidden=(64, 32))",
    "kmnist_mlp": "kmnist_mlp(hidden=(64, 32))",
    "cifar10_mlp": "cifar10_mlp(hidden=(32,))",
    "hub_mlp": "hub_mlp(dataset={csv}, inputs='a,b', target='kind', hidden=(8,))",
    "mnist_denoising": "mnist_denoising(hidden=(32,))",
    "table_mlp": "table_mlp(file={table}, hidden=(8,))",
    "table_logistic": "table_logistic(file={table})",
}


@functools.cache
def table() -> str:
    """A table in a file, for the problems that read one of the user's."""
    path = Path(tempfile.mkdtemp()) / "table.npz"
    x = np.random.RandomState(0).normal(size=(400, 5))
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(float) + (x[:, 1] > 0))
    return repr(str(path))


@functools.cache
def csv() -> str:
    """The same with a header."""
    pytest.importorskip("datasets")
    path = Path(tempfile.mkdtemp()) / "table.csv"
    rows = [f"{a},{b},{int(a > b)}" for a, b in np.random.RandomState(0).normal(size=(100, 2))]
    path.write_text("a,b,kind\n" + "\n".join(rows))
    return repr(str(path))


@functools.cache
def text() -> str:
    """The same for text."""
    path = Path(tempfile.mkdtemp()) / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 100)
    return repr(str(path))


def needs_argument(name: str) -> bool:
    return any(parameter.required for parameter in problem.find(name).parameters)


@functools.cache
def built(name: str) -> Problem:
    data = problem.find(name).meta.get("data")
    if data is not None and source(data).where() is None:
        pytest.skip(f"{name} needs the data set {data}, which is not on this machine")
    if name not in SMALLER and needs_argument(name):
        pytest.skip(f"{name} needs a data set of the user's; its own test makes one")
    files = {"table": table, "text": text, "csv": csv}
    spec = SMALLER.get(name, name)
    return problem.build(
        problem.bind(spec.format(**{key: make() for key, make in files.items() if f"{{{key}}}" in spec}))
    )


def started(p: Problem, seed: int) -> Tensor:
    assert p.start is not None, f"{p.name} has no start"
    return p.start(torch.Generator().manual_seed(seed))


def batch(p: Problem, index: int, size: int | None = None) -> Batch:
    size = min(size or p.batch_size, len(p.train))
    first = index * size % (len(p.train) - size + 1)
    return tuple(t[first : first + size] for t in p.train.tensors)


def rows(thetas: list[Tensor]) -> Tensor:
    """θ of all lanes as rows that start on multiples of 64 bytes, as the runner keeps them."""
    stride = -(-len(thetas[0]) // 16) * 16
    matrix = thetas[0].new_zeros(len(thetas), stride)[:, : len(thetas[0])]
    for row, theta in zip(matrix, thetas, strict=True):
        row.copy_(theta)
    return matrix


def gradient(p: Problem, theta: Tensor, batches: Batch) -> tuple[Tensor, Tensor]:
    """The losses [lanes] and gradients [lanes, D] of lanes under vmap."""
    pieces = {name: view.detach().requires_grad_() for name, view in p.layout.split(theta).items()}
    losses = torch.vmap(p.loss_of)(pieces, batches)
    grads = torch.autograd.grad(losses, list(pieces.values()), torch.ones_like(losses))
    return losses.detach(), p.layout.join(dict(zip(pieces, grads, strict=True)))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", NAMES)
def test_is_documented(name: str) -> None:
    entry = problem.find(name)
    text = inspect.getdoc(entry.factory) or ""
    assert entry.summary and len(text.splitlines()[0]) <= 120
    assert "Source:" in text and entry.meta.get("source"), f"{name}: say where the definition comes from"
    # what a test runner without the data must be able to know
    known = entry.meta.get("embedded") or entry.meta.get("data") or needs_argument(name)
    assert known, f"{name}: data='...', embedded=True, or a file that must be given"


@pytest.mark.parametrize("name", NAMES)
def test_describes_what_it_claims(name: str) -> None:
    p = built(name)
    assert p.name.partition("(")[0] == name and p.size == started(p, 0).numel()
    assert p.target is None or p.target.origin
    if p.target is not None:
        split, _, measure = p.target.measure.partition("_")
        assert split in p.splits and measure in p.measure(started(p, 0), batch(p, 0))
        assert p.better(p.target.measure) == p.target.better
    assert p.minimum is None or p.minimum.origin
    for piece in p.layout:
        assert piece.role != "weight" or (piece.fan_in > 0 and piece.fan_out > 0)


@pytest.mark.parametrize("name", NAMES)
def test_start_is_finite_and_depends_on_the_seed_alone(name: str) -> None:
    p = built(name)
    theta = started(p, 3)
    assert theta.dtype == torch.float32 and torch.equal(theta, started(p, 3))
    assert torch.isfinite(p.loss(theta, batch(p, 0)))


@pytest.mark.parametrize("name", NAMES)
def test_the_type_it_is_moved_to_is_known_whatever_its_data(name: str) -> None:
    assert built(name).to("cpu", torch.float64).like.dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_gradient_matches_central_differences(name: str) -> None:
    p = built(name).to("cpu", torch.float64)
    theta = started(p, 0).double()
    examples = batch(p, 0, 4)
    _, g = gradient(p, theta[None], tuple(t[None] for t in examples))
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        # where the loss has kinks (ReLU, max-pooling) a small step rarely crosses one
        v = torch.randn(p.size, generator=generator, dtype=torch.float64)
        h = 1e-6 * max(1.0, float(theta.norm())) / float(v.norm())
        slope = (p.loss(theta + h * v, examples) - p.loss(theta - h * v, examples)) / (2 * h)
        assert float(g[0] @ v) == pytest.approx(float(slope), rel=2e-5, abs=1e-7 * float(g.norm() * v.norm()))


@pytest.mark.parametrize("name", NAMES)
def test_lanes_have_the_bits_of_the_run_alone(name: str) -> None:
    p = built(name)
    lanes = MANY if p.size < 10000 else FEW
    generator = torch.Generator().manual_seed(0)
    thetas = [started(p, seed) for seed in range(lanes)]
    thetas = [theta * (1 + 0.01 * torch.randn(p.size, generator=generator)) for theta in thetas]
    batches = [batch(p, index, 32) for index in range(lanes)]
    together = gradient(p, rows(thetas), tuple(torch.stack(parts) for parts in zip(*batches, strict=True)))
    for lane in range(lanes):
        alone = gradient(p, rows(thetas[lane : lane + 1]), tuple(t[None].clone() for t in batches[lane]))
        for mine, theirs in zip(alone, together, strict=True):
            assert torch.equal(mine[0], theirs[lane]), f"lane {lane} of {lanes} differs from the run alone"


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls_along_the_negative_gradient(name: str) -> None:
    """Full-batch gradient descent whose rate is halved whenever a step does not descend."""
    p = built(name).to("cpu", torch.float64)
    theta, examples, rate = started(p, 0).double(), batch(p, 0, 16), 1.0
    losses = []
    for _ in range(5):
        (value,), (g,) = gradient(p, theta[None], tuple(t[None] for t in examples))
        losses.append(float(value))
        while rate > 1e-12 and not p.loss(theta - rate * g, examples) < value - 0.1 * rate * g @ g:
            rate /= 2
        theta = theta - rate * g
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def heavy(name: str) -> bool:
    """Whether fifty steps of the problem take more than a moment."""
    return problem.find(name).meta.get("data") not in (None, "digits", "california")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if heavy(n) else n for n in NAMES])
def test_fifty_steps_of_plain_sgd_lower_the_loss(name: str) -> None:
    """What ``python -m suite run P sgd --steps 50`` does, at the rate that is sgd's default."""
    p = built(name)
    theta = started(p, 0)
    whole = tuple(t[:: -(-len(p.train) // 2000)] for t in p.train.tensors)
    before = p.measure(theta, whole)["loss"]
    for step in range(50):
        _, (g,) = gradient(p, theta[None], tuple(t[None] for t in batch(p, step)))
        theta = theta - 0.01 * g
    assert p.measure(theta, whole)["loss"] < before


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_untouched(name: str) -> None:
    p = built(name)
    theta, examples = started(p, 0), batch(p, 0)
    before = [t.clone() for t in (theta, *examples)]
    p.measure(theta, examples)
    assert all(torch.equal(a, b) for a, b in zip(before, (theta, *examples), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_known_minimum_is_one(name: str) -> None:
    p = built(name)
    if p.minimum is None:
        pytest.skip(f"theory gives no minimum of {name}")
    p = p.to("cpu", torch.float64)
    assert p.minimum is not None
    assert p.loss(started(p, 0).double(), p.train.tensors) > p.minimum.loss
    if p.minimum.theta is None:
        return
    (least,), (g,) = gradient(p, p.minimum.theta.double()[None], tuple(t[None] for t in p.train.tensors))
    assert float(least) == pytest.approx(p.minimum.loss, rel=1e-5, abs=1e-12)
    _, (steep,) = gradient(p, started(p, 0).double()[None], tuple(t[None] for t in p.train.tensors))
    assert g.norm() <= 1e-5 * steep.norm()
