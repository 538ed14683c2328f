"""How agents and models are judged: episodes, open-loop error, scorecards and statistics."""

from wm_agents.evaluation.plots import plot_intervals, plot_learning_curves
from wm_agents.evaluation.probes import ProbeResult, linear_probe
from wm_agents.evaluation.statistics import (
    CensoredMedian,
    CensoredTimes,
    Interval,
    PermutationTest,
    ThresholdRatio,
    exact_permutation_test,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    steps_to_threshold,
    stratified_bootstrap,
    stratified_bootstrap_band,
    threshold_ratio,
    wilson_interval,
)

__all__ = [
    "CensoredMedian",
    "CensoredTimes",
    "Interval",
    "PermutationTest",
    "ProbeResult",
    "ThresholdRatio",
    "exact_permutation_test",
    "interquartile_mean",
    "linear_probe",
    "paired_difference",
    "plot_intervals",
    "plot_learning_curves",
    "probability_of_improvement",
    "steps_to_threshold",
    "stratified_bootstrap",
    "stratified_bootstrap_band",
    "threshold_ratio",
    "wilson_interval",
]
