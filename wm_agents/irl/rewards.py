"""An inferred reward in use.

In any environment, in planners, and in dreams, where a policy is trained for it anew.
"""

from collections.abc import Callable
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, NonFiniteError
from wm_agents.observation_rows import action_tensor, float_tensor
from wm_agents.planning.objectives import RewardFunction
from wm_agents.protocols import ModelState, Prediction, Rollout, WorldModel

StepReward = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
"""(observations [N, O], actions [N] or [N, A], next observations [N, O]) -> rewards [N]."""


class LearnedReward(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that pays an inferred reward; its own stays visible as `info["original_reward"]`.

    Args:
        env: Any environment with Box observations.
        reward: The inferred reward, see `StepReward`.

    Raises:
        NonFiniteError: In `step`, when the reward is not a finite number.
    """

    def __init__(self, env: gym.Env[Any, Any], reward: StepReward) -> None:
        super().__init__(env)
        self._reward = reward
        self._before: NDArray[Any] = np.zeros(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before = np.asarray(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """As the environment's, with the inferred reward."""
        observation, original, terminated, truncated, info = self.env.step(action)
        after = np.asarray(observation)
        values = self._reward(
            self._before.reshape(1, -1), np.asarray(action)[None], after.reshape(1, -1)
        )
        reward = float(np.asarray(values).reshape(-1)[0])
        if not np.isfinite(reward):
            raise NonFiniteError(
                f"the inferred reward of action {action} is {reward}: check its features"
            )
        self._before = after
        return (
            observation,
            reward,
            terminated,
            truncated,
            {**info, "original_reward": float(original)},
        )


def linear_reward(
    features: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]],
    weights: NDArray[np.float64],
) -> StepReward:
    """Weights [F] on features of stretches, as `SampledMaxEntIRL` infers them, as a reward of single steps."""

    def reward(before: NDArray[Any], actions: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
        stretches = np.stack([before, after], 1)
        rewards: NDArray[np.float64] = (
            features(stretches, actions.reshape(len(before), 1, -1))[:, 0] @ weights
        )
        return rewards

    return reward


def planner_reward(reward: StepReward) -> RewardFunction:
    """The inferred reward for planners.

    `DiscountedReturn(reward_function=planner_reward(reward))`.
    """

    def of_rollout(observations: Tensor, actions: Tensor) -> Tensor:
        before, after = observations[:, :-1].flatten(0, 1), observations[:, 1:].flatten(0, 1)
        values = reward(before.numpy(), actions.flatten(0, 1).numpy(), after.numpy())
        return torch.as_tensor(np.asarray(values), dtype=observations.dtype).reshape(
            actions.shape[:2]
        )

    return of_rollout


class RewardedModel:
    """A world model whose predictions pay an inferred reward: what `ImaginedVectorEnv` dreams is then worth that.

    Args:
        model: The world model.
        reward: The inferred reward.
    """

    def __init__(self, model: WorldModel, reward: StepReward) -> None:
        if not hasattr(model, "step"):
            raise ConfigError(f"{type(model).__name__} is no world model: it has no step")
        self.model, self._reward = model, reward
        self.observation_space, self.action_space = model.observation_space, model.action_space

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """As the model's."""
        return self.model.start(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """The model's step, paid by the inferred reward."""
        following, prediction = self.model.step(state, actions, generator)
        return following, self._paid(prediction, state.observations, actions)

    def predict(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Prediction:
        """The model's prediction, paid by the inferred reward."""
        observations = float_tensor(observations, f"observations of {self.observation_space}")
        actions = action_tensor(actions, self.action_space, observations.device)
        return self._paid(
            self.model.predict(observations, actions, generator), observations, actions
        )

    def rollout(
        self, start: ModelState | Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Rollout:
        """The model's futures, paid by the inferred reward."""
        actions = action_tensor(actions, self.action_space, torch.device("cpu"))
        imagined = self.model.rollout(start, actions, generator)
        rewards = planner_reward(self._reward)(imagined.observations, actions)
        return Rollout(imagined.observations, rewards, imagined.terminations, imagined.disagreement)

    def _paid(self, prediction: Prediction, before: Tensor, actions: Tensor) -> Prediction:
        values = self._reward(before.numpy(), actions.numpy(), prediction.observations.numpy())
        rewards = torch.as_tensor(np.asarray(values), dtype=prediction.rewards.dtype)
        return Prediction(
            prediction.observations, rewards, prediction.terminations, prediction.disagreement
        )
