"""The form of an ATen operation that writes its result into a given tensor."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


@cache
def out_form(func: Any) -> tuple[Any, tuple[str, ...]] | None:
    """The overload that writes into given tensors, if it does so without a copy of its own, and their names."""
    if func in OWN_FORMS:
        return OWN_FORMS[func], ("out",)
    wanted = [(a.name, str(a.type)) for a in func._schema.arguments]
    for name in func.overloadpacket.overloads():
        candidate = getattr(func.overloadpacket, name)
        outs = [a for a in candidate._schema.arguments if a.is_out]
        rest = [(a.name, str(a.type)) for a in candidate._schema.arguments if not a.is_out]
        fits = bool(outs) and rest == wanted and len(outs) == len(func._schema.returns)
        if fits and torch.Tag.generated not in candidate.tags:
            return candidate, tuple(a.name for a in outs)
    return None


def _convert(source: Tensor, *, out: Tensor, **how: Any) -> Tensor:
    """A copy or conversion into a tensor that has the wanted type and layout already."""
    return out.copy_(source)


def _rsub(a: Tensor, b: float, *, out: Tensor) -> Tensor:
    """b − a, for which torch's own form makes a tensor first."""
    return aten.sub.out(_number(b), a, out=out)


def _zeros(source: Tensor, *size: Any, out: Tensor, **how: Any) -> Tensor:
    """Zeros where there were others: fresh ones of several megabytes cost a page fault for every page."""
    return out.zero_()


_number = cache(partial(torch.tensor, dtype=torch.float64))
OWN_FORMS = {
    aten._to_copy.default: _convert,
    aten.clone.default: _convert,
    aten.rsub.Scalar: _rsub,
    aten.zeros_like.default: _zeros,
    aten.new_zeros.default: _zeros,
}
