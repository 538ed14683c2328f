"""Counts of what followed what.

The baseline that any structured model of a discrete world has to beat.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.fitted import Fitted
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import check_spaces, spaces_from
from wm_agents.training.trainer import Checkpoints, FitReport
from wm_agents.world_models.encoding import EncodedSpaces, check_observations
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.spaces import space_to_json
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

    # A file is foreign: an index beyond the table would read another row's numbers.
    def check(self, num_states: int, num_actions: int) -> None:
        """Raise CheckpointError unless every row's successors can be looked up."""
        num_rows = num_states * num_actions
        num_successors = len(self.successors)
        sizes = self.first.diff()
        is_whole = (
            self.first.shape == (num_rows + 1,)
            and self.rewards.shape == self.terminations.shape == (num_rows,)
            and self.shares.shape == self.successors.shape == (num_successors,)
            and not self.first.is_floating_point()
            and not self.successors.is_floating_point()
            and bool((sizes >= 0).all())
            and int(self.first[0]) == 0
            and int(self.first[-1]) == num_successors
            and bool(((self.successors >= 0) & (self.successors < num_states)).all())
        )
        if not is_whole:
            raise CheckpointError(
                f"the counts of {num_states} states and {num_actions} actions contradict each other"
            )


class TabularModel(EncodedSpaces, Unrolled, Fitted, Savable):
    """The most frequent successor of each (observation, action); with a generator one by frequency.

    What was never seen stays where it is, with a reward of 0.

    Args:
        observation_space: Of any kind; rows are compared bitwise.
        action_space: Of any kind whose values can be counted.

    Raises:
        SpaceError: Actions that cannot be counted.
    """

    kind = "tabular world model"
    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self._set_spaces(observation_space, action_space)
        if not isinstance(self.action_space, spaces.Discrete):
            raise SpaceError(
                f"a table needs Discrete actions, got {action_space}: use an EnsembleModel"
            )
        self.num_actions = int(self.action_space.n)
        self._first_action = int(self.action_space.start)
        # By the bytes of a row: equal observations are equal keys, without any tolerance.
        self._index: dict[bytes, int] = {}
        self._observations = torch.zeros(0, self.num_features)
        self._counts = _count(
            np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), 0
        )

    @property
    def num_states(self) -> int:
        """Different observations seen."""
        return len(self._index)

    @classmethod
    def _of_spaces(
        cls,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any,
        seed: int,  # noqa: ARG003 - nothing is drawn
    ) -> Self:
        if config is not None:
            raise ConfigError(f"a table has nothing to configure, got {config}")
        return cls(observation_space, action_space)

    def fit(
        self,
        trajectories: Trajectories,
        config: None = None,
        *,
        checkpoints: Checkpoints = None,  # noqa: ARG002 - counting takes no time to lose
        progress: bool | None = False,  # noqa: ARG002
    ) -> FitReport:
        """Count the recorded steps, afresh each time.

        Args:
            trajectories: What to count.
            config: None: there is nothing to configure.
            checkpoints: Not used.
            progress: Not used.

        Returns:
            A report of no updates, with the numbers of states and steps among its metrics.

        Raises:
            SpaceError: The trajectories do not fit the spaces.
            ConfigError: A configuration.
        """
        if config is not None:
            raise ConfigError(f"a table has nothing to configure, got {config}")
        self._check_trajectories(trajectories)
        # Adding 0 turns -0 into 0, which is the same number with other bytes.
        rows, inverse = np.unique(trajectories.observations + 0.0, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)  # NumPy 2.0.0 alone gives it a second axis
        self._set_rows(torch.as_tensor(rows.astype(np.float32)))
        before = trajectories.observation_of_step
        actions = trajectories.actions.astype(np.int64) - self._first_action
        # One number a pair of observation and action.
        pairs = inverse[before] * self.num_actions + actions
        size = len(rows) * self.num_actions
        self._counts = _count(
            pairs, inverse[before + 1], trajectories.rewards, trajectories.terminations, size
        )
        self.is_fitted = True
        metrics = {"num_states": float(self.num_states), "num_steps": float(len(pairs))}
        return FitReport(
            num_updates=0,
            best_update=0,
            best_loss=0.0,
            is_held_out=False,
            history=[],
            seconds=0.0,
            metrics=metrics,
        )

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        description = {
            "observation_space": space_to_json(self.raw_observation_space),
            "action_space": space_to_json(self.raw_action_space),
            "config": {},
            "is_fitted": self.is_fitted,
        }
        return {"observations": self._observations, **vars(self._counts)}, description

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        tensors = dict(stored.tensors)
        if stored.metadata["is_fitted"]:
            check_spaces(stored.metadata, tensors)
        model = cls(*spaces_from(stored.metadata))
        rows = tensors.pop("observations")
        counts = _Counts(**tensors)
        counts.check(len(rows), model.num_actions)
        if rows.shape != (len(rows), model.num_features) or rows.dtype != torch.float32:
            raise CheckpointError(f"the table has rows of shape {tuple(rows.shape)}")
        model._set_rows(rows)
        model._counts = counts
        model.is_fitted = bool(stored.metadata["is_fitted"])
        return model

    def _set_rows(self, rows: Tensor) -> None:
        """Different observations [S, O], numbered in their order."""
        self._observations = rows
        self._index = {row.tobytes(): number for number, row in enumerate(rows.numpy())}

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
        # What was never seen stays as it is, without reward and end.
        after = state.observations.clone()
        after[is_known] = self._observations[successors]
        rewards = torch.zeros(len(after))
        rewards[is_known] = counts.rewards[pairs]
        terminations = torch.zeros(len(after))
        terminations[is_known] = counts.terminations[pairs]
        return ModelState(after), Prediction(after, rewards, terminations)

    def _pairs(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of the known (observation, action) among [B], and which these are."""
        keys = (observations + 0.0).numpy()
        states = torch.tensor(
            [self._index.get(row.tobytes(), -1) for row in keys], dtype=torch.long
        )
        pairs = states * self.num_actions + actions.long() - self._first_action
        is_known = states >= 0
        sizes = self._counts.first.diff()
        # A known observation under an untried action has no successor either.
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
    # Each row's successors by falling frequency, so that the first is the most frequent one.
    order = np.lexsort((transitions[:, 1], -times, transitions[:, 0]))
    transitions, times = transitions[order], times[order]
    visits = np.bincount(pairs, minlength=size)
    first = np.concatenate([[0], np.cumsum(np.bincount(transitions[:, 0], minlength=size))])
    before = np.concatenate([[0], np.cumsum(times)])
    # Cumulative shares within a row: a uniform number finds its successor by bisection.
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
    """The most frequent successor of each row.

    Or by draws from 0 to 1 in proportion to frequency.
    """
    if draws is None or not len(pairs):
        return counts.successors[counts.first[pairs]]
    # Shares rise from above 0 to 1 within each row, so rows concatenated rise throughout.
    rows = torch.repeat_interleave(torch.arange(len(counts.first) - 1), counts.first.diff())
    positions = torch.searchsorted(
        rows + counts.shares, pairs + draws[: len(pairs)].double(), right=True
    )
    return counts.successors[torch.minimum(positions, counts.first[pairs + 1] - 1)]
