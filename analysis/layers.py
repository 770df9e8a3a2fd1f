"""Layers of PyTorch that curvature is not to be had of as they are: which to refuse, and what stands in for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.overrides import TorchFunctionMode

_NOISY = (nn.modules.dropout._DropoutNd, nn.AlphaDropout)
_NORMS = nn.modules.batchnorm._NormBase


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return functional.relu6(x + 3) / 6


def _embedding(
    x: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    rows = functional.embedding(x, weight, padding_idx)
    if max_norm is None:
        return rows
    size = torch.linalg.vector_norm(rows, ord=norm_type, dim=-1, keepdim=True)
    return torch.where(size > max_norm, rows * (max_norm / size), rows)


FORMS: Mapping[Any, Callable[..., Tensor]] = {  # by what PyTorch has
    torch._weight_norm: _weight_norm,  # its second derivative is wrong: it takes the norms for constants
    functional.hardsigmoid: _hardsigmoid,  # has none
    # its gradient by frequency is none of the loss, a sparse one is no vector, and ``max_norm`` writes into the weights
    functional.embedding: _embedding,
}


class Twice(TorchFunctionMode):
    """While it is entered, functions that PyTorch differentiates wrongly, or not twice, are made of others."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return FORMS.get(func, func)(*args, **(kwargs or {}))


def refused(module: nn.Module) -> str | None:
    """Why the loss of a module is no function of θ as it is, and what to do; None if it is one."""
    for name, part in module.named_modules():
        why = _random(part) if part.training else None
        if why is not None:
            return f"{name or 'the module'} ({type(part).__name__}) {why}; call module.eval() first"
    return None


def _random(part: nn.Module) -> str | None:
    """What a part in training mode does that makes a loss random, or depend on its chunks."""
    if isinstance(part, _NOISY) and part.p > 0:
        return "drops units at random in training mode"
    if isinstance(part, nn.RNNBase) and part.dropout > 0:
        return "drops states at random in training mode"
    if isinstance(part, nn.MultiheadAttention) and part.dropout > 0:
        return "drops weights of attention at random in training mode"
    if isinstance(part, _NORMS) and not isinstance(part, nn.modules.instancenorm._InstanceNorm):
        return "normalizes by the batch in training mode, so the loss depends on the chunks"
    hooks = part._forward_pre_hooks.values()
    if isinstance(part, parametrizations._SpectralNorm) or any(isinstance(h, SpectralNorm) for h in hooks):
        return "goes on iterating for its largest singular value in training mode"
    return None


def _compiled(part: nn.Module) -> bool:
    return hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None


def guards(module: nn.Module | None = None) -> tuple[list[Callable[[], Any]], tuple[str, ...]]:
    """Contexts in which every layer differentiates twice, and what to say of them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found: list[Callable[[], Any]] = [lambda: sdpa_kernel(SDPBackend.MATH), Twice]  # fused attention does so only once
    notes: tuple[str, ...] = ()
    if module is not None and any(isinstance(part, nn.RNNBase) for part in module.modules()):
        found.append(lambda: torch.backends.cudnn.flags(enabled=False))
        notes = ("recurrent layers run without cuDNN, which does not differentiate them twice",)
    if module is not None and any(_compiled(part) for part in module.modules()):
        found.append(lambda: torch.compiler.set_stance("force_eager"))
        notes += ("compiled layers run uncompiled, since torch.compile does not differentiate twice",)
    return found, notes
