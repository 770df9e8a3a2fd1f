"""Initializers: where training starts, found by name."""

from suite.initializers.base import Initializer, NotApplicable, initializer, weights

__all__ = ["Initializer", "NotApplicable", "initializer", "weights"]
