"""What tables of runs and traces say: intervals, verdicts, times to a target, profiles, tuning, sensitivity.

Pure functions of arrays and of the tidy tables that ``suite.load`` gives; ``traces`` has the
columns ``run``, ``step``, ``measure`` and ``value``. A run that diverged counts with the worst
value there is, +∞ or −∞, so medians and ranks stay honest and need no special case.
"""

from analysis.statistics.intervals import Estimate, Statistic, aggregate, interval, proportion
from analysis.statistics.leads import vanishing_advantages
from analysis.statistics.profiles import (
    performance_profile,
    performance_ratios,
    profile_score,
    score_per_budget,
    solved_per_budget,
)
from analysis.statistics.ranks import rank_correlation
from analysis.statistics.sensitivity import Sensitivity, against_setting, sensitivity
from analysis.statistics.survival import TimeToTarget, kaplan_meier, time_to_target, times_to_target, with_clocks
from analysis.statistics.tuning import expected_best, ranking_changes, running_best, tuning_curves
from analysis.statistics.values import Better, final_values
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
    "Sensitivity",
    "Statistic",
    "TimeToTarget",
    "Verdict",
    "against_setting",
    "aggregate",
    "expected_best",
    "final_values",
    "holm",
    "interval",
    "kaplan_meier",
    "pairwise",
    "performance_profile",
    "performance_ratios",
    "probability_of_improvement",
    "profile_score",
    "proportion",
    "rank_correlation",
    "ranking_changes",
    "running_best",
    "score_per_budget",
    "seeds_needed",
    "sensitivity",
    "signed_rank_p",
    "solved_per_budget",
    "time_to_target",
    "times_to_target",
    "tuning_curves",
    "vanishing_advantages",
    "verdict",
    "with_clocks",
]
