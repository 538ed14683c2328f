"""Recordings as plain arrays, as the first release had them.

`wm_envs.record` gives `Trajectories`.
"""

import warnings
from typing import Any

from wm_envs.data import minari, recording
from wm_envs.data.recording import Policy
from wm_envs.data.trajectories import ARRAY_NAMES, Trajectories

__all__ = ["Policy", "load_minari", "record", "save_minari"]


def record(env_id: str, **arguments: Any) -> dict[str, Any]:
    """The arrays of `wm_envs.record`, which `Trajectories.from_arrays(**arrays)` takes."""
    _warn("record")
    return _arrays(recording.record(env_id, **arguments))


def save_minari(arrays: dict[str, Any], dataset_id: str, env_id: str, **options: Any) -> Any:
    """See `wm_envs.data.minari.save_minari`."""
    _warn("data.minari.save_minari")
    return minari.save_minari(Trajectories.from_arrays(**arrays), dataset_id, env_id, **options)


def load_minari(dataset_id: str) -> dict[str, Any]:
    """See `wm_envs.data.minari.load_minari`."""
    _warn("data.minari.load_minari")
    return _arrays(minari.load_minari(dataset_id))


def _arrays(trajectories: Trajectories) -> dict[str, Any]:
    return {name: getattr(trajectories, name) for name in ARRAY_NAMES}


def _warn(new: str) -> None:
    message = f"wm_envs.datasets is deprecated: use wm_envs.{new}, which gives Trajectories"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
