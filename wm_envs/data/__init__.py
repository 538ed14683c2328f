"""Recorded experience and spaces: the floor that environments and learners share."""

from wm_envs.data.errors import MissingExtraError, OptionError, SpaceError, TrajectoryError
from wm_envs.data.spaces import ActionCodec, ColumnGroup, ObservationCodec
from wm_envs.data.trajectories import Duplicates, Trajectories, TrajectoryBatch, Transitions

__all__ = [
    "ActionCodec",
    "ColumnGroup",
    "Duplicates",
    "MissingExtraError",
    "ObservationCodec",
    "OptionError",
    "SpaceError",
    "Trajectories",
    "TrajectoryBatch",
    "TrajectoryError",
    "Transitions",
]
