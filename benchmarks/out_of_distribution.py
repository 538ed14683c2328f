"""Does a score tell where a model errs when the world has changed, and what is stopping by it worth?

    python -m benchmarks.out_of_distribution

An ensemble is fitted to random play in a pendulum, and to the expert's driving, disturbed. Scores
are calibrated on other episodes of the same kind. They then face episodes of the same world, of
other policies and of changed parameters, pooled: the AUROC of each score against "the model errs
by more than the tolerance within the horizon from here", and against the world alone. Driving, an
agent that hands over to a careful fallback once it is surprised is held against one that does not.
One row per task and seed is added to the result, in place of an older one.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import RESULTS
from wm_agents.world_models import EnsembleConfig

NAME = "out_of_distribution"
KEY = ("task", "seed")
SMALL = EnsembleConfig(
    num_members=3, dynamics_widths=(64, 64), reward_widths=(16,), termination_widths=(16,)
)
HEAVY_PENDULUM = "PendulumOfMass-v0"
NOTES = (
    "Wrong means an error beyond the tolerance in any feature, in standard deviations of training.",
    "All scores use what was known before the step; surprise is the error of the steps before it.",
)


@dataclass(frozen=True)
class Config:
    """What to run."""

    tasks: tuple[str, ...] = ("pendulum", "driving", "guard")
    """Of the three."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of recordings, weights and drives."""
    horizon: int = 16
    """Steps within which a model errs or not."""
    tolerance: float = 0.1
    """Largest error that is none, in standard deviations."""
    num_updates: int = 1500
    """Optimizer steps of a fit."""
    redo: bool = False
    """Measure rows again that the result already has."""
    output_dir: Path = RESULTS
    """Folder for out_of_distribution.json."""
