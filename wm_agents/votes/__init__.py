"""Models of recorded votes; features come as arrays, from whatever reads the records."""

from wm_agents.votes.data import VoteData
from wm_agents.votes.metrics import interval_coverage, tally_errors, vote_metrics
from wm_agents.votes.spatial import SpatialConfig, SpatialModel, held_out_accuracy
from wm_agents.votes.text import novelty, tf_idf
from wm_agents.votes.vote_model import Forecast, VoteModel, VoteModelConfig

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
