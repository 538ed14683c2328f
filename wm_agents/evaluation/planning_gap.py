"""The planning gap.

How much of what the true dynamics would give a planner the learned model gives it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import ConfigError
from wm_agents.evaluation.intervals import (
    Interval,
    check_resampling,
    finite_array,
    percentile_limits,
)


@dataclass(frozen=True)
class PlanningGap:
    """(learned - random) / (oracle - random) of mean returns, the same planner in the first two.

    Attributes:
        closed: The share of the gap that the learned model closes: 0 is random, 1 is the oracle.
        learned: Mean return of the planner on the learned model.
        oracle: Mean return of the same planner on the true dynamics.
        random: Mean return of uniform actions.
    """

    closed: Interval
    learned: float
    oracle: float
    random: float

    def summary(self) -> dict[str, float]:
        """Flat names to numbers, the form of a `summary.json`."""
        returns = {
            "mean_return": self.learned,
            "oracle_return": self.oracle,
            "random_return": self.random,
        }
        return {**self.closed.flatten("planning_gap"), **returns}


def planning_gap(
    learned: ArrayLike,
    oracle: ArrayLike,
    random: ArrayLike,
    *,
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
) -> PlanningGap:
    """Compare returns [E], or [R, E] of R independently trained runs, with a bootstrap interval.

    What is resampled is the unit of chance: episodes where there is one run, runs where there are
    several (their episodes are averaged first). Three arms of equal length are taken as paired,
    since `evaluate` starts episode k of every arm from the same seed, and are resampled together.
    One unit alone has no limits: they are infinite.

    Args:
        learned: Returns of the planner on the learned model.
        oracle: Returns of the same planner on the true dynamics.
        random: Returns of uniform actions.
        confidence: Coverage of the interval, in (0, 1).
        num_resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ConfigError: On returns that are not finite, on a confidence outside (0, 1), and when the
            oracle does no better than chance, so that there is no gap to close.
    """
    check_resampling(confidence, num_resamples)
    arms = [_per_unit(learned, "learned"), _per_unit(oracle, "oracle"), _per_unit(random, "random")]
    means = [float(arm.mean()) for arm in arms]
    if means[1] <= means[2]:
        raise ConfigError(
            f"the planner's mean return on the true dynamics is {means[1]:.4g}, that of random actions {means[2]:.4g}: "
            "there is no gap to close; give the planner a longer horizon or more candidates"
        )
    low, high = _limits(arms, confidence, num_resamples, seed)
    estimate = (means[0] - means[2]) / (means[1] - means[2])
    return PlanningGap(Interval(estimate, low, high, confidence), *means)


def _per_unit(returns: ArrayLike, name: str) -> NDArray[np.float64]:
    values = finite_array(returns, name)
    return values.mean(axis=1) if values.ndim == 2 and len(values) > 1 else values.ravel()


def _limits(
    arms: list[NDArray[np.float64]], confidence: float, num_resamples: int, seed: int
) -> tuple[float, float]:
    if min(len(arm) for arm in arms) < 2:
        return float("-inf"), float("inf")
    generator = np.random.default_rng(seed)
    is_paired = len({len(arm) for arm in arms}) == 1
    indices = generator.integers(len(arms[0]), size=(num_resamples, len(arms[0])))
    draws = []
    for arm in arms:
        chosen = (
            indices if is_paired else generator.integers(len(arm), size=(num_resamples, len(arm)))
        )
        draws.append(arm[chosen].mean(axis=1))
    gaps = draws[1] - draws[2]
    is_open = gaps > 0
    # Where the oracle's lead itself is within chance, no share of it can be told.
    if is_open.mean() < confidence:
        return float("-inf"), float("inf")
    low, high = percentile_limits((draws[0] - draws[2])[is_open] / gaps[is_open], confidence)
    return float(low), float(high)
