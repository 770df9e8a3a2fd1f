"""Optimizers: pure pairs of functions, found by name."""

from suite.optimizers.base import Needs, Optimizer, first_order, optimizer

__all__ = ["Needs", "Optimizer", "first_order", "optimizer"]
