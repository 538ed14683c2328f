"""Models of recorded votes; features come as arrays, from whatever reads the records."""

from wm_agents.domains.resolutions.classifier import ClassifierConfig, VoteClassifier
from wm_agents.domains.resolutions.data import QuestionKind, VoteData
from wm_agents.domains.resolutions.evaluation import (
    interval_coverage,
    tally_errors,
    vote_metrics,
)
from wm_agents.domains.resolutions.history import novelty, tf_idf
from wm_agents.domains.resolutions.ideal_points import IdealPoints, IdealPointsConfig
from wm_agents.domains.resolutions.spatial import SpatialConfig, SpatialModel, held_out_accuracy
from wm_agents.domains.resolutions.vote_model import Forecast, VoteModel, VoteModelConfig
from wm_agents.domains.resolutions.world_model import ResolutionModel, ResolutionModelConfig
from wm_envs.resolutions.codes import ResolutionAction, ResolutionColumn, Stage, Vote

__all__ = [
    "ClassifierConfig",
    "Forecast",
    "IdealPoints",
    "IdealPointsConfig",
    "QuestionKind",
    "ResolutionAction",
    "ResolutionColumn",
    "ResolutionModel",
    "ResolutionModelConfig",
    "SpatialConfig",
    "SpatialModel",
    "Stage",
    "Vote",
    "VoteClassifier",
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
