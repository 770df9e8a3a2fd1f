"""The objective as one lane sees it, whose questions leave vmap and reach the objective of all lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from problems.affine import layers_of
from problems.layout import Layout
from suite.objective import Objective
from suite.optimizers.base import LayerFactors


class _Ask(torch.autograd.Function):
    """Carries an oracle call out of vmap: its rule hands all lanes' operands to the objective."""

    @staticmethod
    def forward(objective: Any, kind: str, *operands: Tensor) -> Any:
        answer = getattr(objective, kind)(*(t.unsqueeze(0) for t in operands))
        return tuple(a.squeeze(0) for a in answer) if isinstance(answer, tuple) else answer.squeeze(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is differentiated through an oracle."""

    @staticmethod
    def vmap(info: Any, dims: Any, objective: Any, kind: str, *operands: Tensor) -> Any:
        lanes = [
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(operands, dims[2:], strict=True)
        ]
        answer = getattr(objective, kind)(*lanes)
        return answer, ((0,) * len(answer) if isinstance(answer, tuple) else 0)


@dataclass(frozen=True)
class _Factors:
    """An objective's ``factors`` from so many samples, as :class:`_Ask` asks it."""

    objective: Objective
    samples: int

    def factors(self, *operands: Tensor) -> tuple[Tensor, ...]:
        return self.objective.factors(self.samples, *operands)


class LaneOracle:
    """What an optimizer's step sees: the objective of one lane (see ``suite.optimizers.base.Oracle``)."""

    def __init__(self, objective: Objective, active: Tensor | None = None) -> None:
        self._objective = objective
        self._active = active

    @property
    def layout(self) -> Layout:
        """The pieces of θ, for methods that go by layers."""
        return self._objective.layout

    @property
    def steady(self) -> bool:
        """Whether the loss is the same function at every step."""
        return self._objective.steady

    def among(self, active: Tensor) -> LaneOracle:
        """The oracle for trial evaluations, which count for lanes with ``active`` only."""
        return LaneOracle(self._objective, active)

    def _ask(self, kind: str, *operands: Tensor) -> Any:
        if self._active is not None:
            _Ask.apply(self._objective, "only", self._active)
        return _Ask.apply(self._objective, kind, *operands)

    def value(self, theta: Tensor) -> Tensor:
        return self._ask("value", theta)

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self._ask("gradient", theta)
        return value, gradient

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        return self._ask("hvp", theta, v)

    def ggn(self, theta: Tensor, v: Tensor) -> Tensor:
        return self._ask("ggn", theta, v)

    def hessian(self, theta: Tensor) -> Tensor:
        return self._ask("hessian", theta)

    def factors(self, theta: Tensor, due: Tensor, key: Tensor, t: Tensor, samples: int) -> list[LayerFactors]:
        asked = _Factors(self._objective, samples)
        found: tuple[Tensor, ...] = _Ask.apply(asked, "factors", theta, due, key, t)
        layers = layers_of(self._objective.problem)
        return [LayerFactors(*each) for each in zip(layers, found[::2], found[1::2], strict=True)]
