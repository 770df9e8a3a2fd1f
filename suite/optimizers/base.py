"""What an optimizer is: a pure pair (init, step) that pulls values and gradients from an oracle.

An optimizer is written for one θ [D]. Many lanes train together by ``torch.func.vmap``; the
author never sees the lane axis. The float hyperparameters may then be tensors (one number
per lane) and may change from step to step (schedules), so a rule computes with them but
does not ask ``if lr > 0``; bounds are declared in the annotations and checked beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from problems.registry import Registry
from suite.optimizers import _foreign
from suite.schedules import schedule

if TYPE_CHECKING:
    from torch import Tensor

    from problems.affine import Affine
    from problems.layout import Layout

State = Any  # a tree (dict, tuple, list) of tensors and numbers; a number becomes a float64 tensor


class Oracle(Protocol):
    """Metered access to the objective on this step's minibatch, for one lane.

    Within one step every call sees the same minibatch.
    """

    @property
    def layout(self) -> Layout:
        """The pieces of θ, for methods that go by layers."""

    @property
    def steady(self) -> bool:
        """Whether the loss is the same function at every step, so that what one step has found at θ holds in the next.

        It is not where minibatches differ, or where a strategy changes what the optimizer sees.
        """

    def value(self, theta: Tensor) -> Tensor:
        """The loss at θ [D]; a scalar."""

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its gradient [D] at θ [D]."""

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        """The product of the loss's Hessian at θ with v [D]."""

    def ggn(self, theta: Tensor, v: Tensor) -> Tensor:
        """The product of the generalized Gauss-Newton matrix JᵀH_L J with v [D]: J of the problem's outputs,
        H_L of the loss in them."""

    def hessian(self, theta: Tensor) -> Tensor:
        """The Hessian [D, D] at θ, counted as D products; a ``UsageError`` where D is too large for it."""

    def factors(self, theta: Tensor, due: Tensor, key: Tensor, t: Tensor, samples: int) -> list[LayerFactors]:
        """Kronecker factors of the generalized Gauss-Newton matrix, layer by layer, for lanes that are ``due``.

        Each layer's block is about A ⊗ G. From ``samples`` random directions in the outputs, which depend
        on ``key`` (a whole number) and ``t``, or with 0 from all of them; counted as so many ``factors``.
        ``NotApplicable`` where a part of θ belongs to no linear layer or convolution.
        """


class LayerFactors(NamedTuple):
    """A = E[āāᵀ] of a layer's inputs, with a 1 for its bias if it has one, and G = E[ggᵀ] of what its sums do."""

    layer: Affine
    inputs: Tensor
    sums: Tensor


@dataclass(frozen=True)
class Needs:
    """What an optimizer asks of whoever runs it.

    Args:
        vmap: it may be lifted to many lanes; False for rules that look at values
            (``while``, ``.item()``) or that keep their own objects, which then run once
            per lane.
        full_batch: it is meant for the whole training set at each step.
        cycle: of how many steps one does what the others leave out, such as inverting a matrix; whoever
            tells what a step costs takes as many.
        averages: θ is an average of the points that its steps are made from, or what is evaluated is one of those
            visited, and its state has them: what shrinks θ does not shrink them.
        searches: it weighs losses against slopes, as a line search does, so that gradients must be those of the losses.
        matrices: of D × D numbers that it holds for a lane, about, while it steps.
    """

    vmap: bool = True
    full_batch: bool = False
    cycle: int = 1
    averages: bool = False
    searches: bool = False
    matrices: int = 0


def _itself(state: State, theta: Tensor) -> Tensor:
    return theta


@dataclass(frozen=True)
class Optimizer:
    """A pure pair of functions.

    Args:
        init: (oracle, θ₀) -> state.
        step: (oracle, state, θ) -> (new θ, new state); it changes none of its arguments.
        readout: (state, θ) -> the parameters to evaluate: θ itself, or an average of it.
    """

    init: Callable[[Oracle, Tensor], State]
    step: Callable[[Oracle, State, Tensor], tuple[Tensor, State]]
    readout: Callable[[State, Tensor], Tensor] = _itself
    needs: Needs = Needs()


def first_order(
    init: Callable[[Tensor], State],
    update: Callable[[Tensor, State, Tensor], tuple[Tensor, State]],
) -> Optimizer:
    """An optimizer that asks for one gradient g at θ in each step.

    Args:
        init: θ₀ -> state.
        update: (g, state, θ) -> (new θ, new state).
    """

    def step(oracle: Oracle, state: State, theta: Tensor) -> tuple[Tensor, State]:
        _, g = oracle.gradient(theta)
        return update(g, state, theta)

    return Optimizer(lambda oracle, theta: init(theta), step)


def zeros(theta: Tensor) -> Tensor:
    """A zero vector like θ."""
    return theta.new_zeros(theta.shape)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """aᵀb; for a matrix a, the vector ab.

    As a sum of products, whose bits do not depend on the lanes alongside, as those of ``@`` may.
    """
    return (a * b).sum(-1)


def repeat(body: Callable[[State, Tensor], tuple[State, Tensor]], state: State, active: Tensor, most: int = 1) -> State:
    """The state after rounds of ``state, active = body(state, active)``, ``most`` at most, until no lane is active.

    A loop that all lanes go through together, as ``analysis.replay.loops`` has it: a lane that is not active waits
    for the others, and the body leaves it as it is. ``state`` is a tree of tensors, ``active`` a 0-dim condition.
    """
    from analysis.replay import loops

    return loops.repeat(body, state, active, most)


def among(oracle: Oracle, active: Tensor) -> Oracle:
    """The oracle for trial evaluations that only lanes with ``active`` need: the others are not charged for them."""
    charged: Callable[[Tensor], Oracle] | None = getattr(oracle, "among", None)
    return oracle if charged is None else charged(active)


def either(condition: Tensor, one: State, other: State) -> State:
    """Of two trees of tensors and numbers, the first where a 0-dim condition holds."""
    import torch
    from torch.utils._pytree import tree_map

    return tree_map(lambda a, b: torch.where(condition, a, b), one, other)


def pieces(oracle: Oracle, vector: Tensor) -> list[Tensor]:
    """Views of a vector [D] in the shapes of the layers' pieces, a number as a vector of one; the vector alone where
    nothing is known of them."""
    layout: Layout | None = getattr(oracle, "layout", None)
    if layout is None:
        return [vector]
    return [piece if piece.dim() else piece.view(1) for piece in layout.split(vector).values()]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The vector [D] of such pieces."""
    import torch

    return torch.cat([part.reshape(-1) for part in parts])


optimizer: Registry[Optimizer] = Registry(
    "optimizer",
    "suite.optimizers",
    "suite.strategies",
    numbers=schedule,
    adopt=_foreign.adopt,
    such_as="first_order(init, update)",
    families={"torch": _foreign.TORCH, "zoo": _foreign.ZOO},
    groups={
        "book": lambda entry: "section" in entry.meta,
        "quick": lambda entry: not entry.meta.get("slow"),
    },
)
# What @optimizer(...) is told of an entry: section, algorithm, equation (of the book), reference (the paper),
# tune (setting -> range to search), slow (many evaluations a step: tests with many lanes of a net leave it out).
