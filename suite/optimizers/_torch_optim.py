"""Any ``torch.optim.Optimizer`` subclass as an :class:`Optimizer` of one lane."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from types import CodeType
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from problems.layout import Layout, dense
from problems.names import Spec, UsageError, render
from problems.references import RAISED
from suite.optimizers.base import Needs, Optimizer, Oracle, State, pieces
from suite.schedules import schedule
from suite.strategies.noise import key_of

_DRAWS = frozenset(
    {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "normal_", "uniform_"}
    | {"bernoulli", "bernoulli_", "multinomial", "exponential_"}
)


def adapt(cls: Any, settings: Mapping[str, Any]) -> Optimizer:
    """The class with its constructor's settings, as a pair (init, step).

    ``init`` makes an instance over ``Parameter`` views of θ: one a piece, of the piece's
    shape, where the oracle has a ``layout``, so that rules for matrices see matrices; else
    θ as one vector. Where the class asks each group whether to ``use_muon``, matrices and the
    rest are two groups. ``step`` changes θ in place and returns it. Settings that follow a
    schedule are written into the instance's ``param_groups`` when they change.

    Classes that differentiate gradients (``torch.autograd.grad`` of ``p.grad``) get products
    with the Hessian from the oracle, which counts them. Those that draw random numbers have a
    stream of their own, which θ₀ decides.

    Raises:
        UsageError: the class refuses the settings or the shapes (in ``init``).
    """
    words = _words_of(cls)
    bends, draws = "autograd" in words, bool(words & _DRAWS)
    asks = _wants_closure(cls) or "NoClosureError" in words

    def init(oracle: Oracle, theta: Tensor) -> State:
        views = pieces(oracle, theta)
        parameters = [Parameter(view) for view in views]
        random = _Random(theta) if draws else nullcontext()
        try:
            with random:
                instance = cls(_grouped(parameters) if "use_muon" in words else parameters, **settings)
        except RAISED as error:
            raise UsageError(f"torch {_written(cls, settings)} cannot be made: {error}") from error
        return _Held(instance, parameters, views, random, theta, dict(settings))

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        own, instance, parameters = state.theta, state.optimizer, state.parameters
        if theta is not own:
            own.copy_(theta)
        _follow(instance, state.settings, settings)

        def closure() -> Tensor:
            value, gradient = oracle.gradient(own)
            views = pieces(oracle, gradient.clone())  # the optimizer may change its gradients
            if bends:
                with torch.enable_grad():
                    views = _Slopes.apply(oracle, own.detach().clone(), views, *parameters)
            for parameter, view in zip(parameters, views, strict=True):
                parameter.grad = view
            return value

        with state.random:
            if asks:
                instance.step(closure)
            else:
                closure()
                instance.step()
        _gather(parameters, state.views)
        return own, replace(state, settings=dict(settings))

    return Optimizer(init, step, needs=Needs(vmap=False, searches=settings.get("line_search_fn") is not None))


def refusal(cls: Any, settings: Mapping[str, Any], usual: Mapping[str, Any] | None) -> str:
    """Why a class's constructor refuses settings, whatever the parameters' shapes; empty if it does not.

    Args:
        usual: its defaults, if it has one for each: where it does not take these either, nothing is said.
    """
    why = _tried(cls, _at_first(settings))
    if not why or (usual is not None and _tried(cls, usual)):
        return ""
    return f"{_written(cls, settings)} cannot be made: {why}"


def _tried(cls: Any, settings: Mapping[str, Any]) -> str:
    """What the constructor says over a vector, over a matrix, and over both, if it takes none of them."""
    vector, matrix = (Parameter(torch.zeros(shape)) for shape in ((2,), (2, 2)))
    why = ""
    for parameters in ([vector, matrix], [vector], [matrix], _grouped([vector, matrix])):
        try:
            cls(parameters, **settings)
        except RAISED as error:
            why = why or f"{error}" or type(error).__name__
        else:
            return ""
    return why


class _Bowl:
    """½θᵀθ of a layer's weights and biases, to try a class on; what more an oracle has, none of them asks for."""

    layout = Layout(tuple(dense("layer", 2, 2)))

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return (theta * theta).sum() / 2, theta.clone()

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        return v.clone()


