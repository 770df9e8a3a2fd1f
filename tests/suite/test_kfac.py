"""Kronecker factors against dense Gauss-Newton blocks in float64, and K-FAC's steps against the method written out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from test_lanes import TINY, _starts
from test_objective import _dense_ggn

from problems.affine import curved, layers_of
from problems.data.splits import Splits
from problems.models import mlp, regressor
from problems.names import UsageError, parse
from problems.problem import Data, problem
from suite import factors
from suite.lane_oracle import LaneOracle
from suite.lanes import Together, lanes_of
from suite.objective import Objective
from suite.optimizers import optimizer
from suite.strategies.noise import key_of

YES = torch.tensor(True)
START = torch.zeros((), dtype=torch.float64)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net(sizes, examples, activation=None, bias=0.0):
    """Regression of noise on noise: a net of these widths with a squared loss."""
    data = Splits(Data((drawn(examples, sizes[0]), drawn(examples, sizes[-1], seed=1))), None, None)
    return regressor("a net", mlp(sizes, activation, bias), data).to("cpu", torch.float64)


def oracle_of(made, batch=None):
    batch = made.train.tensors if batch is None else batch
    return LaneOracle(Objective(made, 1, tuple(t[None] for t in batch), taped=False))


def factors_of(made, theta, samples=0, batch=None, t=START):
    return oracle_of(made, batch).factors(theta, YES, key_of(theta), t, samples)


def block(made, dense, layer):
    """A layer's part of the dense matrix, in the order of W̄ = (W, b) by rows."""
    start, stop = made.layout.spans[layer.weight]
    outputs = made.layout.named(layer.weight).shape[0]
    index = torch.arange(start, stop).view(outputs, -1)
    if layer.bias:
        bias = torch.arange(*made.layout.spans[layer.bias])
        index = torch.cat([index, bias[:, None]], dim=1)
    index = index.flatten()
    return dense[index][:, index]


def kron(found):
    return torch.kron(found.sums, found.inputs)


@pytest.mark.parametrize("bias", [0.0, None])
@pytest.mark.parametrize("examples", [1, 7])
def test_of_a_linear_net_with_squared_loss_each_block_is_exact(examples, bias):
    """What sums do to such outputs is the same for every example, and the mean of the product that of the means."""
    made = net((4, 3, 5, 2), examples, bias=bias)
    theta = drawn(made.size, seed=2)
    dense = _dense_ggn(made, theta, made.train.tensors)
    found = factors_of(made, theta)
    assert [f.layer.weight for f in found] == ["layer1.weight", "layer2.weight", "layer3.weight"]
    for each in found:
        torch.testing.assert_close(kron(each), block(made, dense, each.layer), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "kind", ["digits_mlp(hidden=(6,))", "digits_logistic", "auxiliary_heads(digits_mlp(hidden=(5, 6, 4)))"]
)
def test_of_one_example_each_block_is_exact(kind):
    """With softmax and ReLU too, whose Hessian in the outputs is dense, and where there are several outputs."""
    made = problem.build(problem.bind(kind)).to("cpu", torch.float64)
    theta = 0.3 * drawn(made.size, seed=3)
    batch = tuple(t[:1] for t in made.train.tensors)
    dense = _dense_ggn(made, theta, batch)
    for each in factors_of(made, theta, batch=batch):
        torch.testing.assert_close(kron(each), block(made, dense, each.layer), rtol=1e-7, atol=1e-10)


def test_of_one_character_each_block_is_exact_behind_what_was_carried_to_it(tmp_path):
    """One step of a net that reads on in a text, from a state that is not 0."""
    file = tmp_path / "t.txt"
    file.write_text("In what distant deeps or skies burnt the fire of thine eyes? " * 4)
    kind = f"text_lstm(file={str(file)!r}, length=1, embedding=3, hidden=4, depth=1)"
    made = problem.build(problem.bind(kind)).to("cpu", torch.float64)
    theta = 0.5 * drawn(made.size, seed=8)
    batch = tuple(t[:1] for t in made.train.tensors)
    fresh = factors_of(made, theta, batch=batch)
    batch = (*batch, drawn(1, *made.carry, seed=9))
    dense = _dense_ggn(made, theta, batch)
    found = factors_of(made, theta, batch=batch)
    assert {f.layer.weight for f in found} == {p.name for p in made.layout if not p.name.endswith("bias")}
    for each in found:
        torch.testing.assert_close(kron(each), block(made, dense, each.layer), rtol=1e-7, atol=1e-10)
    assert not any(torch.allclose(kron(a), kron(b)) for a, b in zip(fresh, found, strict=True))


