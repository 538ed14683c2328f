"""Units of Box actions: the numbers in which Gaussian policies act."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

# squares of such numbers leave float32; spaces without bounds often name the largest float
NO_BOUND = 1e18
PLAIN_HALF_RANGES = 0.5, 4.0  # of bounds around 0 for which centre 0 and unit 1 do as well


@dataclass(frozen=True)
class ActionUnits:
    """In which numbers a Gaussian policy acts on a Box of A numbers: an action is centre + unit * output.

    Attributes:
        centre: [A], where the policy starts.
        unit: [A], the standard deviation with which it starts.
    """

    centre: NDArray[np.float32]
    unit: NDArray[np.float32]

    @classmethod
    def of(cls, space: gym.spaces.Box) -> "ActionUnits":
        """The middle between finite bounds, and a quarter of their distance, so that 95% of first draws lie inside.

        Numbers without bounds have centre 0 and unit 1; with one bound the centre is 0 or a unit
        inside it.
        """
        low, high = (np.asarray(bound, np.float64).ravel() for bound in (space.low, space.high))
        low = np.where(low > -NO_BOUND, low, -np.inf)
        high = np.where(high < NO_BOUND, high, np.inf)
        is_bounded = np.isfinite(low) & np.isfinite(high)
        low_half, high_half = (np.where(is_bounded, bound, 0.0) / 2 for bound in (low, high))
        inside = np.clip(0.0, low + 1, np.maximum(low + 1, high - 1))
        centre = np.where(is_bounded, low_half + high_half, inside)
        unit = np.where(is_bounded & (high > low), (high_half - low_half) / 2, 1.0)
        return cls(centre.astype(np.float32), unit.astype(np.float32))

    def or_plain(self, space: gym.spaces.Box) -> "ActionUnits":
        """Centre 0 and unit 1 wherever they do as well, for bounds around 0 whose half range is of order one."""
        is_plain = space.high.ravel() == -space.low.ravel()
        is_plain &= (space.high.ravel() >= PLAIN_HALF_RANGES[0]) & (
            space.high.ravel() <= PLAIN_HALF_RANGES[1]
        )
        return ActionUnits(self.centre, np.where(is_plain, np.float32(1), self.unit))

    @property
    def are_plain(self) -> bool:
        """Whether outputs are actions as they are."""
        return bool((self.centre == 0).all() and (self.unit == 1).all())
