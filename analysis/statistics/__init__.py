"""What tables of runs and traces say: intervals, verdicts, times to a target, profiles, tuning, sensitivity.

Pure functions of arrays and of the tidy tables that ``suite.load`` gives; ``traces`` has the
columns ``run``, ``step``, ``measure`` and ``value``. A run that diverged counts with the worst
value there is, +∞ or −∞, so medians and ranks stay honest and need no special case.
"""

from analysis.statistics.intervals import Estimate, Statistic, aggregate, interval
from analysis.statistics.values import Better, final_values, first_step, median_steps
from analysis.statistics.verdicts import (
    Outcome,
    Verdict,
    holm,
    pairwise,
    probability_of_improvement,
    seeds_needed,
    signed_rank_p,
    verdict,
)

__all__ = [
    "Better",
    "Estimate",
    "Outcome",
    "Statistic",
    "Verdict",
    "aggregate",
    "final_values",
    "first_step",
    "holm",
    "interval",
    "median_steps",
    "pairwise",
    "probability_of_improvement",
    "seeds_needed",
    "signed_rank_p",
    "verdict",
]
