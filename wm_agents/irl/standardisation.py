"""Features on one scale, so that one prior fits them all and a gradient step in one is no leap in another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_agents.irl.decision_model import DecisionModel, Floats

_SMALLEST = 1e-10  # spread, relative to the size, below which a feature counts as constant


@dataclass(frozen=True)
class Scaling:
    """Units of F features. Features are scaled and never centred.

    A constant added to every step would reward long episodes, so that centring changes the problem
    wherever lengths vary.

    Attributes:
        scale: [F], the standard deviation over allowed actions in the states that were visited; for
            a constant feature its size, or 1 where it is 0 everywhere.
        is_constant: [F] bool.
    """

    scale: Floats
    is_constant: NDArray[np.bool_]

    @classmethod
    def of(cls, model: DecisionModel, states: NDArray[np.int64]) -> "Scaling":
        """The units of a model's features over the states [N] that were visited."""
        visited = np.unique(states)
        rows = model.features[visited][model.mask[visited]]
        size = np.abs(rows).max(0)
        size = np.where(size > 0, size, 1.0)
        spread = (rows / size).std(0)  # divided first: squares of very large features overflow
        is_constant = spread < _SMALLEST
        return cls(np.where(is_constant, 1.0, spread) * size, is_constant)

    @classmethod
    def none(cls, num_features: int) -> "Scaling":
        """Features as they are."""
        return cls(np.ones(num_features), np.zeros(num_features, np.bool_))
