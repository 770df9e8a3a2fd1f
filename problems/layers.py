"""What models are built of, each with its rule for many lanes.

A model is written for one θ. Under ``torch.func.vmap`` a layer meets tensors of all lanes
at once, and its rule here says how: as one batched product whose weight gradients are
contiguous, or once per lane. With these rules a lane's result on the CPU has the same bits
whatever lanes are beside it; PyTorch's own rules for ``nn.Linear`` and convolutions, which
fold lanes into rows or groups, do not give that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from problems.nonlinear import changeable


class Met(NamedTuple):
    """What a linear layer or a convolution computes: sums Wx + b. ``stride`` and ``padding`` are a convolution's."""

    inputs: Tensor
    weight: Tensor
    bias: Tensor | None
    sums: Tensor
    stride: int | None = None
    padding: int = 0


_HEARD: ContextVar[Callable[[Met], Tensor] | None] = ContextVar("heard", default=None)


@contextmanager
def listening(heard: Callable[[Met], Tensor]) -> Iterator[None]:
    """Within it, every linear layer and convolution gives on what ``heard`` makes of its sums."""
    token = _HEARD.set(heard)
    try:
        yield
    finally:
        _HEARD.reset(token)


def _lanes_first(info: Any, dims: tuple[int | None, ...], *tensors: Tensor) -> list[Tensor]:
    """Every tensor with its lane axis in front; what all lanes share is expanded, not copied."""
    return [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]


ALIGN = 16  # numbers in 64 bytes: a product's bits may depend on how its operands lie to these


