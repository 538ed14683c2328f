"""Numbers that were computed in float32, as values that a Box contains."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray


def as_box_values(values: NDArray[Any], space: gym.spaces.Box) -> NDArray[Any]:
    """Rows [B, ...] in the type of the space and within its bounds; integers are rounded to.

    The bounds come before the cast, in which -2 would wrap around to 254 of 255, and after it: as float32 they may lie
    outside, 0.1 for one.
    """
    rounded = np.rint(values) if np.issubdtype(space.dtype, np.integer) else values
    return np.clip(np.clip(rounded, space.low, space.high).astype(space.dtype), space.low, space.high)
