"""The first step of a rule that somebody wrote, by itself: what is wrong with it, in words for its author."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves

from problems.names import Spec, UsageError
from problems.problem import Problem
from suite.lane_oracle import LaneOracle
from suite.objective import Objective
from suite.optimizers import Optimizer, optimizer
from suite.optimizers.base import Oracle
from suite.sampler import sampler_of

PURE = (
    "two steps from one state differ: what changes from step to step belongs in the state, which init gives and step "
    "hands on, not in Python variables; random numbers come from suite.strategies.noise: key_of(theta) in init, "
    "normal(key, t, n) in step"
)


def of_users(spec: Spec) -> bool:
    """Whether an optimizer, or one inside it, is from somebody's own file or module."""
    return ":" in spec.name or any(of_users(value) for value in spec.options.values() if isinstance(value, Spec))


def try_out(problem: Problem, spec: Spec, theta: Tensor, seed: int, size: int, order: str) -> None:
    """Take the first step of a bound optimizer from θ [D] on its first minibatch, and no more.

    Raises:
        UsageError: it is no rule, or no function of what it is given; what it raises is passed on.
    """
    made = optimizer.build(spec)
    if isinstance(made, Optimizer) and not made.needs.vmap:
        return  # it keeps its own objects, and lanes say by themselves what they raise
    sampler = sampler_of(problem, [seed], size, order, theta[None])
    sampler.fill(0)
    oracle = LaneOracle(Objective(problem, 1, sampler.batch, sampler.carried, taped=False))
    words = fault(made, oracle, theta) or ("" if is_pure(made, oracle, theta) else PURE)
    if words:
        raise UsageError(f"{spec.name}: {words}; python -m suite check {spec.name} tells more")


def fault(made: Any, oracle: Oracle, theta: Tensor) -> str:
    """What is wrong with the form of a rule's first step from θ [D]; empty if nothing is."""
    if not isinstance(made, Optimizer):
        return f"it must return an Optimizer, as first_order(init, update) does; got {type(made).__name__}"
    state = made.init(oracle, theta.clone())
    before = {name: tuple(leaf.shape) for name, leaf in _named(state)}
    after_step = made.step(oracle, state, theta.clone())
    if not (isinstance(after_step, tuple) and len(after_step) == 2):
        return f"a step must return theta and the state, (theta, state); got {type(after_step).__name__}"
    moved, state = after_step
    if not isinstance(moved, Tensor) or moved.shape != theta.shape:
        got = tuple(moved.shape) if isinstance(moved, Tensor) else type(moved).__name__
        return f"a step must return theta of shape {tuple(theta.shape)}, got {got}"
    after = {name: tuple(leaf.shape) for name, leaf in _named(state)}
    if made.needs.vmap and before != after:
        changed = next(name for name in {**before, **after} if before.get(name) != after.get(name))
        return (
            f"the state keeps the form that init gave it; {changed or 'it'} goes from "
            f"{before.get(changed, 'nothing')} to {after.get(changed, 'nothing')}"
        )
    return ""


def is_pure(made: Optimizer, oracle: Oracle, theta: Tensor) -> bool:
    """Whether two steps from one state at θ [D] end alike, to the bit; True where not even the gradient repeats."""
    first, second = (made.step(oracle, made.init(oracle, theta.clone()), theta.clone()) for _ in range(2))
    return same(first, second) or not same(*(oracle.gradient(theta.clone()) for _ in range(2)))


def same(one: Any, other: Any) -> bool:
    """Whether two trees hold the same numbers, NaN for NaN."""
    ones, others = ([torch.as_tensor(leaf) for leaf in tree_leaves(tree)] for tree in (one, other))
    return len(ones) == len(others) and all(map(_equal, ones, others))


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _named(state: Any) -> list[tuple[str, Tensor]]:
    """The parts of a state by their places; numbers as tensors of no dimension."""
    leaves, _ = tree_flatten_with_path(state)
    return [(keystr(path), torch.as_tensor(leaf)) for path, leaf in leaves if isinstance(leaf, Tensor | int | float)]
