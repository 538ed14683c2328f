"""Reward networks, and inferred rewards in environments, planners and imagination."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor, nn

from wm_agents.errors import ConfigError, MixedHorizonError, NonFiniteError
from wm_agents.networks import Perceptron
from wm_agents.observation_rows import action_tensor, float_tensor
from wm_agents.planning.objectives import RewardFunction
from wm_agents.policy_gradient.spaces import ActionUnits
from wm_agents.protocols import ModelState, Prediction, Rollout, WorldModel
from wm_agents.training.finite import require_finite
from wm_agents.world_models.normalization import units
from wm_envs.data.trajectories import Transitions

_MIN_VARIANCE = 1e-8  # of returns, to divide by

StepReward = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
"""(observations [N, O], actions [N] or [N, A], next observations [N, O]) -> rewards [N]."""


class RewardNetwork(nn.Module):
    """g(s) or g(s, a): a perceptron on standardized observations and actions.

    Args:
        num_inputs: Size of an observation.
        action_space: Discrete or Box.
        widths: Hidden layers.
        is_state_only: Leave the action out: such rewards carry over to other dynamics (Fu et al.
            2018, theorem 5.1).
        generator: Draws the weights.
    """

    def __init__(
        self,
        num_inputs: int,
        action_space: gym.Space[Any],
        widths: Sequence[int] = (32, 32),
        *,
        is_state_only: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.action_space = action_space
        self.is_state_only = is_state_only
        num_actions = 0 if is_state_only else spaces.flatdim(action_space)
        self.perceptron = Perceptron((num_inputs + num_actions, *widths, 1), "relu", generator)
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("std", torch.ones(num_inputs))
        # Discrete actions are one-hots, which need no unit.
        self.action_units = None
        if isinstance(action_space, spaces.Box):
            self.action_units = ActionUnits.of(action_space).or_plain(action_space)

    def standardize(self, observations: Tensor) -> None:
        """Take the units of observations [N, O]; what is constant in them is only shifted."""
        self.mean, self.std = units(observations)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Rewards [N] of observations [N, O] and actions, tensors or arrays.

        Actions are [N] where they are Discrete, else [N, A].
        """
        observations = float_tensor(observations, "observations [N, O]")
        actions = action_tensor(actions, self.action_space, observations.device)
        inputs = (observations - self.mean) / self.std
        if not self.is_state_only:
            inputs = torch.cat([inputs, self._encoded(actions)], 1)
        rewards: Tensor = self.perceptron(inputs)[:, 0]
        return rewards

    def _encoded(self, actions: Tensor) -> Tensor:
        """Discrete actions as one-hots, Box actions in units of their bounds."""
        encoded = encoded_actions(actions, self.action_space)
        if self.action_units is None:
            return encoded
        center = torch.from_numpy(self.action_units.centre)
        unit = torch.from_numpy(self.action_units.unit)
        return (encoded - center) / unit


def encoded_actions(actions: Tensor, action_space: gym.Space[Any]) -> Tensor:
    """Discrete actions [N] as one-hot rows, Box actions as they are."""
    if isinstance(action_space, spaces.Discrete):
        return F.one_hot(actions.long() - int(action_space.start), int(action_space.n)).float()
    return actions.reshape(len(actions), -1).float()


