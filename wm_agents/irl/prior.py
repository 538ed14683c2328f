"""What is believed of weights before anything is seen.

A normal distribution, for one or learned from many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wm_agents.irl.decision_model import Floats


@dataclass(frozen=True)
class Prior:
    """A normal distribution of F scaled weights.

    Attributes:
        mean: [F].
        precision: [F, F], the inverse covariance.
    """

    mean: Floats
    precision: Floats

    @classmethod
    def independent(cls, num_features: int, std: float) -> "Prior":
        """Zero mean and one standard deviation for all."""
        return cls(np.zeros(num_features), np.eye(num_features) / std**2)

    @property
    def std(self) -> Floats:
        """[F], of each weight by itself."""
        return np.sqrt(np.diag(np.linalg.inv(self.precision)))

    def value_and_gradient(self, weights: Floats) -> tuple[float, Floats]:
        """The log density up to a constant, and its gradient."""
        distance = weights - self.mean
        gradient: Floats = -self.precision @ distance
        return 0.5 * float(distance @ gradient), gradient


def population(weights: Sequence[Floats], covariances: Sequence[Floats], std: float) -> Prior:
    """The population from which demonstrators seem to be drawn: one step of expectation maximisation.

    Args:
        weights: Posterior means [C] of [F].
        covariances: Posterior covariances [C] of [F, F].
        std: The prior standard deviation of one by itself, whose square enters as a C-th part of
            one more demonstrator, so that few demonstrators do not make the population narrow.
    """
    stacked = np.stack(weights)
    mean = stacked.mean(0)
    centred = stacked - mean
    spread = (
        centred.T @ centred + np.sum(covariances, 0) + std**2 * np.eye(len(mean)) / len(stacked)
    )
    return Prior(mean, np.linalg.inv(spread / len(stacked)))
