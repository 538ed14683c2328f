"""Recorded experience as plain arrays: episodes, splits, windows, duplicates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trajectories:
    """K episodes, stored end to end; S is the number of steps in all.

    Episode k has `lengths[k]` steps and `lengths[k] + 1` observations: the last one is what its final step led to.

    Attributes:
        observations: [S + K, O] float32, each episode's observations in order.
        actions: [S] int64 for Discrete, [S, A] float32 for Box.
        rewards: [S] float64.
        terminations: [S] bool.
        truncations: [S] bool.
        lengths: [K] int64, each at least 1.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.int64] | NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    lengths: NDArray[np.int64]
