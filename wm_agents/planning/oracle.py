"""The true dynamics as a world model, so that every planner runs on them: the yardstick of the learned ones.

`wm_agents` knows no environment of ours; what it needs is one batched function from states and
action sequences to what happens, such as `functools.partial(wm_envs.oracle.rollout, env_id)`.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.observation_rows import action_tensor
from wm_agents.protocols import ModelState, Prediction, Rollout

TrueRollout = Callable[
    [NDArray[Any], NDArray[Any]],
    tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]], NDArray[np.bool_]],
]
"""(states [B], actions [B, H, ...]) -> observations [B, H + 1, O], rewards [B, H], terminations [B, H]."""


class OracleModel:
    """A world model that asks the environment's own rules.

    `hidden` holds the state rows as bytes [B, size] from which imagination began, the actions since
    then [B, max_depth, ...] and how many they are [B]: the true function replays them, so it need
    not return states.

    Args:
        function: The true dynamics, see `TrueRollout`.
        observation_space: Of the environment.
        action_space: Of the environment.
        max_depth: Most single steps from one start; `rollout` from the start itself may be of any
            length.
    """

    def __init__(
        self,
        function: TrueRollout,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        max_depth: int = 64,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self._function = function
        self._max_depth = max_depth
        self._state_dtype: np.dtype[Any] | None = None

    def hidden_of(self, states: NDArray[Any]) -> tuple[Tensor, ...]:
        """What `start` needs beside the observations, from states [B] of `clone_state()`."""
        rows = np.ascontiguousarray(states)
        if rows.ndim != 1:
            raise ConfigError(
                f"expected states [B], got shape {rows.shape}: stack those of single environments"
            )
        self._state_dtype = rows.dtype
        as_bytes = torch.from_numpy(
            rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize).copy()
        )
        is_discrete = isinstance(self.action_space, gym.spaces.Discrete)
        actions = torch.zeros(
            (len(rows), self._max_depth, *(self.action_space.shape or ())),
            dtype=torch.int64 if is_discrete else torch.float32,
        )
        return as_bytes, actions, torch.zeros(len(rows), dtype=torch.int64)

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Where imagination begins; `hidden` comes from `hidden_of`.

        Raises:
            ConfigError: No states: the true dynamics start from states, not from what is seen of
                them.
        """
        if not hidden:
            raise ConfigError(
                "the oracle starts from environment states, not from observations alone: give PlanningAgent the "
                "environment (env=...), or pass hidden=model.hidden_of(env.clone_state())"
            )
        return ModelState(observations, hidden)

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """One true step for actions [B] or [B, A].

        Raises:
            ConfigError: More than `max_depth` steps from the start.
        """
        rows, history, depths = self.start(state.observations, state.hidden).hidden
        longest = int(depths.max())
        if longest >= self._max_depth:
            raise ConfigError(
                f"the oracle was stepped {longest} times from one start: raise max_depth"
            )
        each = torch.arange(len(depths))
        history = history.clone()
        history[each, depths] = actions.to(history.dtype)
        observations, rewards, terminations = self._run(rows, history[:, : longest + 1])
        after = ModelState(observations[each, depths + 1], (rows, history, depths + 1))
        return after, Prediction(
            after.observations, rewards[each, depths], terminations[each, depths]
        )

    def predict(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Prediction:
        """The oracle cannot start from observations; see `start`."""
        actions = action_tensor(actions, self.action_space, torch.device("cpu"))
        return self.step(self.start(observations), actions, generator)[1]

    def rollout(
        self,
        start: ModelState | Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Rollout:
        """The true future for actions [B, H] or [B, H, A]."""
        state = (
            self.start(start.observations, start.hidden)
            if isinstance(start, ModelState)
            else self.start(start)
        )
        actions = action_tensor(actions, self.action_space, torch.device("cpu"))
        rows, history, depths = state.hidden
        depth = int(depths.max())
        if depth == 0:
            return Rollout(*self._run(rows, actions))
        if bool((depths != depth).any()):
            raise ConfigError(
                f"one rollout needs rows of one depth, got {int(depths.min())} to {depth}"
            )
        observations, rewards, terminations = self._run(
            rows, torch.cat([history[:, :depth], actions], 1)
        )
        return Rollout(observations[:, depth:], rewards[:, depth:], terminations[:, depth:])

    def _run(self, rows: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self._state_dtype is None:
            raise ConfigError(
                "the oracle has seen no states: build `hidden` with hidden_of(env.clone_state())"
            )
        states = rows.numpy().view(self._state_dtype).reshape(len(rows))
        observations, rewards, terminations = self._function(
            states, np.ascontiguousarray(actions.numpy())
        )
        return (
            torch.from_numpy(np.ascontiguousarray(observations, np.float32)),
            torch.from_numpy(np.ascontiguousarray(rewards, np.float32)),
            torch.from_numpy(np.ascontiguousarray(terminations, np.float32)),
        )
