"""What every world model must beat.

Nothing changes, things go on as they went, the mean, and ridge regression.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wm_agents.evaluation.starts import Stretches
from wm_agents.world_models.normalization import ROUNDING
from wm_envs.data.trajectories import Trajectories

Futures = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Observations [W, H + 1, O] and rewards [W, H]."""


class Baseline(Protocol):
    """A prediction without a world model."""

    name: str

    def predict(self, stretches: Stretches) -> Futures:
        """Observations [W, H + 1, O] and rewards [W, H] from what was known at the start of each stretch."""
        ...


class Persistence:
    """Everything stays as it is, and pays what it paid last."""

    name = "persistence"

    def predict(self, stretches: Stretches) -> Futures:
        """Repeat the start's observation and the reward before it."""
        starts = stretches.observations[:, :1].astype(np.float64)
        observations = np.repeat(starts, stretches.horizon + 1, axis=1)
        return observations, np.repeat(
            stretches.previous_rewards[:, None], stretches.horizon, axis=1
        )


class ConstantVelocity:
    """The last change repeats.

    At the first step of an episode nothing is known of it and it is taken as zero.
    """

    name = "constant_velocity"

    def predict(self, stretches: Stretches) -> Futures:
        """Go on in a straight line; the reward is that before the start."""
        starts = stretches.observations[:, 0].astype(np.float64)
        steps = np.arange(stretches.horizon + 1)[None, :, None]
        observations = starts[:, None] + steps * (starts - stretches.previous_observations)[:, None]
        return observations, np.repeat(
            stretches.previous_rewards[:, None], stretches.horizon, axis=1
        )


class Mean:
    """Every observation and reward is the mean of the recorded ones.

    Args:
        reference: What to take the mean of.
    """

    name = "mean"

    def __init__(self, reference: Trajectories) -> None:
        self._observation = reference.observations.mean(axis=0, dtype=np.float64)
        self._reward = float(reference.rewards.mean())

    def predict(self, stretches: Stretches) -> Futures:
        """The mean at every step after the start."""
        observations = np.empty(
            (len(stretches.episodes), stretches.horizon + 1, len(self._observation))
        )
        observations[:, 0], observations[:, 1:] = stretches.observations[:, 0], self._observation
        return observations, np.full((len(stretches.episodes), stretches.horizon), self._reward)


class RidgeRegression:
    """Next observation and reward as a linear function of observation and action (Hoerl and Kennard 1970).

    Inputs are standardised, and the penalty is `penalty` per sample; discrete actions enter as
    one-hots. Predictions are held within the recorded range and half its width beyond, since linear
    dynamics may explode.

    Args:
        train: What to fit.
        penalty: Weight of the squared coefficients, relative to the number of samples.
    """

    name = "ridge"

    def __init__(self, train: Trajectories, penalty: float = 1e-4) -> None:
        before = train.observations[train.observation_of_step].astype(np.float64)
        self._tried = np.unique(train.actions) if train.actions.ndim == 1 else np.zeros(0, np.int64)
        inputs = np.concatenate([before, self._encode(train.actions)], axis=1)
        targets = np.concatenate([train.next_observations - before, train.rewards[:, None]], axis=1)
        self._mean, self._std = inputs.mean(0), inputs.std(0)
        # A constant column has a coefficient of nothing.
        self._std = np.where(self._std > ROUNDING * np.abs(inputs).max(0), self._std, np.inf)
        self._centre = targets.mean(0)
        scaled = (inputs - self._mean) / self._std
        gram = scaled.T @ scaled + penalty * len(scaled) * np.eye(scaled.shape[1])
        self._weights = np.linalg.solve(gram, scaled.T @ (targets - self._centre))
        low, high = (
            train.observations.min(0).astype(np.float64),
            train.observations.max(0).astype(np.float64),
        )
        self._low, self._high = low - (high - low) / 2, high + (high - low) / 2

    def predict(self, stretches: Stretches) -> Futures:
        """Unroll the linear model open loop."""
        actions = stretches.actions
        observations, rewards = [stretches.observations[:, 0].astype(np.float64)], []
        for step in range(stretches.horizon):
            inputs = np.concatenate([observations[-1], self._encode(actions[:, step])], axis=1)
            outputs = (inputs - self._mean) / self._std @ self._weights + self._centre
            observations.append(np.clip(observations[-1] + outputs[:, :-1], self._low, self._high))
            rewards.append(outputs[:, -1])
        return np.stack(observations, 1), np.stack(rewards, 1)

    def _encode(self, actions: NDArray[np.int64] | NDArray[np.float32]) -> NDArray[np.float64]:
        if actions.ndim > 1:
            return actions.astype(np.float64)
        # An action that was never tried gets the zero vector.
        return (actions[:, None] == self._tried).astype(np.float64)


def baselines(train: Trajectories | None) -> list[Baseline]:
    """All baselines but the mean; ridge regression only where there is something to fit it to."""
    return [Persistence(), ConstantVelocity(), *([] if train is None else [RidgeRegression(train)])]
