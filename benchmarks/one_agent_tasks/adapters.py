"""Environments of other suites in Gymnasium's form, and what counts and flattens for the arms."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from wm_envs.data.spaces import ObservationCodec


class BudgetSpent(Exception):  # noqa: N818  (an end, not an error)
    """A learner asked for one real step more than its budget."""


class CountedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """Counts the real steps, notes the seeds, and may end a learner whose budget is spent.

    Stable-Baselines3 rounds a budget up to whole rollouts. With `limit` every learner gets the
    same number of steps: the step after the last one raises, and what was learned remains.

    Args:
        env: What is counted.
        limit: Steps after which the next one raises `BudgetSpent`; None only counts.

    Attributes:
        num_steps: Real steps so far.
        seeds: All seeds that `reset` was given.
    """

    def __init__(self, env: gym.Env[Any, Any], limit: int | None = None) -> None:
        super().__init__(env)
        self.limit = limit
        self.num_steps = 0
        self.seeds: set[int] = set()

    @property
    def spec(self) -> Any:  # type: ignore[override]
        """That of the environment alone, so that a learner may build more of the same from it."""
        return self.env.spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        if seed is not None:
            self.seeds.add(int(seed))
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's; raises `BudgetSpent` when there is no step left."""
        if self.num_steps == self.limit:
            raise BudgetSpent(f"all of {self.limit} steps are taken")
        self.num_steps += 1
        return self.env.step(action)


class FlatObservation(gym.ObservationWrapper[Any, Any, Any]):
    """Observations of any space as one float32 row, by `ObservationCodec`."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._codec = ObservationCodec(env.observation_space)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self._codec.size,), np.float32)

    def observation(self, observation: Any) -> NDArray[np.float32]:
        """The row [O]."""
        return self._codec.encode_one(observation)


def for_stable_baselines(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment with a space that Stable-Baselines3's `MlpPolicy` takes."""
    if isinstance(env.observation_space, spaces.Dict | spaces.Tuple):
        return FlatObservation(env)
    return env


class PopgymEnv(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An environment of POPGym by the contract of today's Gymnasium.

    Rewards are floats, and infos share no array with the environment, which goes on to change it.
    `gym.make(env.spec)` makes another one.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, deepcopy(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As the environment's."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), bool(terminated), bool(truncated), deepcopy(info)


class DmEnv(gym.Env[Any, Any]):
    """An environment of dm_env as one of Gymnasium.

    A last time step with discount 0 is a termination, one with another discount a truncation.
    bsuite's environments draw from `numpy.random.RandomState` objects that only their constructors
    seed; `reset(seed=...)` puts new ones in their place and leaves the counts that bsuite scores.

    Args:
        env: The environment, or a stack of bsuite's wrappers around it.
    """

    def __init__(self, env: Any) -> None:
        self.dm_env = env
        self.observation_space = _box(env.observation_spec())
        self.action_space = spaces.Discrete(env.action_spec().num_values)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """A new episode."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            for depth, layer in enumerate(_layers(self.dm_env)):
                if isinstance(vars(layer).get("_rng"), np.random.RandomState):
                    layer._rng = np.random.RandomState([seed, depth])
        return self._observe(self.dm_env.reset()), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        time_step = self.dm_env.step(int(action))
        is_last = bool(time_step.last())
        is_terminal = is_last and time_step.discount == 0.0
        reward = float(time_step.reward)
        return self._observe(time_step), reward, is_terminal, is_last and not is_terminal, {}

    def _observe(self, time_step: Any) -> NDArray[Any]:
        # bsuite's gridworlds hand out the array that they change in the next step.
        return np.array(time_step.observation, self.observation_space.dtype)


def _box(spec: Any) -> spaces.Box:
    low = np.broadcast_to(getattr(spec, "minimum", -np.inf), spec.shape)
    high = np.broadcast_to(getattr(spec, "maximum", np.inf), spec.shape)
    dtype = np.dtype(spec.dtype)
    if dtype.kind != "f":  # bsuite's umbrella and bandit declare what a float holds as well
        dtype = np.dtype(np.float32)
    return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)


def _layers(env: Any) -> Iterator[Any]:
    """An environment and all that it wraps, outermost first."""
    while env is not None:
        yield env
        env = vars(env).get("_env")
