"""What Hessian products and spectra cost, beside a gradient and beside curvlinops and PyHessian.

``python -m pytest suite/benchmarks/test_curvature.py -s`` prints ratios of times measured in
turns on one core, and numbers of products, which do not depend on the machine. The peers
come with ``pip install -e '.[peers]'``; what needs an absent one is skipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.objective import Objective, of_module
from analysis.operators import hessian
from analysis.spectrum import spectrum
from problems.names import UsageError
from problems.problem import problem
from suite.benchmarks.ratios import interleaved

EXAMPLES = 1000
LOSS = nn.CrossEntropyLoss()


class Recurrent(nn.Module):
    """An LSTM of 64 units written out, 32 inputs and 10 classes: 25k parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.hidden, self.out = nn.Linear(32, 256), nn.Linear(64, 256, bias=False), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits after the last of x [batch, time, 32]."""
        state = cell = x.new_zeros(len(x), 64)
        for drive in self.inward(x.transpose(0, 1)).unbind(0):
            i, f, g, o = (drive + self.hidden(state)).chunk(4, -1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            state = torch.sigmoid(o) * torch.tanh(cell)
        return self.out(state)


def perceptron(*sizes: int) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers = [[nn.Linear(m, n), nn.ReLU()] for m, n in itertools.pairwise(sizes)]
    return nn.Sequential(*[part for pair in layers for part in pair][:-1])


def convolutional() -> nn.Module:
    """Two convolutions and two dense layers: 209k parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 50), nn.ReLU(), nn.Linear(50, 10),
    )  # fmt: skip


COSTS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...], int]] = [  # name, model, inputs, vectors at once
    ("mlp 506", lambda: perceptron(20, 16, 10), (256, 20), 8),
    ("mlp 109k", lambda: perceptron(784, 128, 64, 10), (512, 784), 1),
    ("cnn 209k", convolutional, (64, 1, 28, 28), 1),
    ("lstm 25k", Recurrent, (64, 20, 32), 1),
]


@pytest.mark.parametrize(("name", "make", "shape", "block"), COSTS, ids=[case[0] for case in COSTS])
def test_product_against_gradient(name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], block: int) -> None:
    """A Hessian product against a gradient as PyTorch takes it, by turns.

    Products are recorded after the first, and their large matrix products go to oneDNN where that is quicker than
    the BLAS that the gradient uses. With the same BLAS for both, the perceptron's product cost 1.0 gradients.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module, x, y = make(), torch.randn(shape), torch.randint(10, shape[:1])
    parameters = list(module.parameters())
    matrix = hessian(of_module(module, LOSS, (x, y)), expected=1000)
    vectors = torch.randn(block, matrix.size)
    turns = max(1, 2000 // matrix.size)

    def product() -> None:
        for _ in range(turns):
            matrix.apply(vectors)

    def gradient() -> None:
        for _ in range(turns * block):
            torch.autograd.grad(LOSS(module(x), y), parameters)

    ratio = interleaved(product, gradient)
    print(f"\n{name}: a product costs {1 / ratio.median:.2f} ({1 / ratio.high:.2f} to {1 / ratio.low:.2f}) gradients")


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A perceptron of 109k parameters after 500 steps of SGD on MNIST, and a thousand of its examples."""
    try:
        x, y = problem.build(problem.bind("mnist_mlp")).train.tensors
    except UsageError as missing:
        pytest.skip(str(missing))
    x, y = x[:EXAMPLES], y[:EXAMPLES]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = perceptron(784, 128, 64, 10)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(500):
        batch = torch.randint(EXAMPLES, (128,))
        sgd.zero_grad()
        LOSS(module(x[batch]), y[batch]).backward()
        sgd.step()
    return module, x, y


def counted(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Any, list[int]]:
    """curvlinops' Hessian, and how many vectors it has multiplied."""
    curvlinops = pytest.importorskip("curvlinops")
    matrix = curvlinops.HessianLinearOperator(
        module, LOSS, [p for p in module.parameters() if p.requires_grad], [(x, y)], check_deterministic=False
    )
    seen, inner = [0], matrix._matmat

    def matmat(vectors: list[Tensor]) -> list[Tensor]:
        seen[0] += vectors[0].shape[-1]
        return inner(vectors)

    matrix._matmat = matmat
    return matrix, seen


CASES: list[tuple[str, dict[str, Any]]] = [
    ("ten largest", {"top": 10}),
    ("ten largest and five smallest", {"top": 10, "bottom": 5}),
    ("both, with a basis of 60", {"top": 10, "bottom": 5, "basis": 60}),
    ("both, and the density of the same run", {"top": 10, "bottom": 5, "density": True, "probes": 1}),
    ("both, and the density of ten probes", {"top": 10, "bottom": 5, "density": True, "probes": 10}),
]


