"""Counts of what followed what.

The baseline that any structured model of a discrete world has to beat.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import SpaceError
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.fitted import Fitted
from wm_agents.world_models.encoding import check_fit_spaces, check_observations, observation_size
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True)
class _Counts:
    """Sums over the recorded steps of each (observation, action), row S * A + a.

    Successors in order of frequency.
    """

    first: Tensor  # [S * A + 1], where each row's successors begin
    successors: Tensor
    shares: Tensor  # cumulative share of each successor within its row
    rewards: Tensor  # [S * A], mean
    terminations: Tensor  # [S * A], share


class TabularModel(Unrolled, Fitted):
    """The most frequent successor of each (observation, action), or one drawn by frequency when a generator is given.

    What was never seen stays where it is and pays nothing.

    Args:
        observation_space: Discrete or one-dimensional Box; observations are compared bit for bit.
        action_space: Discrete.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        if not isinstance(action_space, spaces.Discrete):
            raise SpaceError(
                f"a table needs Discrete actions, got {action_space}: use an EnsembleModel"
            )
        self.observation_space = observation_space
        self.action_space = action_space
        self.num_features = observation_size(observation_space)
        self.num_actions = int(action_space.n)
        self._index: dict[bytes, int] = {}
        self._observations = torch.zeros(0, self.num_features)
        self._counts = _count(
            np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), 0
        )

    @property
    def num_states(self) -> int:
        """Different observations seen."""
        return len(self._index)

    def fit(self, trajectories: Trajectories) -> None:
        """Count the recorded steps, afresh each time."""
        check_fit_spaces(trajectories, self.observation_space, self.action_space)
        rows, inverse = np.unique(trajectories.observations + 0.0, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)  # NumPy 2.0.0 alone gives it a second axis
        self._observations = torch.as_tensor(rows.astype(np.float32))
        self._index = {
            row.tobytes(): number for number, row in enumerate(self._observations.numpy())
        }
        before = trajectories.observation_of_step
        actions = trajectories.actions.astype(np.int64) - int(self.action_space.start)  # type: ignore[attr-defined]
        pairs = inverse[before] * self.num_actions + actions
        size = len(rows) * self.num_actions
        self._counts = _count(
            pairs, inverse[before + 1], trajectories.rewards, trajectories.terminations, size
        )
        self.is_fitted = True

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O]; a table has no memory."""
        return ModelState(
            check_observations(observations, self.num_features, torch.device("cpu")), hidden
        )

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B]."""
        counts = self._counts
        pairs, is_known = self._pairs(state.observations, actions)
        draws = None if generator is None else torch.rand(len(pairs), generator=generator)
        successors = _successors(counts, pairs, draws)
        following = state.observations.clone()
        following[is_known] = self._observations[successors]
        rewards, terminations = torch.zeros(len(following)), torch.zeros(len(following))
        rewards[is_known], terminations[is_known] = (
            counts.rewards[pairs],
            counts.terminations[pairs],
        )
        return ModelState(following), Prediction(following, rewards, terminations)

    def _pairs(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of the known (observation, action) among [B], and which these are."""
        keys = (observations + 0.0).numpy()
        states = torch.tensor(
            [self._index.get(row.tobytes(), -1) for row in keys], dtype=torch.long
        )
        pairs = states * self.num_actions + actions.long() - int(self.action_space.start)  # type: ignore[attr-defined]
        is_known = states >= 0
        sizes = self._counts.first.diff()
        is_known[is_known.clone()] = sizes[pairs[is_known]] > 0
        return pairs[is_known], is_known


def _count(
    pairs: NDArray[np.int64],
    successors: NDArray[np.int64],
    rewards: NDArray[np.float64],
    terminations: NDArray[Any],
    size: int,
) -> _Counts:
    transitions, times = np.unique(np.stack([pairs, successors], 1), axis=0, return_counts=True)
    order = np.lexsort((transitions[:, 1], -times, transitions[:, 0]))
    transitions, times = transitions[order], times[order]
    visits = np.bincount(pairs, minlength=size)
    first = np.concatenate([[0], np.cumsum(np.bincount(transitions[:, 0], minlength=size))])
    before = np.concatenate([[0], np.cumsum(times)])
    shares = (before[1:] - before[first[transitions[:, 0]]]) / visits[transitions[:, 0]]
    mean = [
        np.bincount(pairs, values, minlength=size) / np.maximum(visits, 1)
        for values in (rewards, terminations)
    ]
    return _Counts(
        torch.as_tensor(first),
        torch.as_tensor(transitions[:, 1]),
        torch.as_tensor(shares),
        *(torch.as_tensor(values).float() for values in mean),
    )


def _successors(counts: _Counts, pairs: Tensor, draws: Tensor | None) -> Tensor:
    """The most frequent successor of each row, or by draws from 0 to 1 in proportion to frequency."""
    if draws is None or not len(pairs):
        return counts.successors[counts.first[pairs]]
    # Shares rise from above 0 to 1 within each row, so rows laid end to end rise throughout.
    rows = torch.repeat_interleave(torch.arange(len(counts.first) - 1), counts.first.diff())
    positions = torch.searchsorted(
        rows + counts.shares, pairs + draws[: len(pairs)].double(), right=True
    )
    return counts.successors[torch.minimum(positions, counts.first[pairs + 1] - 1)]
