"""Box actions: their units, and numbers that were computed in float32 as values that a Box contains."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

NO_BOUND = 1e18  # squares of such numbers leave float32; spaces without bounds often name the largest float
PLAIN_HALF_RANGES = 0.5, 4.0  # of bounds around 0 that a Gaussian of unit spread reaches and rarely leaves


def as_box_values(values: NDArray[Any], space: gym.spaces.Box) -> NDArray[Any]:
    """Rows [B, ...] in the type of the space and within its bounds; integers are rounded to.

    The bounds come before the cast, in which -2 would wrap around to 254 of 255, and after it: as float32 they may lie
    outside, 0.1 for one.
    """
    rounded = np.rint(values) if np.issubdtype(space.dtype, np.integer) else values
    return np.clip(np.clip(rounded, space.low, space.high).astype(space.dtype), space.low, space.high)


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

        Bounds around 0 of order one (`PLAIN_HALF_RANGES`) keep centre 0 and unit 1, as every library has them. So do
        numbers without bounds; with one bound the centre is 0 or a unit inside it.
        """
        low, high = (np.asarray(bound, np.float64).ravel() for bound in (space.low, space.high))
        low = np.where(low > -NO_BOUND, low, -np.inf)
        high = np.where(high < NO_BOUND, high, np.inf)
        is_bounded = np.isfinite(low) & np.isfinite(high)
        middle = np.where(is_bounded, low, 0) / 2 + np.where(is_bounded, high, 0) / 2
        half = np.where(is_bounded, high, 0) / 2 - np.where(is_bounded, low, 0) / 2
        is_plain = (middle == 0) & (half >= PLAIN_HALF_RANGES[0]) & (half <= PLAIN_HALF_RANGES[1])
        centre = np.where(is_bounded, middle, np.clip(0.0, low + 1, np.maximum(low + 1, high - 1)))
        unit = np.where(is_bounded & ~is_plain & (half > 0), half / 2, 1.0)
        return cls(*(values.astype(np.float32) for values in (centre, unit)))

    @property
    def are_plain(self) -> bool:
        """Whether outputs are actions as they are."""
        return bool((self.centre == 0).all() and (self.unit == 1).all())