def _written_out(made, theta, batch):
    """A and G of a net of dense layers from the definition, by one backward pass for each output of each example."""
    layers, activation = layers_of(made), torch.relu
    totals = {}
    for n in range(len(batch[0])):
        x = batch[0][n]
        pieces = {name: view.clone() for name, view in made.layout.split(theta).items()}
        inputs, sums = [], []
        for i, layer in enumerate(layers):
            inputs.append(torch.cat([x, torch.ones(1, dtype=x.dtype)]).detach())
            s = (pieces[layer.weight] @ x + pieces[layer.bias]).requires_grad_()
            sums.append(s)
            x = activation(s) if i < len(layers) - 1 else s
        bent = torch.autograd.functional.hessian(lambda o, n=n: made.criterion(o[None], _row(batch, n)), x.detach())
        for i, layer in enumerate(layers):
            jacobian = torch.stack([torch.autograd.grad(o, sums[i], retain_graph=True)[0] for o in x])
            a, g = totals.setdefault(layer, [0, 0])
            share = len(batch[0])
            totals[layer] = [a + torch.outer(inputs[i], inputs[i]) / share, g + jacobian.T @ bent @ jacobian / share]
    return totals


def _row(batch, n):
    return tuple(t[n : n + 1] for t in batch)


def test_the_factors_are_the_means_of_their_definition():
    made = problem.build(problem.bind("digits_mlp(hidden=(6, 5))")).to("cpu", torch.float64)
    theta = 0.3 * drawn(made.size, seed=4)
    batch = tuple(t[:9] for t in made.train.tensors)
    expected = _written_out(made, theta, batch)
    for each in factors_of(made, theta, batch=batch):
        a, g = expected[each.layer]
        torch.testing.assert_close(each.inputs, a)
        torch.testing.assert_close(each.sums, g, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "kind", ["digits_mlp(hidden=(6,))", "autoencoder", "auxiliary_heads(digits_mlp(hidden=(5, 6)))"]
)
def test_random_directions_have_the_right_mean(kind):
    """Both where the criterion couples the outputs of an example and where it does not."""
    if kind == "autoencoder":
        made = net((5, 3, 5), 6, "tanh")
    else:
        made = problem.build(problem.bind(kind)).to("cpu", torch.float64)
    assert curved(made).diagonal == (kind == "autoencoder")
    theta = 0.3 * drawn(made.size, seed=5)
    batch = tuple(t[:6] for t in made.train.tensors)
    exact = factors_of(made, theta, batch=batch)
    many = factors_of(made, theta, samples=500, batch=batch)
    one = factors_of(made, theta, samples=1, batch=batch)
    for a, b, c in zip(exact, many, one, strict=True):
        torch.testing.assert_close(a.inputs, b.inputs)
        assert (a.sums - b.sums).norm() < 0.2 * a.sums.norm()
        assert (a.sums - c.sums).norm() > 0.01 * a.sums.norm()
    again = factors_of(made, theta, samples=1, batch=batch, t=START + 1)
    assert not torch.equal(one[0].sums, again[0].sums)


