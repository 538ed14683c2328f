"""The true dynamics as a world model, the reference of the learned ones.

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

TrueRollout = Callable[..., tuple[NDArray[Any], ...]]
"""States [B] and actions [B, H, ...] to what happens.

Observations [B, H + 1, O], rewards [B, H] and terminations [B, H]. With `return_states=True`, which
single steps need, it gives the final states [B] as a fourth.
"""


class OracleModel:
    """A world model that asks the environment's own rules.

    `hidden[0]` holds the environment's state rows as bytes [B, size].

    Args:
        function: The true dynamics, see `TrueRollout`.
        observation_space: Of the environment.
        action_space: Of the environment.
    """

    def __init__(
        self,
        function: TrueRollout,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self._function = function
        self._state_dtype: np.dtype[Any] | None = None

    def hidden_of(self, states: NDArray[Any]) -> tuple[Tensor, ...]:
        """What `start` needs beside the observations, from states [B] of `clone_state()`.

        Raises:
            ConfigError: A single state, or a batch of another shape.
        """
        # Contiguous, since the rows are read as bytes below.
        rows = np.ascontiguousarray(states)
        if rows.ndim != 1:
            raise ConfigError(
                f"expected states [B], got shape {rows.shape}: stack those of single environments"
            )
        self._state_dtype = rows.dtype
        return (_as_bytes(rows),)

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Where imagination begins; `hidden` comes from `hidden_of`.

        Raises:
            ConfigError: No states: the true dynamics start from states, not from what is observed
                of them.
        """
        if not hidden:
            raise ConfigError(
                "the oracle starts from environment states, not from observations alone: give "
                "PlanningAgent the environment (env=...), or pass "
                "hidden=model.hidden_of(env.clone_state())"
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
            ConfigError: The function does not give states back.
        """
        rows = self._rows(state)
        # A horizon of one.
        sequences = _as_array(actions)[:, None]  # [B, 1, ...]
        try:
            observations, rewards, terminations, states = self._function(
                rows, sequences, return_states=True
            )
        except TypeError as error:
            raise ConfigError(
                "single steps need true dynamics that take return_states=True and give the final "
                f"states, as wm_envs.oracle.rollout does: {error}"
            ) from error
        prediction = Prediction(
            _as_floats(observations[:, 1]),
            _as_floats(rewards[:, 0]),
            _as_floats(terminations[:, 0]),
        )
        return ModelState(prediction.observations, (_as_bytes(states),)), prediction

    def predict(
        self,
        start: ModelState | Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,
    ) -> Prediction:
        """One true step from a state that `start` gave.

        Raises:
            ConfigError: Observations without states, see `start`.
        """
        actions = action_tensor(actions, self.action_space, torch.device("cpu"))
        return self.step(self._begun(start), actions, generator)[1]

    def rollout(
        self,
        start: ModelState | Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Rollout:
        """The true future for actions [B, H] or [B, H, A].

        Raises:
            ConfigError: Observations without states, see `start`.
        """
        state = self._begun(start)
        actions = action_tensor(actions, self.action_space, torch.device("cpu"))
        outcome = self._function(self._rows(state), _as_array(actions))
        return Rollout(*(_as_floats(values) for values in outcome[:3]))

    def _begun(self, start: ModelState | Tensor) -> ModelState:
        if isinstance(start, ModelState):
            return self.start(start.observations, start.hidden)
        return self.start(start)

    def _rows(self, state: ModelState) -> NDArray[Any]:
        """The environment's states [B]."""
        if self._state_dtype is None:
            raise ConfigError(
                "the oracle was given no states: build `hidden` with hidden_of(env.clone_state())"
            )
        # Checked once more: a state may come from anywhere.
        (as_bytes,) = self.start(state.observations, state.hidden).hidden
        return as_bytes.contiguous().numpy().view(self._state_dtype).reshape(len(as_bytes))


def _as_bytes(rows: NDArray[Any]) -> Tensor:
    """Structured rows [B] as a tensor [B, size], which a model state can carry."""
    return torch.from_numpy(
        # A copy: the environment goes on in its own rows.
        np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), rows.dtype.itemsize).copy()
    )


def _as_array(actions: Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(actions.numpy())


def _as_floats(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
