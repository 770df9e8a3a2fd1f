"""Matrix products through oneDNN against float64."""

from __future__ import annotations

import pytest
import torch

from analysis.replay import products
from analysis.replay.tape import Tape

here = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="torch was built without oneDNN",
)


def _function(a, b):
    return lambda: [(a.t() @ b.t().contiguous()) * 2, a.t()[:, :200] @ b[:, :200].t()]


@here
@pytest.mark.parametrize("reroute", [True, False])
def test_large_products_are_rerouted_where_that_is_asked_for(monkeypatch, reroute):
    monkeypatch.setattr(products, "quicker", lambda: True)
    stream = torch.Generator().manual_seed(0)
    a, b = torch.randn(300, 150, generator=stream), torch.randn(200, 300, generator=stream)
    tape = Tape(_function(a, b), [a, b], reroute=reroute)
    for _ in range(3):
        a.normal_(generator=stream), b.normal_(generator=stream)
        tape()
        for found, want in zip(tape.outputs, _function(a.double(), b.double())(), strict=True):
            torch.testing.assert_close(found.double(), want, rtol=1e-5, atol=1e-3)
    exact = [torch.equal(x, y) for x, y in zip(tape.outputs, _function(a, b)(), strict=True)]
    assert reroute or all(exact), "unless it is asked for, the bits are those of torch.mm"


def test_onednn_multiplies_or_is_not_there():
    a, b = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    known = products.by_onednn(a, b)
    assert known is None or torch.equal(known, a @ b.T)
    assert products.by_onednn(a.double(), b.double()) is None


@here
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("biased", [True, False])
def test_large_products_of_lanes_go_elsewhere_one_by_one(monkeypatch, lanes, biased):
    """Those of shared examples, as a layer makes them; small ones stay, and a lane has the bits that it has alone."""
    monkeypatch.setattr(products, "quicker", lambda: True)
    calls, product = [], products._product()
    monkeypatch.setattr(products, "_product", lambda: lambda *given: calls.append(given) or product(*given))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(100, 150, generator=draw)
    w, c = torch.randn(lanes, 200, 150, generator=draw), torch.randn(lanes, 1, 200, generator=draw)

    def multiplied(w, c, x=x):
        whole, wt = x.expand(len(w), *x.shape), w.transpose(1, 2)
        return torch.baddbmm(c, whole, wt) if biased else torch.bmm(whole, wt)

    with products.elsewhere():
        found = multiplied(w, c)
        assert len(calls) == lanes
        assert all(torch.equal(multiplied(w[i : i + 1], c[i : i + 1])[0], found[i]) for i in range(lanes))
        before = len(calls)
        small, double = multiplied(w, c, x[:5]), multiplied(w.double(), c.double(), x.double())
    assert len(calls) == before and torch.equal(small, multiplied(w, c, x[:5]))
    torch.testing.assert_close(found.double(), double, rtol=1e-5, atol=1e-3)


def test_products_stay_where_no_library_is_quicker(monkeypatch):
    monkeypatch.setattr(products, "quicker", lambda: False)
    a = torch.randn(1, 300, 300)
    with products.elsewhere():
        found = torch.bmm(a, a)
    assert torch.equal(found, torch.bmm(a, a))
