"""The objective as an optimizer sees it that steps by itself: one row of the lanes' matrix."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from problems.layout import Layout
from suite.factors import passes
from suite.lane_oracle import LaneOracle
from suite.objective import Objective
from suite.optimizers.base import LayerFactors


class RowOracle:
    """The objective of one lane that knows its gradient at the start of the step beforehand."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.calls: Counter[str] = Counter()
        self.asked_first = True  # whether the last step began by asking for the gradient at θ
        self.first: Tensor | None = None
        self._known: tuple[Tensor, Tensor] | None = None
        self._at: tuple[int, int] = (0, 0)

    @property
    def layout(self) -> Layout:
        return self.objective.layout

    @property
    def steady(self) -> bool:
        return self.objective.steady

    def begin(self, theta: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """A new step from θ, where the loss and gradient may be known."""
        self._known, self.first = known, None
        self._at = (theta.data_ptr(), theta._version)

    def _ask(self, kind: str, *operands: Tensor) -> list[Tensor]:
        """Evaluate anew; the first evaluation of a step gives what is carried on."""
        lane = [operand.detach()[None] for operand in operands]
        return [out[0] for out in self.objective.evaluate(kind, *lane, carry=self.first is None)]

    def _note(self, kind: str, theta: Tensor, value: Tensor) -> None:
        self.calls[kind] += 1
        if self.first is None:
            self.asked_first = kind == "gradient" and self._at == (theta.data_ptr(), theta._version)
            self.first = value.clone()

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        known = self._known is not None and self._at == (theta.data_ptr(), theta._version)
        value, gradient = self._known if known and self._known else self._ask("gradient", theta)
        self._note("gradient", theta, value)
        return value, gradient

    def value(self, theta: Tensor) -> Tensor:
        (value,) = self._ask("value", theta)
        self._note("value", theta, value)
        return value

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        self.calls["hvp"] += 1
        return self._ask("hvp", theta, v)[0]

    def ggn(self, theta: Tensor, v: Tensor) -> Tensor:
        self.calls["ggn"] += 1
        return self._ask("ggn", theta, v)[0]

    def hessian(self, theta: Tensor) -> Tensor:
        self.calls["hvp"] += self.objective.problem.size
        return self._ask("hessian", theta)[0]

    def factors(self, theta: Tensor, due: Tensor, key: Tensor, t: Tensor, samples: int) -> list[LayerFactors]:
        if due:
            self.calls["factors"] += passes(self.objective.problem, samples)
        return LaneOracle(self.objective).factors(theta, due, key, t, samples)
