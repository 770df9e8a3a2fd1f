"""Solutions with dense matrices, singular and indefinite ones too, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.optimizers import _dense
from suite.optimizers._dense import solved
from suite.optimizers.newton import _folded, _grown


def symmetric(eigenvalues, dead, seed):
    """A matrix with these eigenvalues and as many rows of zeros besides, anywhere; and a vector."""
    random = np.random.default_rng(seed)
    n = len(eigenvalues)
    turn, _ = np.linalg.qr(random.normal(size=(n, n)))
    matrix = np.zeros((n + dead, n + dead))
    matrix[:n, :n] = turn @ np.diag(eigenvalues) @ turn.T
    order = random.permutation(n + dead)
    return matrix[order][:, order], random.normal(size=n + dead)


def by_eigenvalues(matrix, g, change):
    values, vectors = np.linalg.eigh(matrix)
    size, values = np.abs(values).max(), change(values)
    flat = np.abs(values) <= 1e-12 * max(size, np.abs(values).max())
    return vectors @ np.where(flat, 0.0, vectors.T @ g / np.where(flat, 1.0, values))


EIGENVALUES = st.lists(st.sampled_from([-3.0, -1.0, -0.2, 0.0, 0.1, 0.5, 1.0, 4.0]), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    EIGENVALUES, st.integers(0, 3), st.sampled_from([0.0, 0.2, 1.0, 2.5]), st.integers(0, 9), st.sampled_from([0, 64])
)
def test_the_pseudo_inverse_and_its_relatives(eigenvalues, dead, alpha, seed, small):
    """By factors where they will do, and by eigenvalues alone."""
    matrix, g = symmetric(eigenvalues, dead, seed)
    changes = {
        None: lambda v: v + alpha,
        _grown: lambda v: v + alpha + max(0.0, 1e-4 * np.abs(v + alpha).max() - (v + alpha).min()),
        _folded: lambda v: np.abs(v) + alpha,
    }
    for ours, theirs in changes.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_dense, "SMALL", small)
            found = solved(torch.tensor(matrix), torch.tensor(g), alpha, ours).numpy()
        np.testing.assert_allclose(found, by_eigenvalues(matrix, g, theirs), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("least", [1.0, 1e-3, 1e-8, 1e-17])
def test_factors_are_taken_only_where_no_eigenvalue_is_flat(dtype, least, monkeypatch):
    matrix, g = symmetric(np.array([least, 0.3, -0.5, 1.0]), 0, 0)
    taken = []
    monkeypatch.setattr(_dense, "SMALL", 0)
    monkeypatch.setattr(torch.linalg, "eigh", lambda a, eigh=torch.linalg.eigh: taken.append(1) or eigh(a))
    solved(torch.tensor(matrix, dtype=dtype), torch.tensor(g, dtype=dtype), 0.0)
    assert bool(taken) == (least < _dense.flatness(dtype))


def test_a_lane_has_the_bits_that_it_has_alone_and_infinity_stays_in_its_lane(monkeypatch):
    pairs = [symmetric(np.linspace(-1, 2, 12), 1, seed) for seed in range(4)]
    matrices, vectors = (torch.tensor(np.stack(each), dtype=torch.float32) for each in zip(*pairs, strict=True))
    matrices[2, 0, 3] = torch.inf
    alpha = torch.tensor([0.0, 0.5, 0.0, 0.1], dtype=torch.float64)
    monkeypatch.setattr(_dense, "SMALL", 0)
    for change in (None, _grown, _folded):
        many = torch.vmap(lambda m, g, a, change=change: solved(m, g, a, change))(matrices, vectors, alpha)
        for lane in (0, 1, 3):
            assert torch.equal(many[lane], solved(matrices[lane], vectors[lane], alpha[lane], change))
    assert torch.equal(torch.vmap(solved)(matrices, vectors, alpha)[2], vectors[2])  # I in place of the matrix


def test_the_norm_of_an_inverse():
    matrix, g = symmetric(np.geomspace(1e-3, 1.0, 20), 0, 1)
    inverse = torch.tensor(np.linalg.inv(matrix))
    found = _dense._largest(lambda v: inverse @ v, torch.tensor(g))
    assert 0.5 * np.abs(inverse.numpy()).sum(0).max() <= found <= 1.0001 * np.abs(inverse.numpy()).sum(0).max()


@pytest.mark.parametrize("n", [64, 100])
def test_matrices_with_subnormal_numbers_have_eigenvalues(n):
    """As the Hessian of a net that is sure of an example: LAPACK's single precision does not converge on such."""
    stream = np.random.default_rng(0)
    v, w = np.zeros((n, 3)), stream.random((n, 1))
    v[:8] = stream.random((8, 3))
    matrix = torch.tensor(0.01 * (v @ v.T) + 1e-42 * (w @ w.T), dtype=torch.float32)
    g = torch.tensor(stream.normal(size=n), dtype=torch.float32)
    assert ((matrix != 0) & (matrix.abs() < 1e-38)).any()
    values, vectors = _dense.eigen(matrix)
    np.testing.assert_allclose(values.numpy(), np.linalg.eigvalsh(matrix.double().numpy()), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(vectors @ vectors.mT, torch.eye(n), atol=1e-5, rtol=0)
    wanted = by_eigenvalues(matrix.double().numpy(), g.double().numpy(), lambda values: np.abs(values) + 0.1)
    np.testing.assert_allclose(solved(matrix, g, 0.1, _folded).numpy(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [64, 100])
@pytest.mark.parametrize("outcome", ["raises", "gives no numbers"])
def test_what_single_precision_cannot_do_is_done_in_double(n, outcome, monkeypatch):
    """As some Hessians far from any minimum ask for, with entries from 1e17 to 1e31."""
    plain = torch.linalg.eigh

    def eigh(matrix):
        if matrix.dtype == torch.float64:
            return plain(matrix)
        if outcome == "raises":
            raise torch.linalg.LinAlgError("failed to converge")
        return [torch.full_like(t, torch.nan) for t in plain(matrix)]

    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    matrix, _ = symmetric(np.linspace(-1, 2, n), 0, 0)
    values, vectors = _dense.eigen(torch.tensor(matrix, dtype=torch.float32))
    assert values.dtype == vectors.dtype == torch.float32
    np.testing.assert_allclose(values.numpy(), np.linspace(-1, 2, n), atol=1e-6)
    np.testing.assert_allclose((vectors * values @ vectors.mT).numpy(), matrix, atol=1e-5)
