"""Whether two recordings are the same."""

import numpy as np

from wm_envs.data.trajectories import ARRAY_NAMES, Trajectories


def same_trajectories(first: Trajectories, second: Trajectories) -> bool:
    """Whether all arrays have equal numbers of equal types."""
    pairs = [(getattr(first, name), getattr(second, name)) for name in ARRAY_NAMES]
    return all(np.array_equal(one, other) and one.dtype == other.dtype for one, other in pairs)
