"""Initializers: where training starts, found by name."""

from suite.initializers.base import Bias, Initializer, NotApplicable, bias, initializer, weights

__all__ = ["Bias", "Initializer", "NotApplicable", "bias", "initializer", "weights"]