@pytest.mark.parametrize(("name", "wanted"), CASES, ids=[name for name, _ in CASES])
def test_spectra_against_curvlinops(name: str, wanted: dict[str, Any]) -> None:
    """The same eigenvalues or density from both, by turns; curvlinops' density takes ten probes of a hundred steps.

    One probe of ours is nearer to the truth than those ten (see the density's own test).
    """
    from scipy.sparse.linalg import eigsh

    module, x, y = trained()
    matrix, seen = counted(module, x, y)
    products = [0]

    def made() -> Objective:
        return of_module(module, LOSS, (x, y))

    def ours() -> None:
        products[0] = spectrum(hessian(made()), **wanted).products

    def theirs() -> None:
        seen[0] = 0
        for end, count in (("LA", "top"), ("SA", "bottom")):
            if count in wanted:
                eigsh(matrix.to_scipy(), k=wanted[count], which=end, tol=1e-6)
        if "density" in wanted:
            curvlinops = pytest.importorskip("curvlinops")
            curvlinops.lanczos_approximate_spectrum(matrix, 100, 1000, num_repeats=10)

    slow = "density" in wanted  # a minute of curvlinops'
    ratio = interleaved(ours, theirs, pairs=2 if slow else 3, warm=not slow)
    print(f"\n{name}: {products[0]} products, curvlinops {seen[0]}; curvlinops takes {ratio} as long")


def test_ten_largest_against_pyhessian() -> None:
    """The ten largest from both: PyHessian as it comes, and as near to our accuracy as it gets.

    Its power iteration stops where a value changes by less than ``tol``, which says little of how far off it is.
    """
    peer = pytest.importorskip("pyhessian")
    module, x, y = trained()

    def theirs(tol: float = 1e-3, most: int = 100) -> Any:
        torch.manual_seed(0)
        found = peer.hessian(module, LOSS, data=(x, y), cuda=False)
        return np.sort(found.eigenvalues(top_n=10, tol=tol, maxIter=most)[0])[::-1]

    def ours() -> Any:
        return spectrum(hessian(of_module(module, LOSS, (x, y))), top=10).top.values

    exact = spectrum(hessian(of_module(module.double(), LOSS, (x.double(), y))), top=10, tol=1e-10).top.values
    module.float()

    def wrong(found: Any) -> float:
        return float(np.abs(found / exact - 1).max())

    print(f"\nten largest: ours are off by {wrong(ours()):.1e}")
    closest = min((1e-4, 1e-5, 1e-6, 1e-7), key=lambda tol: wrong(theirs(tol, 2000)))
    for tol, most in ((1e-3, 100), (closest, 2000)):
        ratio = interleaved(ours, partial(theirs, tol, most), pairs=3)
        print(f"PyHessian, tol={tol:g}, off by {wrong(theirs(tol, most)):.1e}, takes {ratio} as long")


@pytest.mark.parametrize("probes", [1, 10])
def test_density_against_the_exact_spectrum(probes: int) -> None:
    """Wasserstein-1 distance over the range on a trained perceptron of 506 parameters; median of 20 seeds."""
    from scipy.stats import wasserstein_distance

    x, y = problem.build(problem.bind("digits_mlp")).train.tensors
    torch.manual_seed(0)
    module = perceptron(20, 16, 10).double()
    x = x[:600].double() @ torch.randn(x.shape[1], 20).double() / 8
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    for i in range(200):
        sgd.zero_grad()
        LOSS(module(x[i % 6 :: 6]), y[:600][i % 6 :: 6]).backward()
        sgd.step()
    matrix = hessian(of_module(module, LOSS, (x, y[:600])))
    exact = np.linalg.eigvalsh(matrix.dense().numpy())
    range_, distances, peers, products = exact[-1] - exact[0], [], [], 0
    for seed in range(20):
        found = spectrum(matrix, top=0, density=True, probes=probes, method="lanczos", seed=seed)
        assert found.density is not None
        pooled, products = found.density.pooled(), found.products
        distances.append(wasserstein_distance(exact, pooled.nodes, None, pooled.weights) / range_)
    print(f"\ndensity from {products} products: {np.median(distances):.1e} from the exact spectrum")
    curvlinops = pytest.importorskip("curvlinops")
    other, _ = counted(module, x, y[:600])
    for seed in range(5):
        torch.manual_seed(seed)
        grid, curve = curvlinops.lanczos_approximate_spectrum(other, 100, 1000, num_repeats=probes)
        peers.append(wasserstein_distance(exact, grid.numpy(), None, curve.clamp(min=0).numpy()) / range_)
    print(f"curvlinops' from as many products: {np.median(peers):.1e}")
