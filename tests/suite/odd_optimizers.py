"""Optimizers that misbehave, each in a way of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from suite import Optimizer, Positive, optimizer


@optimizer()
def raises(lr: Positive = 0.1) -> Optimizer:
    """Raises at its third step, wherever that is."""

    def step(oracle, state, theta):
        oracle.gradient(theta)
        raise ZeroDivisionError("nothing to divide by")

    return Optimizer(lambda oracle, theta: {}, step)


@optimizer()
def wrong_shape(lr: Positive = 0.1) -> Optimizer:
    """Returns two numbers."""
    return Optimizer(lambda oracle, theta: {}, lambda oracle, state, theta: (theta[:2], state))


@optimizer()
def not_a_number(lr: Positive = 0.1) -> Optimizer:
    """Returns nan, and does not even look at the gradient."""

    def step(oracle, state, theta):
        oracle.gradient(theta)
        return theta * float("nan"), state

    return Optimizer(lambda oracle, theta: {}, step)


@optimizer()
def looks(lr: Positive = 0.1) -> Optimizer:
    """Looks at values, which vmap cannot lift."""

    def step(oracle, state, theta):
        value, g = oracle.gradient(theta)
        rate = lr if float(value) < state else lr / 2
        return theta - rate * g, min(float(value), state)

    return Optimizer(lambda oracle, theta: 1e9, step)


@optimizer()
def forgets(lr: Positive = 0.1) -> Optimizer:
    """Returns another state than it was given."""

    def step(oracle, state, theta):
        _, g = oracle.gradient(theta)
        return theta - lr * g, {"more": g}

    return Optimizer(lambda oracle, theta: {}, step)


@optimizer()
def kills_its_process(lr: Positive = 0.1) -> Optimizer:
    """Kills the process that it runs in, once."""

    def init(oracle, theta):
        mark = Path(os.environ["SUITE_TEST_MARK"])
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {}

    def step(oracle, state, theta):
        _, g = oracle.gradient(theta)
        return theta - lr * g, state

    return Optimizer(init, step)
