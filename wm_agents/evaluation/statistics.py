"""Statistics of learning results, gathered from the modules that define them.

`intervals` has estimates with intervals, `comparisons` sets one arm against another, `thresholds`
counts steps to a score with censoring. A learning claim here stands on at least ten seeds, an
interval, and failures that are counted.
"""

from wm_agents.evaluation.comparisons import (
    PermutationTest,
    exact_permutation_test,
    paired_difference,
    probability_of_improvement,
)
from wm_agents.evaluation.intervals import (
    Interval,
    interquartile_mean,
    stratified_bootstrap,
    stratified_bootstrap_band,
    wilson_interval,
)
from wm_agents.evaluation.thresholds import (
    CensoredMedian,
    CensoredTimes,
    ThresholdRatio,
    steps_to_threshold,
    threshold_ratio,
)

__all__ = [
    "CensoredMedian",
    "CensoredTimes",
    "Interval",
    "PermutationTest",
    "ThresholdRatio",
    "exact_permutation_test",
    "interquartile_mean",
    "paired_difference",
    "probability_of_improvement",
    "steps_to_threshold",
    "stratified_bootstrap",
    "stratified_bootstrap_band",
    "threshold_ratio",
    "wilson_interval",
]
