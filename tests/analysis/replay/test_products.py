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