def first_fault(made: Optimizer) -> str:
    """What an optimizer says that cannot take a step on a matrix and a vector; empty if it can."""
    oracle, theta = cast(Oracle, _Bowl()), torch.linspace(-1.0, 1.0, _Bowl.layout.size)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            made.step(oracle, made.init(oracle, theta), theta)
        except RAISED as error:
            return str(error) or type(error).__name__
    return ""


def _at_first(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings before the first step: schedules have their first value."""
    return {key: schedule.build(value)(0) if isinstance(value, Spec) else value for key, value in settings.items()}


@dataclass(frozen=True)
class _Held:
    """The state of an instance, which strategies take as one thing: none of it is theirs to look into."""

    optimizer: torch.optim.Optimizer
    parameters: Sequence[Parameter]
    views: Sequence[Tensor]  # θ's own memory in the shapes of the pieces
    random: AbstractContextManager[Any]
    theta: Tensor
    settings: Mapping[str, Any]


class _Random(AbstractContextManager["_Random"]):
    """A lane's own stream of PyTorch's global random numbers, from the bits of its θ₀."""

    def __init__(self, theta: Tensor) -> None:
        self.state = torch.Generator().manual_seed(int(key_of(theta))).get_state()

    def __enter__(self) -> _Random:
        self.outside = torch.get_rng_state()
        torch.set_rng_state(self.state)
        return self

    def __exit__(self, *error: object) -> None:
        self.state = torch.get_rng_state()
        torch.set_rng_state(self.outside)


def _written(cls: type, settings: Mapping[str, Any]) -> str:
    """The call with those settings that are not the defaults."""
    defaults = inspect.signature(cls.__init__).parameters  # type: ignore[misc]  # of the class itself, not an instance
    given = {k: v for k, v in settings.items() if k not in defaults or defaults[k].default != v}
    return f"{cls.__name__}({', '.join(f'{key}={render(value)}' for key, value in given.items())})"


class _Slopes(torch.autograd.Function):
    """Gradients at θ that may be differentiated once: the oracle gives their products with the Hessian."""

    @staticmethod
    def forward(ctx: Any, oracle: Oracle, theta: Tensor, views: Sequence[Tensor], *parameters: Tensor) -> Any:
        ctx.oracle, ctx.theta = oracle, theta
        return tuple(view.clone() for view in views)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        product = ctx.oracle.hvp(ctx.theta, torch.cat([c.reshape(-1) for c in cotangents]))
        return None, None, None, *pieces(ctx.oracle, product.clone())


def _gather(parameters: Sequence[Parameter], views: Sequence[Tensor]) -> None:
    """Take into θ what a step has put elsewhere, as ``p.data = p.data - lr * p.grad`` does."""
    for parameter, view in zip(parameters, views, strict=True):
        if parameter.data_ptr() != view.data_ptr():
            view.copy_(parameter.detach())
            parameter.data = view


def _grouped(parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Matrices, for a method that makes them orthogonal, and the rest."""
    groups = [(True, [p for p in parameters if p.dim() > 1]), (False, [p for p in parameters if p.dim() < 2])]
    return [{"params": members, "use_muon": orthogonal} for orthogonal, members in groups if members]


def _follow(instance: torch.optim.Optimizer, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Write what has changed into the groups that had the old value; what the instance changed by itself stays."""
    for key, value in now.items():
        if value != before[key]:
            for group in instance.param_groups:
                if key in group and group[key] == before[key]:
                    group[key] = value


def _wants_closure(cls: type[torch.optim.Optimizer]) -> bool:
    closure = inspect.signature(cls.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


@cache
def _words_of(cls: Any) -> frozenset[str]:
    """Names and words that a class's constructor and ``step`` use, and the methods that these call."""
    waiting, seen, words = ["__init__", "step"], set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for owner in cls.__mro__:
            method = vars(owner).get(name)
            code = getattr(inspect.unwrap(method) if callable(method) else method, "__code__", None)
            if code is not None and not owner.__module__.startswith("torch."):
                found = list(_words(code))
                waiting += found
                words.update(found)
    return frozenset(words)


def _words(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str) and constant.isidentifier():
            yield constant
        elif isinstance(constant, CodeType):
            yield from _words(constant)