def test_a_convolutions_factors_are_kfcs():
    """Of patches and of slopes at places: summed over places for A, averaged for G, from nn.functional.unfold."""
    made = problem.build(problem.bind(TINY + "cnn")).to("cpu", torch.float64)
    theta = 0.3 * drawn(made.size, seed=6)
    batch = tuple(t[:4] for t in made.train.tensors)
    first = factors_of(made, theta, batch=batch)[0]
    patches = torch.nn.functional.unfold(batch[0], 3, padding=1)
    patches = torch.cat([patches, torch.ones_like(patches[:, :1])], dim=1)
    torch.testing.assert_close(first.inputs, torch.einsum("bit,bjt->ij", patches, patches) / 4)

    pieces = made.layout.split(theta)

    def outputs(sums):
        flat = torch.nn.functional.max_pool2d(torch.relu(sums), 2).flatten(1)
        return flat @ pieces["2.weight"].T + pieces["2.bias"]

    sums = torch.nn.functional.conv2d(batch[0], pieces["1.weight"], pieces["1.bias"], padding=1)
    jacobian = torch.autograd.functional.jacobian(outputs, sums)  # [b, o, b, c, h, w]
    p = outputs(sums).softmax(1)
    total = 0
    for n in range(4):
        j = jacobian[n, :, n].flatten(2)
        bent = p[n].diag() - torch.outer(p[n], p[n])
        total = total + torch.einsum("oct,op,pdt->cd", j, bent, j) / 4 / 64
    torch.testing.assert_close(first.sums, total, rtol=1e-8, atol=1e-12)


def test_a_weight_that_runs_again_is_one_layer():
    made = problem.build(problem.bind(TINY + "rnn")).to("cpu", torch.float64)
    assert [layer.weight for layer in layers_of(made)] == ["1.input", "1.hidden", "2.weight"]
    assert [layer.bias for layer in layers_of(made)] == ["1.bias", None, "2.bias"]
    assert len(curved(made).layers) == 9  # the hidden weight at each of seven steps
    found = factors_of(made, 0.3 * drawn(made.size, seed=7), batch=tuple(t[:3] for t in made.train.tensors))
    assert [tuple(f.inputs.shape) + tuple(f.sums.shape) for f in found] == [
        (4, 4, 128, 128), (32, 32, 128, 128), (33, 33, 5, 5)
    ]  # fmt: skip


def test_what_has_no_factors_is_refused():
    for kind in ("rosenbrock", "batch_norm(digits_mlp)"):
        made = problem.build(problem.bind(kind))
        with pytest.raises(UsageError, match=r"belongs to no linear layer or convolution"):
            curved(made)
    made = problem.build(problem.bind("continuation(digits_mlp)"))
    theta = torch.zeros(1, made.size)
    with pytest.raises(UsageError, match=r"multiply by other weights than θ's"):
        lanes_of(made, [optimizer.bind("kfac")], theta, [0], 8, "reshuffle")
    made = net((3, 2), 4)
    coupled = dataclasses.replace(made, criterion=lambda outputs, batch: (outputs - batch[-1]).mean().square())
    with pytest.raises(UsageError, match=r"couples outputs of different examples"):
        curved(coupled)


# steps --------------------------------------------------------------------------------------


