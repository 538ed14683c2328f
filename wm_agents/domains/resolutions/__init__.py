"""Models of recorded votes; features come as arrays, from whatever reads the records."""

from wm_agents.domains.resolutions.data import VoteData
from wm_agents.domains.resolutions.metrics import interval_coverage, tally_errors, vote_metrics
from wm_agents.domains.resolutions.spatial import SpatialConfig, SpatialModel, held_out_accuracy
from wm_agents.domains.resolutions.text import novelty, tf_idf
from wm_agents.domains.resolutions.vote_model import Forecast, VoteModel, VoteModelConfig

__all__ = [
    "Forecast",
    "SpatialConfig",
    "SpatialModel",
    "VoteData",
    "VoteModel",
    "VoteModelConfig",
    "held_out_accuracy",
    "interval_coverage",
    "novelty",
    "tally_errors",
    "tf_idf",
    "vote_metrics",
]