def _rows(t: Tensor, *columns: int) -> Tensor:
    """t [lanes, rows, c] with zero rows added until every lane starts on 64 bytes, for all widths ``columns``."""
    step = ALIGN // min(math.gcd(ALIGN, width) for width in columns)
    more = -(-max(t.shape[1], _least()) // step) * step - t.shape[1]
    return torch.nn.functional.pad(t, (0, 0, 0, more)) if more else t


def _least() -> int:
    """Rows of a product at least: one that will be differentiated has a column for each in its derivatives, and a
    single one would be dispatched to a matrix-vector kernel, as in :func:`_product`."""
    return 2 if torch.is_grad_enabled() else 1


def _product(x: Tensor, w: Tensor, c: Tensor | None) -> Tensor:
    """x [l, b, i] times w [l, o, i] transposed, plus c [l, o]: [l, b, o].

    A single output would be dispatched to a matrix-vector kernel whose summation order
    depends on the number of lanes, so that case is an elementwise product and a row sum.
    """
    if w.shape[1] == 1:
        y = (x * w).sum(2, keepdim=True)
        return y if c is None else y + c.unsqueeze(1)
    whole = _rows(x, x.shape[2], w.shape[1])
    wt = w.transpose(1, 2)
    y = torch.bmm(whole, wt) if c is None else torch.baddbmm(c.unsqueeze(1), whole, wt)
    return y if whole is x else y[:, : x.shape[1]]


def _gradients(g: Tensor, x: Tensor, w: Tensor, needs: tuple[bool, bool, bool]) -> tuple[Tensor | None, ...]:
    """The gradients for x, w and c of :func:`_product` from that for its result, g [l, b, o]."""
    back = weight = None
    inputs, outputs = x.shape[2], w.shape[1]
    if needs[0]:
        back = g * w if outputs == 1 else _product(*_widened(g, w), None)
    if needs[1]:  # two rows and columns at least: a matrix-vector kernel's sums depend on the number of lanes
        tall = max(outputs, 2)
        wide = -(-max(inputs, 2) // (step := ALIGN // math.gcd(ALIGN, tall))) * step  # for the result's lanes
        high = torch.nn.functional.pad(g, (0, tall - outputs)) if tall > outputs else g
        x = torch.nn.functional.pad(x, (0, wide - inputs)) if wide > inputs else x
        weight = torch.bmm(_rows(high, tall, wide).transpose(1, 2), _rows(x, tall, wide))
        weight = weight if (tall, wide) == (outputs, inputs) else weight[:, :outputs, :inputs]
    return back, weight, g.sum(1) if needs[2] else None


def _widened(g: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """g [l, b, o] and w [l, o, i] transposed; with more outputs, all 0, where the product will be differentiated and
    the derivative for w would not start on 64 bytes in every lane."""
    more = -w.shape[1] % (ALIGN // math.gcd(ALIGN, w.shape[2])) if torch.is_grad_enabled() else 0
    pad = torch.nn.functional.pad
    return (pad(g, (0, more)), pad(w, (0, 0, 0, more)).transpose(1, 2)) if more else (g, w.transpose(1, 2))


class _LinearLanes(torch.autograd.Function):
    """y[l, b, o] = Σ_i x[l, b, i] w[l, o, i] + c[l, o], one product for all lanes."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, c: Tensor | None) -> Tensor:
        return _product(x, w, c)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, c = inputs
        ctx.save_for_backward(x, w)
        ctx.bias = c is not None

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return _gradients(g, x, w, (needs[0], needs[1], ctx.bias and needs[2]))

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, w: Tensor, c: Tensor | None) -> tuple[Tensor, int]:
        # vmap over vmap: lanes of probes. The two lane axes become one.
        inner = x.shape[0] if dims[0] is None else x.movedim(dims[0], 0).shape[1]
        given = [t for t in (x, w, c) if t is not None]
        flat = [t.reshape(-1, *t.shape[2:]) for t in _lanes_first(info, dims[: len(given)], *given)]
        out = _LinearLanes.apply(*flat, *([None] if c is None else []))
        return out.unflatten(0, (info.batch_size, inner)), 0


class _Linear(torch.autograd.Function):
    """The same layer for one θ; vmap hands it on to :class:`_LinearLanes`."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, c: Tensor | None) -> Tensor:
        return _product(x[None], w[None], None if c is None else c[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _LinearLanes.setup_context(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needs = ctx.needs_input_grad
        grads = _gradients(g[None], x[None], w[None], (needs[0], needs[1], ctx.bias and needs[2]))
        return tuple(None if grad is None else grad[0] for grad in grads)

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, w: Tensor, c: Tensor | None) -> tuple[Tensor, int]:
        given = [t for t in (x, w, c) if t is not None]
        lanes = _lanes_first(info, dims[: len(given)], *given)
        return _LinearLanes.apply(*lanes, *([None] if c is None else [])), 0


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x Wᵀ + b for x [batch, inputs], W [outputs, inputs], b [outputs]."""
    y = _Linear.apply(x, weight, bias)
    heard = _HEARD.get()
    return y if heard is None else heard(Met(x, weight, bias, y))


class _Conv(torch.autograd.Function):
    """A 2-D convolution that runs once per lane on the CPU, where a grouped one is slower and
    its bits depend on the other lanes; on an accelerator lanes become groups."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, c: Tensor | None, stride: int, padding: int) -> Tensor:
        return torch.nn.functional.conv2d(_channels_last(x), w, c, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, c, stride, padding = inputs
        ctx.save_for_backward(x, w)
        ctx.bias, ctx.stride, ctx.padding = c is not None, stride, padding

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        x, w = ctx.saved_tensors
        grads = _ConvBackward.apply(g, x, w, ctx.stride, ctx.padding, ctx.needs_input_grad[0], ctx.bias)
        return (*grads, None, None)

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, w: Tensor, c: Tensor | None, *options: int) -> tuple[Tensor, int]:
        given = [t for t in (x, w, c) if t is not None]
        lanes = _lanes_first(info, dims[: len(given)], *given)
        rows = zip(*(t.unbind(0) for t in lanes), strict=True)
        outs = [_Conv.apply(*row, *([None] if c is None else []), *options) for row in rows]
        return _stack(outs), 0


class _ConvBackward(torch.autograd.Function):
    """The three gradients of a convolution; differentiable itself, by PyTorch's own rule."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, w: Tensor, stride: int, padding: int, back: bool, bias: bool) -> tuple[Any, ...]:
        return _conv_gradients(g, x, w, stride, padding, back, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.options = inputs[3:]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        stride, padding, back, bias = ctx.options
        g, x, w = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            outputs = _conv_gradients(g, x, w, stride, padding, back, bias)
            used = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o is not None and c is not None]
            grads = torch.autograd.grad([o for o, _ in used], (g, x, w), [c for _, c in used], allow_unused=True)
        return (*grads, None, None, None, None)

    @staticmethod
    def vmap(info: Any, dims: Any, g: Tensor, x: Tensor, w: Tensor, *options: Any) -> tuple[Any, Any]:
        lanes = _lanes_first(info, dims[:3], g, x, w)
        rows = [_ConvBackward.apply(*row, *options) for row in zip(*(t.unbind(0) for t in lanes), strict=True)]
        columns = [None if column[0] is None else _stack(column) for column in zip(*rows, strict=True)]
        return tuple(columns), tuple(None if column is None else 0 for column in columns)


def _conv_gradients(
    g: Tensor, x: Tensor, w: Tensor, stride: int, padding: int, back: bool, bias: bool
) -> tuple[Any, ...]:
    sizes = [w.shape[0]] if bias else None
    wanted = [back, True, bias]
    return tuple(
        torch.ops.aten.convolution_backward(
            g, x, w, sizes, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted
        )
    )


def _channels_last(x: Tensor) -> Tensor:
    """Images [n, c, h, w] laid out with channels innermost, where the CPU's poolings are ten times as quick.

    With one channel both layouts are the same memory, and only the strides tell a kernel which
    one its result should have.
    """
    if x.device.type != "cpu":
        return x
    n, c, h, w = x.shape
    if c == 1:
        return x.contiguous().as_strided((n, 1, h, w), (h * w, 1, w, 1))
    return x.contiguous(memory_format=torch.channels_last)


def _stack(rows: Any) -> Tensor:
    """Rows with a lane axis in front; a single row is not copied."""
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(list(rows))


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0) -> Tensor:
    """A 2-D cross-correlation: x [batch, in, h, w], weight [out, in, side, side]."""
    y = _Conv.apply(x, weight, bias, stride, padding)
    heard = _HEARD.get()
    return y if heard is None else heard(Met(x, weight, bias, y, stride, padding))


def max_pool2d(x: Tensor, side: int, stride: int | None = None, *, padding: int = 0, ceil: bool = False) -> Tensor:
    """The maximum over each window of side × side."""
    return torch.nn.functional.max_pool2d(x, side, stride or side, padding=padding, ceil_mode=ceil)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of −log softmax(logits)[label] for logits [batch, classes], labels [batch] in 0 … classes−1.

    Labels are not looked at for a padding class (the data adapters check their range once),
    which leaves fewer passes than ``F.cross_entropy``.
    """
    return -torch.log_softmax(logits, -1).gather(-1, labels.unsqueeze(-1)).mean()


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of examples whose largest logit is the label's."""
    return (logits.argmax(-1) == labels).to(logits.dtype).mean()


def lstm(
    x: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor, begin: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The hidden states h [batch, time, hidden] of an LSTM over x [batch, time, inputs], and where it ends.

    Gates in the order input i, forget f, candidate g, output o (Hochreiter & Schmidhuber
    1997 with the forget gate of Gers et al. 2000; *Deep Learning*, equations 10.40-10.44)::

        c = σ(f) c + σ(i) tanh(g),   h = σ(o) tanh(c)

    Begin and end are (h, c) as [batch, 2, hidden]; by default it begins at 0. Unlike ``nn.LSTM`` it
    vmaps, differentiates twice on every device, and has one bias.
    """
    return lstm_through(over_time(x, input_weight, bias), hidden_weight, begin)


def rnn(
    x: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor, begin: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The hidden states [batch, time, hidden] of a plain recurrent layer over x [batch, time, inputs], and its end.

    h ← tanh(Wx + Uh + b) (*Deep Learning*, equations 10.8-10.9). Begin and end are h as
    [batch, 1, hidden]; by default it begins at 0.
    """
    return rnn_through(over_time(x, input_weight, bias), hidden_weight, begin)


def over_time(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Wx + b [time, batch, outputs] at each time of x [batch, time, inputs]."""
    batch, time, inputs = x.shape
    return linear(x.transpose(0, 1).reshape(time * batch, inputs), weight, bias).unflatten(0, (time, batch))


_tanh = changeable(torch.tanh)  # of an LSTM's candidates and cells; its gates decide, and stay as they are


def lstm_through(sums: Tensor, hidden_weight: Tensor, begin: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What ``lstm`` makes of Wx + b [time, batch, 4 · hidden]."""
    states = []
    hidden, cell = _begun(sums, hidden_weight, begin, parts=2)
    for at in sums.unbind():
        inward, forget, candidate, outward = (at + linear(hidden, hidden_weight)).chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(inward) * _tanh(candidate)
        hidden = torch.sigmoid(outward) * _tanh(cell)
        states.append(hidden)
    return torch.stack(states, dim=1), torch.stack((hidden, cell), dim=1)


def rnn_through(sums: Tensor, hidden_weight: Tensor, begin: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What ``rnn`` makes of Wx + b [time, batch, hidden]."""
    states = []
    (hidden,) = _begun(sums, hidden_weight, begin, parts=1)
    for at in sums.unbind():
        hidden = _tanh(at + linear(hidden, hidden_weight))
        states.append(hidden)
    return torch.stack(states, dim=1), hidden.unsqueeze(1)


def _begun(sums: Tensor, hidden_weight: Tensor, begin: Tensor | None, parts: int) -> list[Tensor]:
    """The parts of the state [batch, hidden] that a layer begins with."""
    if begin is None:
        return [sums.new_zeros(sums.shape[1], hidden_weight.shape[-1]) for _ in range(parts)]
    return [part.contiguous() for part in begin.unbind(1)]