def test_on_one_layer_it_is_the_damped_newton_step():
    """A and G damped by π√λ and √λ/π; the exact model then chooses how far to go, here all the way."""
    made = net((4, 3), 9)
    theta = drawn(made.size, seed=8)
    made_ = optimizer.build(optimizer.bind("kfac(rescale=True, samples=0, damping=1e-16)"))
    oracle = oracle_of(made)
    moved, _ = made_.step(oracle, made_.init(oracle, theta), theta)
    solved = torch.linalg.lstsq(
        torch.cat([made.train.tensors[0], torch.ones(9, 1, dtype=torch.float64)], dim=1), made.train.tensors[1]
    ).solution
    pieces = made.layout.split(moved)
    torch.testing.assert_close(pieces["layer1.weight"], solved[:-1].T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pieces["layer1.bias"], solved[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rescale", [True, False])
def test_it_follows_the_papers_algorithm(rescale):
    made = net((4, 3, 2), 8, "tanh")
    theta = drawn(made.size, seed=9)
    ours = optimizer.build(
        optimizer.bind(f"kfac(lr=0.1, alpha=0.8, samples=0, damping=0.5, memory=0.7, invert=4, rescale={rescale})")
    )
    oracle = oracle_of(made)
    state, at = ours.init(oracle, theta), theta
    mean, inverse, last, trust = {}, {}, np.zeros(made.size), 0.5
    for t in range(12):
        g = oracle.gradient(theta)[1]
        parts = {name: view.clone() for name, view in made.layout.split(g).items()}
        for found in factors_of(made, theta):
            kept = min(1 - 1 / (t + 1), 0.7)
            old = mean.get(found.layer, (0, 0))
            a, b = (kept * o + (1 - kept) * n.numpy() for o, n in zip(old, (found.inputs, found.sums), strict=True))
            mean[found.layer] = (a, b)
            if t < 3 or t % 4 == 0:
                pi = math.sqrt((np.trace(a) / len(a)) / (np.trace(b) / len(b)))
                inverse[found.layer] = (
                    np.linalg.inv(a + pi * math.sqrt(trust) * np.eye(len(a))),
                    np.linalg.inv(b + math.sqrt(trust) / pi * np.eye(len(b))),
                )
            weight, bias = parts[found.layer.weight], parts[found.layer.bias]
            slope = np.concatenate([weight.numpy(), bias.numpy()[:, None]], axis=1)
            step = -inverse[found.layer][1] @ slope @ inverse[found.layer][0]
            weight.copy_(torch.from_numpy(step[:, :-1]))
            bias.copy_(torch.from_numpy(step[:, -1]))
        delta = made.layout.join(parts).numpy()
        if not rescale:
            last = 0.8 * last + 0.1 * delta
        else:
            dense = _dense_ggn(made, theta, made.train.tensors).numpy() + trust * np.eye(made.size)
            basis = np.stack([delta, last]) if t else delta[None]
            best = np.linalg.solve(basis @ dense @ basis.T, -basis @ g.numpy())
            last = best @ basis
            fall = g.numpy() @ last + last @ dense @ last / 2
            if (t + 1) % 5 == 0:
                ratio = (oracle.value(theta + torch.from_numpy(last)) - oracle.value(theta)).item() / fall
                trust = trust * (0.95**5 if ratio > 0.75 else 1 if ratio >= 0.25 else 0.95**-5)
        theta = theta + torch.from_numpy(last)
        at, state = ours.step(oracle, state, at)
        torch.testing.assert_close(at, theta, rtol=1e-6, atol=1e-8)
    if rescale:
        assert trust != 0.5


def test_its_cost_is_counted():
    made = problem.build(problem.bind(TINY + "mlp"))
    for text, per_step in (("kfac(lr=0.1, samples=2)", 2), ("kfac(lr=0.1, samples=0)", 5)):
        specs = [parse(str(optimizer.bind(text)))] * 2
        group = lanes_of(made, specs, _starts(made, 2, torch.float32), [0, 1], 16, "reshuffle")
        for k in range(6):
            group.step(k)
        assert [dict(calls) for calls in group.calls()] == [{"gradient": 6, "factors": 6 * per_step}] * 2
    group = lanes_of(
        made,
        [parse(str(optimizer.bind("kfac(rescale=True, every=3)")))],
        _starts(made, 1, torch.float32),
        [0],
        16,
        "reshuffle",
    )
    for k in range(10):
        group.step(k)
    assert dict(group.calls()[0]) == {"gradient": 10, "factors": 4, "ggn": 20, "value": 2}


def test_a_lane_that_diverges_beside_them_changes_nothing():
    made = problem.build(problem.bind(TINY + "mlp"))
    starts = _starts(made, 3, torch.float32)
    spec = parse(str(optimizer.bind("kfac(rescale=True)")))

    def end(lanes, theta):
        group = lanes_of(made, [spec] * len(lanes), theta, lanes, 16, "reshuffle")
        assert isinstance(group, Together)
        for k in range(7):
            group.step(k)
        return group.theta

    broken = starts.clone()
    broken[1] = torch.inf
    together = end([0, 1, 2], broken)
    assert not together[1].isfinite().all()
    for lane in (0, 2):
        assert torch.equal(together[lane], end([lane], starts[[lane]])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [2, 5, 10])
def test_the_root_of_a_softmaxs_hessian_is_exact_where_the_net_is_sure(dtype, k):
    """diag(p) − ppᵀ is singular, and LAPACK's Cholesky gives up on one in ten of them."""
    scale = torch.logspace(-1, 2, 500).unsqueeze(1)
    p = torch.softmax((scale * torch.randn(500, k, generator=torch.Generator().manual_seed(k))).to(dtype), 1)
    blocks = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    root = factors._root(blocks)
    torch.testing.assert_close(root @ root.mT, blocks, rtol=0, atol=4 * torch.finfo(dtype).eps)
    assert torch.equal(root, root.tril())
