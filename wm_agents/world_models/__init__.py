"""World models: they imagine what comes next, the reward and whether the episode ends."""

from wm_agents.world_models.adapters import (
    DerivedFeature,
    FeatureLayout,
    detect_layout,
    frame_stack,
)
from wm_agents.world_models.deterministic import DRIVING, DeterministicConfig, DeterministicModel
from wm_agents.world_models.ensemble import (
    EnsembleConfig,
    EnsembleModel,
    EnsembleWeights,
    Intervals,
)
from wm_agents.world_models.fitting import FitConfig, FitReport
from wm_agents.world_models.history import HistoryModel
from wm_agents.world_models.latent import LatentConfig, LatentModel
from wm_agents.world_models.recurrent import RecurrentConfig, RecurrentModel
from wm_agents.world_models.tabular import TabularModel
from wm_agents.world_models.token import TokenConfig, TokenModel
from wm_envs.data.moved import renamed

__all__ = [
    "DRIVING",
    "DerivedFeature",
    "DeterministicConfig",
    "DeterministicModel",
    "EnsembleConfig",
    "EnsembleModel",
    "EnsembleWeights",
    "FeatureLayout",
    "FitConfig",
    "FitReport",
    "HistoryModel",
    "Intervals",
    "LatentConfig",
    "LatentModel",
    "RecurrentConfig",
    "RecurrentModel",
    "TabularModel",
    "TokenConfig",
    "TokenModel",
    "detect_layout",
    "frame_stack",
]

# Until the next release.
__getattr__ = renamed(
    __name__,
    {
        "Known": "wm_agents.world_models.adapters.DerivedFeature",
        "Layout": "wm_agents.world_models.adapters.FeatureLayout",
    },
)