class LearnedReward(gym.Wrapper[Any, Any, Any, Any]):
    """An environment with an inferred reward; its own is in `info["original_reward"]`.

    Args:
        env: Any environment with Box observations.
        reward: The inferred reward, see `StepReward`.

    Raises:
        NonFiniteError: In `step`, when the reward is not a finite number.
    """

    def __init__(self, env: gym.Env[Any, Any], reward: StepReward) -> None:
        super().__init__(env)
        self._reward = reward
        self._obs: NDArray[Any] = np.zeros(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._obs = np.asarray(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """As the environment's, with the inferred reward."""
        observation, original, terminated, truncated, info = self.env.step(action)
        next_obs = np.asarray(observation)
        # Rewards are functions of batches; one step is a batch of one.
        values = self._reward(
            self._obs.reshape(1, -1), np.asarray(action)[None], next_obs.reshape(1, -1)
        )
        reward = float(np.asarray(values).reshape(-1)[0])
        if not np.isfinite(reward):
            raise NonFiniteError(
                f"the inferred reward of action {action} is {reward}: check its features"
            )
        self._obs = next_obs
        info = {**info, "original_reward": float(original)}
        return observation, reward, terminated, truncated, info


class RewardRelabelVecEnv(VecEnvWrapper):
    """SB3's vector environment with the rewards of a function, which remembers the steps taken.

    The environment's own rewards are not looked at.

    Args:
        venv: Box observations.
        reward_fn: Steps [B] of tensors -> rewards [B].
        has_one_length: Whether episodes have to be of one length.
        normalized_gamma: Divide rewards by the spread of their sums under this discount, over all
            that was done so far; None leaves them as they are.

    Attributes:
        length: Of the episodes, None before the first has ended or where they may differ.
        num_steps: Steps taken, of all environments together.
        return_spread: Mean and variance of the discounted sums.
        horizon: Steps up to which an episode that terminates goes on in an absorbing state; 0 for
            none.
    """

    def __init__(
        self,
        venv: VecEnv,
        reward_fn: Callable[[Transitions[Tensor]], Tensor],
        *,
        has_one_length: bool = False,
        normalized_gamma: float | None = None,
    ) -> None:
        super().__init__(venv)
        self.reward_fn = reward_fn
        self.has_one_length = has_one_length
        self.normalized_gamma = normalized_gamma
        self.return_spread = RunningMeanStd()
        self._returns = np.zeros(venv.num_envs)
        self.length: int | None = None
        self.num_steps = 0
        self.horizon = 0
        self._num_absorbed = 0
        self._steps: list[Transitions[Tensor]] = []
        # By row, since episodes of a batch end at different times.
        self._ages = np.zeros(venv.num_envs, np.int64)  # steps since each episode began
        self._obs: NDArray[Any] = np.zeros(0)
        self._actions: NDArray[Any] = np.zeros(0)

    # SB3's wrapper looks unknown attributes up in `venv`: a copy that has no attributes yet would
    # look for `venv` in itself without end. The members of its class cannot be copied.
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "class_attributes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.class_attributes = dict(inspect.getmembers(type(self)))

    def reset(self) -> Any:
        """Begin new episodes everywhere.

        Raises:
            NonFiniteError: An observation is not finite.
        """
        # SB3's environments begin everywhere with a reset.
        self._ages[:] = 0
        self._returns[:] = 0
        self._obs = np.asarray(self.venv.reset())
        self._check_observations(self._obs)
        return self._obs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Begin a step."""
        # A copy: SB3 may reuse the array.
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """End a step.

        Raises:
            NonFiniteError: An observation or a reward is not finite.
            MixedHorizonError: Episodes of different lengths where they have to be of one.
        """
        observations, _, dones, infos = self.venv.step_wait()
        observations = np.asarray(observations)
        self._check_observations(observations)
        # Where an episode has ended SB3 gives the next one's first observation, and the last one's
        # in the info.
        next_obs = observations.copy()
        truncations = np.zeros(self.num_envs, np.bool_)
        for row in np.flatnonzero(dones):
            next_obs[row] = infos[row]["terminal_observation"]
            truncations[row] = infos[row].get("TimeLimit.truncated", False)
        self._note_lengths(dones, truncations)
        steps = Transitions(
            observations=self._rows(self._obs),
            actions=torch.as_tensor(self._actions),
            rewards=torch.zeros(self.num_envs),
            next_observations=self._rows(next_obs),
            # A time limit is no end: the future goes on without being seen.
            terminations=torch.as_tensor(dones & ~truncations),
            truncations=torch.as_tensor(truncations),
        )
        with torch.no_grad():
            rewards = self.reward_fn(steps)
        require_finite({"the reward f - log pi": rewards}, f"after {self.num_steps} steps")
        self.num_steps += self.num_envs
        self._steps.append(steps)
        self._obs = observations
        return observations, self._normalized(rewards.numpy(), dones), dones, infos

    def _normalized(self, rewards: NDArray[Any], dones: NDArray[np.bool_]) -> NDArray[Any]:
        if self.normalized_gamma is None:
            return rewards
        self._returns = self.normalized_gamma * self._returns + rewards
        self.return_spread.update(self._returns)
        self._returns[dones] = 0
        # Never shifted: that would make long episodes better or worse than short ones.
        return (rewards / np.sqrt(self.return_spread.var + _MIN_VARIANCE)).astype(np.float32)

    def take_steps(self) -> Transitions[Tensor]:
        """The steps since this was last asked, which are then forgotten; their rewards are 0."""
        # In the order in which they were taken.
        steps = Transitions.concatenate(self._steps, torch.cat)
        self._steps = []
        return steps

    def _rows(self, observations: NDArray[Any]) -> Tensor:
        return torch.as_tensor(observations.reshape(self.num_envs, -1), dtype=torch.float32)

    def _check_observations(self, observations: NDArray[Any]) -> None:
        tensors = {"an observation": torch.as_tensor(observations)}
        require_finite(tensors, f"after {self.num_steps} steps")

    def take_absorbed(self) -> int:
        """Steps that terminated episodes would have had up to the horizon, since last asked."""
        num_absorbed = self._num_absorbed
        self._num_absorbed = 0
        return num_absorbed

    def _note_lengths(self, dones: NDArray[np.bool_], truncations: NDArray[np.bool_]) -> None:
        self._ages += 1
        lifetimes = self._ages[dones & ~truncations]
        self._num_absorbed += int(np.maximum(self.horizon - lifetimes, 0).sum())
        if self.has_one_length:
            for length in self._ages[dones]:
                if self.length is not None and length != self.length:
                    raise MixedHorizonError(
                        f"the learner's episodes last {self.length} and {length} steps: their "
                        "length would tell who acted; use an environment that only ends by its "
                        "time limit, or permit it with may_vary_in_length=True"
                    )
                self.length = int(length)
        # Only now: the ages of ended episodes were just compared.
        self._ages[dones] = 0


def linear_reward(
    features: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]],
    weights: NDArray[np.float64],
) -> StepReward:
    """Weights [F] on features, as `SampledMaxEntIRL` infers them, as a reward of single steps."""

    def reward(obs: NDArray[Any], actions: NDArray[Any], next_obs: NDArray[Any]) -> NDArray[Any]:
        windows = np.stack([obs, next_obs], 1)  # [N, 2, O]: windows of one step
        of_steps = features(windows, actions.reshape(len(obs), 1, -1))[:, 0]  # [N, F]
        rewards: NDArray[np.float64] = of_steps @ weights
        return rewards

    return reward


def planner_reward(reward: StepReward) -> RewardFunction:
    """An inferred reward for planners.

    `DiscountedReturn(reward_function=planner_reward(reward))`.
    """

    def of_rollout(observations: Tensor, actions: Tensor) -> Tensor:
        # Every step of every rollout as one batch of steps.
        obs = observations[:, :-1].flatten(0, 1)  # [N * H, O]
        next_obs = observations[:, 1:].flatten(0, 1)
        values = reward(obs.numpy(), actions.flatten(0, 1).numpy(), next_obs.numpy())
        rewards = torch.as_tensor(np.asarray(values), dtype=observations.dtype)
        return rewards.reshape(actions.shape[:2])

    return of_rollout


class RewardedModel:
    """A world model that predicts an inferred reward, for imagination in `ImaginedVectorEnv`.

    Args:
        model: The world model.
        reward: The inferred reward.
    """

    def __init__(self, model: WorldModel, reward: StepReward) -> None:
        if not hasattr(model, "step"):
            raise ConfigError(f"{type(model).__name__} is no world model: it has no step")
        self.model = model
        self.observation_space = model.observation_space
        self.action_space = model.action_space
        self._reward = reward

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """As the model's."""
        return self.model.start(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """The model's step, with the inferred reward."""
        next_state, prediction = self.model.step(state, actions, generator)
        return next_state, self._relabeled(prediction, state.observations, actions)

    def predict(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Prediction:
        """The model's prediction, with the inferred reward."""
        observations = float_tensor(observations, f"observations of {self.observation_space}")
        actions = action_tensor(actions, self.action_space, observations.device)
        prediction = self.model.predict(observations, actions, generator)
        return self._relabeled(prediction, observations, actions)

    def rollout(
        self, start: ModelState | Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Rollout:
        """The model's rollout, with the inferred reward."""
        actions = action_tensor(actions, self.action_space, torch.device("cpu"))
        imagined = self.model.rollout(start, actions, generator)
        # The reward of all steps at once.
        rewards = planner_reward(self._reward)(imagined.observations, actions)
        return Rollout(imagined.observations, rewards, imagined.terminations, imagined.disagreement)

    def _relabeled(self, prediction: Prediction, obs: Tensor, actions: Tensor) -> Prediction:
        values = self._reward(obs.numpy(), actions.numpy(), prediction.observations.numpy())
        rewards = torch.as_tensor(np.asarray(values), dtype=prediction.rewards.dtype)
        return Prediction(
            prediction.observations, rewards, prediction.terminations, prediction.disagreement
        )
