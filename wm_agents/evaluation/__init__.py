"""How agents and models are evaluated: episodes, open-loop error, scorecards and statistics."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wm_agents.evaluation.plots import plot_intervals, plot_learning_curves
from wm_agents.evaluation.probes import ProbeResult, linear_probe
from wm_agents.evaluation.statistics import (
    Interval,
    PermutationTest,
    exact_permutation_test,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
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

if TYPE_CHECKING:
    from wm_agents.evaluation.episodes import EpisodeResults, RandomAgent, evaluate
    from wm_agents.evaluation.open_loop import open_loop_error
    from wm_agents.evaluation.open_loop_report import OpenLoopReport

__all__ = [
    "CensoredMedian",
    "CensoredTimes",
    "EpisodeResults",
    "Interval",
    "OpenLoopReport",
    "PermutationTest",
    "ProbeResult",
    "RandomAgent",
    "ThresholdRatio",
    "evaluate",
    "exact_permutation_test",
    "interquartile_mean",
    "linear_probe",
    "open_loop_error",
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

# These load torch, which takes two seconds that statistics and plots do not need.
_LAZY = {
    "EpisodeResults": "episodes",
    "OpenLoopReport": "open_loop_report",
    "RandomAgent": "episodes",
    "evaluate": "episodes",
    "open_loop_error": "open_loop",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
