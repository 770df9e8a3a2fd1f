"""What is minimized. Imports nothing of ``suite`` or ``analysis``, and torch only when a problem is made."""

from problems.bounds import linear_range, log_range
from problems.names import Spec, UsageError, parse
from problems.problem import Data, Known, Metric, Problem, Target, problem
from problems.registry import Registry

__all__ = [
    "Data",
    "Known",
    "Metric",
    "Problem",
    "Registry",
    "Spec",
    "Target",
    "UsageError",
    "linear_range",
    "log_range",
    "parse",
    "problem",
]
