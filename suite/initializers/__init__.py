"""Initializers: where training starts, found by name."""

from problems.names import NotApplicable
from suite.initializers.base import Bias, Initializer, bias, initializer, weights

__all__ = ["Bias", "Initializer", "NotApplicable", "bias", "initializer", "weights"]
