"""World models: they imagine what comes next, what it pays and whether it ends."""

from wm_agents.world_models.adapters import Known, Layout, detect_layout, frame_stack
from wm_agents.world_models.deterministic import DRIVING, DeterministicConfig, DeterministicModel
from wm_agents.world_models.ensemble import EnsembleConfig, EnsembleModel, EnsembleWeights, Intervals
from wm_agents.world_models.fitting import FitConfig, FitReport

__all__ = [
    "DRIVING",
    "DeterministicConfig",
    "DeterministicModel",
    "EnsembleConfig",
    "EnsembleModel",
    "EnsembleWeights",
    "FitConfig",
    "FitReport",
    "Intervals",
    "Known",
    "Layout",
    "detect_layout",
    "frame_stack",
]
