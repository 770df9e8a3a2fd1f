"""Definitions held against published numbers and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import Problem, UsageError, problem
from problems.data import synthetic


def make(text: str) -> Problem:
    return problem.build(problem.bind(text))


def pieces_of(p: Problem, seed: int = 0) -> dict[str, torch.Tensor]:
    assert p.start is not None
    return p.layout.split(p.start(torch.Generator().manual_seed(seed)))


def test_quadratic_deep_has_the_published_spectrum() -> None:
    p = make("quadratic_deep")
    eigenvalues = torch.linalg.eigvalsh(p.fixed["Q"].double())
    assert float(eigenvalues[-1]) == pytest.approx(53.12902, abs=5e-6)
    assert float(eigenvalues.sum()) == pytest.approx(477.61228, abs=5e-5)
    assert int((eigenvalues > 1).sum()) == 10
    assert len(p.train) == 1000 and p.test is not None and p.test.drop_partial and p.valid is None
    for part, seed in ((p.train, 42), (p.test, 43)):
        points = np.random.RandomState(seed).normal(0.0, 0.6, (1000, 100))
        assert part.tensors[0].numpy() == pytest.approx(points, abs=1e-6)


def test_quadratic_deep_is_the_formula() -> None:
    p = make("quadratic_deep").to("cpu", torch.float64)
    theta = torch.linspace(-1, 1, 100, dtype=torch.float64)
    x = p.train.tensors[0][:7]
    by_hand = sum(0.5 * (theta - row) @ p.fixed["Q"] @ (theta - row) for row in x) / 7
    assert float(p.loss(theta, (x,))) == pytest.approx(float(by_hand), rel=1e-13)
    assert torch.equal(pieces_of(p)["theta"], torch.ones(100))


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("quadratic_deep", lambda least: 1.01 * least),
        ("digits_autoencoder", lambda least: 1.05 * least),
        ("linear_regression", lambda least: 1.05 * least),
        ("gaussian_regression", lambda least: least + 0.05),
        ("gaussian", lambda least: least + 0.01),
    ],
)
def test_targets_are_as_far_above_the_minimum_as_they_say(name: str, above: Callable[[float], float]) -> None:
    p = make(name)
    assert p.target is not None and p.minimum is not None
    assert p.target.value == pytest.approx(above(p.minimum.loss), rel=1e-5)


def test_sparse_coding_is_the_formula() -> None:
    p = make("digits_sparse_coding(atoms=7, examples=5, sparsity=0.3, decay=0.2)").to("cpu", torch.float64)
    random = np.random.default_rng(0)
    w, h = random.normal(size=(64, 7)), random.normal(size=(5, 7))
    x = p.train.tensors[0].numpy()
    by_hand = (((x - h @ w.T) ** 2).sum(1) + 0.3 * np.abs(h).sum(1)).mean() + 0.5 * 0.2 * (w**2).sum()
    theta = p.layout.join({"dictionary": torch.from_numpy(w), "codes": torch.from_numpy(h)})
    assert float(p.loss(theta, p.train.tensors)) == pytest.approx(by_hand, rel=1e-12)


def test_denoising_takes_a_share_of_each_input_away_and_asks_for_all_of_it() -> None:
    masked, plain = make("digits_denoising(masked=0.25)"), make("digits_mlp")
    for name, part in masked.splits.items():
        given, wanted = part.tensors
        assert torch.equal(wanted, plain.splits[name].tensors[0])
        lit = wanted > 0
        assert bool(((given == wanted) | (given == 0)).all())
        assert float((given[lit] == 0).float().mean()) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_random_rotation_is_orthogonal(size: int) -> None:
    rotation = synthetic.random_rotation(size, np.random.RandomState(size))
    assert np.allclose(rotation @ rotation.T, np.eye(size), atol=1e-12)


def test_linear_regression_reaches_the_least_squares_of_sklearn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    p = make("linear_regression")
    x, y = (t.double().numpy() for t in p.train.tensors)
    theirs = linear_model.LinearRegression().fit(x, y)
    assert p.minimum is not None and p.minimum.theta is not None
    assert p.minimum.loss == pytest.approx(float(((theirs.predict(x) - y) ** 2).mean()), rel=1e-10)
    assert p.minimum.theta[:-1].tolist() == pytest.approx(theirs.coef_[0].tolist(), abs=1e-10)
    assert p.minimum.loss == pytest.approx(0.25, rel=0.1)


def test_digits_autoencoder_minimum_is_the_residual_of_pca() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    p = make("digits_autoencoder(hidden=(16, 5))").to("cpu", torch.float64)
    x = p.train.tensors[0].numpy()
    pca = decomposition.PCA(5, svd_solver="full").fit(x)
    residual = ((x - pca.inverse_transform(pca.transform(x))) ** 2).sum(1).mean()
    assert p.minimum is not None and p.minimum.loss == pytest.approx(float(residual), rel=1e-6)
    # what PCA finds, as weights 64-16-5-64
    v = torch.from_numpy(pca.components_)
    weights = {"layer1.weight": torch.zeros(16, 64), "layer2.weight": torch.eye(5, 16), "layer3.weight": v.T}
    weights["layer1.weight"][:5] = v
    assert float(p.loss(p.layout.join(weights).double(), p.train.tensors)) == pytest.approx(p.minimum.loss, rel=1e-6)


def test_digits_autoencoder_can_be_trained_to_the_residual_of_pca() -> None:
    p = make("digits_autoencoder").to("cpu", torch.float64)
    assert p.start is not None
    assert p.minimum is not None
    theta = p.start(torch.Generator().manual_seed(0)).double().requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=400, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = p.loss(theta, p.train.tensors)
        loss.backward()
        return loss

    optimizer.step(closure)
    final = closure().item()
    assert p.minimum.loss * (1 - 1e-9) <= final <= p.minimum.loss * (1 + 1e-3)


@settings(max_examples=25, deadline=None)
@given(rank=st.integers(1, 12), seed=st.integers(0, 1000), size=st.floats(-3, 1))
def test_no_linear_autoencoder_beats_pca(rank: int, seed: int, size: float) -> None:
    """Not even one whose last layer is the best that there is for what comes before."""
    p = make(f"digits_autoencoder(hidden=({rank + 3}, {rank}))").to("cpu", torch.float64)
    x = p.train.tensors[0]
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        10**size * torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in [(rank + 3, 64), (rank, rank + 3)]
    )
    code = x @ (second @ first).T
    last = torch.linalg.lstsq(code, x).solution.T
    weights = {"layer1.weight": first, "layer2.weight": second, "layer3.weight": last}
    assert p.minimum is not None
    assert float(p.loss(p.layout.join(weights), p.train.tensors)) >= p.minimum.loss * (1 - 1e-12)


@pytest.mark.parametrize("layers", [11, 19])
def test_thin_deep_nets_learn(layers: int) -> None:
    p = make(f"digits_deep_mlp(depth={layers}, width=24)")
    assert sum(piece.name.endswith("weight") for piece in p.layout) == layers
    theta = p.layout.join(pieces_of(p)).requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.002)
    for _ in range(120):
        optimizer.zero_grad()
        loss = p.loss(theta, p.train.tensors)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.0


def test_a_thousand_layers_have_a_gradient_in_every_layer() -> None:
    p = make("digits_deep_mlp(depth=1000, width=8)").to("cpu", torch.float64)
    theta = p.layout.join(pieces_of(p)).double().requires_grad_()
    (g,) = torch.autograd.grad(p.loss(theta, tuple(t[:16] for t in p.train.tensors)), theta)
    assert torch.isfinite(g).all()
    assert len(p.layout) == 2000 and p.size == 64 * 8 + 8 + 998 * 72 + 90
    deep = make("linear_net(depth=1000, begin=0.5)").to("cpu", torch.float64)
    assert deep.start is not None
    theta = deep.start(torch.Generator().manual_seed(0)).double().requires_grad_()
    (g,) = torch.autograd.grad(deep.loss(theta, deep.train.tensors), theta)
    norms = [float(piece.norm()) for piece in deep.layout.split(g).values()]
    assert min(norms) > 1e-3


def test_digits_are_those_of_sklearn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    theirs = datasets.load_digits()
    p = make("digits_mlp")
    assert [len(s) for s in p.splits.values()] == [1197, 300, 300]
    x = torch.cat([s.tensors[0] for s in p.splits.values()])
    y = torch.cat([s.tensors[1] for s in p.splits.values()])
    mine = sorted([*row, label] for row, label in zip((x * 16).tolist(), y.tolist(), strict=True))
    labelled = zip(theirs.data.tolist(), theirs.target.tolist(), strict=True)
    assert mine == sorted([*row, label] for row, label in labelled)


def test_ten_classes_with_zero_logits_cost_log_ten() -> None:
    p = make("digits_mlp")
    assert float(p.loss(torch.zeros(p.size), p.train.tensors)) == pytest.approx(math.log(10), rel=1e-6)
    logistic = make("digits_logistic")
    start = logistic.layout.join(pieces_of(logistic))
    assert not start.any()
    assert float(logistic.loss(start, logistic.train.tensors)) == pytest.approx(math.log(10), rel=1e-6)


def test_widths_are_parameters() -> None:
    assert make("digits_mlp").size == 64 * 32 + 32 + 32 * 10 + 10
    assert make("digits_mlp(hidden=())").size == 64 * 10 + 10
    assert make("digits_mlp(hidden=(20, 20, 20))").size == 64 * 20 + 20 + 2 * (20 * 20 + 20) + 20 * 10 + 10
    with pytest.raises(UsageError, match="hidden must be >= 1"):
        make("digits_mlp(hidden=(0,))")


def test_adding_sequences_are_what_the_paper_says() -> None:
    data = synthetic.adding(20, 400, seed=5)
    x, y = data.train.tensors
    values, marks = x.unbind(2)
    marked = marks == 1
    assert bool((marked.sum(1) == 2).all()) and not bool(marked[:, 10:].any())
    total = (values * marked).sum(1)
    assert torch.allclose(y[:, 0], 0.5 + total / 4, atol=1e-7)
    ends = marks[:, [0, -1]]
    assert bool(((ends == -1) | (ends == 1)).all()) and bool((marks[:, 1:-1] >= 0).all())
    assert values.abs().max() <= 1 and bool((values[:, 0][marked[:, 0]] == 0).all())
    assert y.min() >= 0 and y.max() <= 1


def test_adding_sequences_of_several_lengths_begin_after_zeros() -> None:
    x, y = synthetic.adding(20, 2000, 5, 8).train.tensors
    values, marks = x.unbind(2)
    begin = (x != 0).any(2).float().argmax(1)
    lengths = 20 - begin
    counts = torch.bincount(lengths, minlength=21)[8:]
    assert int(lengths.min()) == 8 and int(counts.min()) > 0.6 * 2000 / 13
    for row in range(200):
        at = (marks[row] == 1).nonzero().flatten().tolist()
        length, first = int(lengths[row]), int(begin[row])
        assert len(at) == 2 and all(first <= i < first + length // 2 for i in at)
        assert bool((x[row, :first] == 0).all()) and marks[row, -1] == -1
        assert float(y[row]) == pytest.approx(0.5 + float(values[row, at].sum()) / 4, abs=1e-6)


def test_copy_sequences_are_what_the_paper_says() -> None:
    """Three letters of four, five blanks, the call, and three blanks in which the letters are to be said again."""
    data = synthetic.copying(symbols=3, delay=6, alphabet=4, count=400, seed=5)
    x, y = data.train.tensors
    assert x.shape == (400, 12, 6) and bool((x.sum(2) == 1).all())
    given = x.argmax(2)
    assert set(given[:, :3].flatten().tolist()) == {0, 1, 2, 3}
    assert bool((given[:, 3:8] == 4).all()) and bool((given[:, 8] == 5).all()) and bool((given[:, 9:] == 4).all())
    assert bool((y[:, :9] == 4).all()) and torch.equal(y[:, 9:], given[:, :3])
    assert [len(part.tensors[0]) for part in data if part is not None] == [400, 100, 100]


def test_adding_splits_differ_and_repeat() -> None:
    a, b = synthetic.adding.__wrapped__(12, 40, 1), synthetic.adding.__wrapped__(12, 40, 1)
    assert a.valid is not None and a.test is not None and b.valid is not None
    assert a.train.fingerprint == b.train.fingerprint and a.valid.fingerprint == b.valid.fingerprint
    assert a.valid.fingerprint != a.test.fingerprint
    assert a.train.fingerprint != synthetic.adding(12, 40, 2).train.fingerprint


@pytest.mark.parametrize("forget", [1.0, 0.0, 3.5])
def test_forget_gate_bias_starts_where_it_is_set(forget: float) -> None:
    bias = pieces_of(make(f"adding_lstm(hidden=4, forget_bias={forget}, sequences=8)"))["lstm1.bias"]
    assert bias.view(4, 4).tolist() == [[0.0] * 4, [forget] * 4, [0.0] * 4, [0.0] * 4]


def test_own_lstm_equals_torch() -> None:
    p = make("adding_lstm(length=6, hidden=8, sequences=8)").to("cpu", torch.float64)
    pieces = {name: view.double() for name, view in pieces_of(p).items()}
    theirs = torch.nn.LSTM(2, 8, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(pieces["lstm1.input"])
        theirs.weight_hh_l0.copy_(pieces["lstm1.hidden"])
        theirs.bias_ih_l0.copy_(pieces["lstm1.bias"])
        theirs.bias_hh_l0.zero_()
        states, _ = theirs(p.train.tensors[0])
    head = states[:, -1] @ pieces["layer1.weight"].T + pieces["layer1.bias"]
    assert torch.allclose(p.predict(pieces, p.train.tensors), head, atol=1e-12)


def test_fingerprint_names_the_content_whatever_the_type() -> None:
    p = make("digits_mlp")
    assert p.train.fingerprint == p.to("cpu", torch.float64).train.fingerprint
    assert p.valid is not None and p.train.fingerprint != p.valid.fingerprint
