"""The newest steps of all rows, a ring for each row, so that what followed a step lies beside it.

Letters: B rows (environments side by side), T places of a ring, O observation, A actions, N drawn
transitions.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.learners.base import VectorStep
from wm_envs.data.trajectories import Trajectories

_COLUMNS = ("obs", "actions", "rewards", "next_obs", "terminated", "ended")


class ReplayBuffer:
    """Recorded steps, of which batches are drawn and trajectories made.

    Args:
        num_rows: B.
        length: T, places for each row.

    Attributes:
        size: Places that are filled.
        reward_size: Mean absolute reward of all steps ever kept, a unit for what is learned from
            them, since rewards have any.
        columns: By name [T, B, ...]; `ended` also where an episode was left for a new one.
    """

    def __init__(self, num_rows: int, length: int) -> None:
        self.num_rows = num_rows
        self.length = length
        self.size = 0
        self.cursor = 0
        self.num_kept = 0
        self.reward_size = 0.0
        self.columns: dict[str, NDArray[Any]] = {}

    def keep(self, step: VectorStep) -> None:
        """Take in one step of all rows, in place of the oldest where there is no more room."""
        values = {
            "obs": step.obs.numpy(),
            "actions": step.actions.numpy(),
            "rewards": step.rewards,
            "next_obs": step.next_obs.numpy(),
            "terminated": step.terminated,
            "ended": step.ended,
        }
        if not self.columns or self.cursor == len(self.columns["obs"]) < self.length:
            self._grow(values)
        place = self.cursor
        if self.size:
            # Episodes may be left for new ones without an end; nothing is summed across that.
            self.columns["ended"][(place - 1) % self.length, step.is_start] = True
        for name, column in self.columns.items():
            column[place] = values[name]
        self.cursor = (place + 1) % self.length
        self.size = max(self.size, place + 1)
        self.num_kept += self.num_rows
        surplus = float(np.abs(step.rewards).mean()) - self.reward_size
        self.reward_size += surplus * self.num_rows / self.num_kept

    def _grow(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Rings twice as long, up to their length."""
        old_size = len(self.columns["obs"]) if self.columns else 0
        size = min(self.length, max(64, 2 * old_size))
        for name in _COLUMNS:
            grown = np.zeros((size, *values[name].shape), values[name].dtype)
            if old_size:
                grown[:old_size] = self.columns[name]
            self.columns[name] = grown

    def draw(
        self, number: int, num_steps: int, gamma: float, draws: np.random.Generator
    ) -> tuple[Tensor, ...]:
        """N random steps, and what followed each of them over some steps.

        Returns:
            Observations, actions, rewards, next observations and terminations of the steps;
            discounted sums of the rewards of up to `num_steps` steps, the observation after them,
            and the discount of its value, 0 after a termination.
        """
        columns = self.columns
        rows = draws.integers(self.num_rows, size=number)
        ages = draws.integers(self.size, size=number)  # 0 is the newest
        places = (self.cursor - 1 - ages) % self.length
        returns = np.zeros(number, np.float32)
        discount = np.ones(number, np.float32)
        last = places.copy()
        is_open = np.ones(number, np.bool_)
        for ahead in range(num_steps):
            is_open &= ages - ahead >= 0
            if ahead:
                is_open &= ~columns["ended"][last, rows]
            last = np.where(is_open, (places + ahead) % self.length, last)
            returns += np.where(is_open, discount * columns["rewards"][last, rows], 0)
            discount = np.where(is_open, discount * gamma, discount)
        discount = discount * ~columns["terminated"][last, rows]
        drawn = (
            columns["obs"][places, rows],
            columns["actions"][places, rows],
            columns["rewards"][places, rows],
            columns["next_obs"][places, rows],
            columns["terminated"][places, rows].astype(np.float32),
            returns,
            columns["next_obs"][last, rows],
            discount,
        )
        return tuple(torch.from_numpy(np.ascontiguousarray(column)) for column in drawn)

    def starts(self, number: int, draws: np.random.Generator) -> Tensor:
        """Observations [N, O] with which random steps began."""
        rows = draws.integers(self.num_rows, size=number)
        places = (self.cursor - 1 - draws.integers(self.size, size=number)) % self.length
        return torch.from_numpy(self.columns["obs"][places, rows])

    def trajectories(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any]
    ) -> Trajectories:
        """All steps as trajectories of rows, each row's oldest first."""
        order = (self.cursor - self.size + np.arange(self.size)) % self.length
        # Each row's steps behind one another: [B * size, ...].
        steps = {
            name: column[order].swapaxes(0, 1).reshape(-1, *column.shape[2:])
            for name, column in self.columns.items()
        }
        ends = steps["ended"]
        ends[self.size - 1 :: self.size] = True  # where a row's recording ends
        lengths = np.diff(np.flatnonzero(ends), prepend=-1)
        # An episode's observations are those of its steps, and what its last one led to.
        observations = np.insert(steps["obs"], np.cumsum(lengths), steps["next_obs"][ends], axis=0)
        return Trajectories.from_arrays(
            observations,
            steps["actions"],
            steps["rewards"],
            steps["terminated"],
            lengths=lengths,
            observation_space=observation_space,
            action_space=action_space,
        )

    def state_dict(self) -> dict[str, Any]:
        """The recorded steps and where the next one goes."""
        return {
            "counts": [self.size, self.cursor, self.num_kept],
            "reward_size": self.reward_size,
            "columns": {name: column[: self.size].copy() for name, column in self.columns.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over recorded steps of as many rows."""
        self.size, self.cursor, *kept = state["counts"]
        # Older files have the size elsewhere; what only acts needs neither.
        self.num_kept = kept[0] if kept else 0
        self.reward_size = state.get("reward_size", 0.0)
        self.columns = {name: np.array(column) for name, column in state["columns"].items()}

    def empty_state(self) -> dict[str, Any]:
        """The state of a replay without steps."""
        return {"counts": [0, 0, 0], "reward_size": 0.0, "columns": {}}
