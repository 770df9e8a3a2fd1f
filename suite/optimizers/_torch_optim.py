"""Any ``torch.optim.Optimizer`` subclass as an :class:`Optimizer` of one lane."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from problems.names import UsageError
from suite.optimizers.base import Needs, Optimizer, Oracle, State, pieces


def adapt(cls: type[torch.optim.Optimizer], settings: Mapping[str, Any]) -> Optimizer:
    """The class with its constructor's settings, as a pair (init, step).

    ``init`` makes an instance over ``Parameter`` views of θ: one a piece, of the piece's
    shape, where the oracle has a ``layout``, so that rules for matrices see matrices; else
    θ as one vector. ``step`` changes θ in place and returns it. Settings that follow a
    schedule are written into the instance's ``param_groups`` when they change.

    Raises:
        UsageError: the class refuses the settings or the shapes (in ``init``).
    """

    def init(oracle: Oracle, theta: Tensor) -> State:
        try:
            instance = cls([Parameter(view) for view in pieces(oracle, theta)], **settings)
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            raise UsageError(f"torch {cls.__name__}({given}) cannot be made: {error}") from error
        return {"optimizer": instance, "theta": theta, "settings": dict(settings)}

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        own, instance = state["theta"], state["optimizer"]
        if theta is not own:
            own.copy_(theta)
        _follow(instance, state["settings"], settings)

        def closure() -> Tensor:
            value, gradient = oracle.gradient(own)
            views = pieces(oracle, gradient.clone())  # the optimizer may change its gradients
            for parameter, view in zip(_parameters(instance), views, strict=True):
                parameter.grad = view
            return value

        if _wants_closure(cls):
            instance.step(closure)
        else:
            closure()
            instance.step()
        return own, {**state, "settings": dict(settings)}

    return Optimizer(init, step, needs=Needs(vmap=False))


def _parameters(instance: torch.optim.Optimizer) -> list[Parameter]:
    return [parameter for group in instance.param_groups for parameter in group["params"]]


def _follow(instance: torch.optim.Optimizer, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Write what has changed into the instance; what it changed by itself stays."""
    for key, value in now.items():
        if value != before[key]:
            for group in instance.param_groups:
                if key in group:
                    group[key] = value


def _wants_closure(cls: type[torch.optim.Optimizer]) -> bool:
    closure = inspect.signature(cls.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
