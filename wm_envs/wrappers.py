"""Wrappers: the reward as a vector of its components, and a window of past observations."""

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from wm_envs.data.infos import component_key
from wm_envs.data.options import check_integer
from wm_envs.errors import OptionError

Observation = NDArray[Any]


class VectorReward(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """The unweighted reward components as the reward, in MO-Gymnasium's convention.

    `reward_space` is a Box [C] in the order of `component_names`, and `step` returns a float32
    vector of that shape: what MO-Gymnasium's agents and its own wrappers (LinearReward and the
    like) expect of an environment.

    Args:
        env: A native environment, whose info carries `reward_components`.

    Raises:
        OptionError: The environment names no reward components.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.component_names = _component_names(env)
        shape = (len(self.component_names),)
        self.reward_space = spaces.Box(-np.inf, np.inf, shape, np.float32)

    @property
    def reward_dim(self) -> int:
        """The number of components, C."""
        return len(self.component_names)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Advance; the reward is a float32 array [C]."""
        # The weighted sum is dropped: whoever asks for components weighs them.
        observation, _, terminated, truncated, info = self.env.step(action)
        components = info["reward_components"]
        reward = np.array([components[name] for name in self.component_names], np.float32)
        return observation, reward, terminated, truncated, info


class VectorRewardBatch(VectorWrapper):
    """`VectorReward` for a vector environment of B rows: the reward is a float32 array [B, C].

    Args:
        env: A native vector environment, in any autoreset mode.

    Raises:
        OptionError: The environment names no reward components.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.component_names = _component_names(env)
        self.reward_space = spaces.Box(-np.inf, np.inf, (len(self.component_names),), np.float32)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance all rows; the reward is a float32 array [B, C]."""
        observations, _, terminated, truncated, infos = self.env.step(actions)
        rewards = self._stacked(infos)
        if (
            "final_info" in infos
        ):  # SAME_STEP: the infos of the rows that ended are those of their reset
            ended = infos["_final_info"]
            rewards[ended] = self._stacked(infos["final_info"])[ended]
        return observations, rewards, terminated, truncated, infos

    def _stacked(self, infos: dict[str, Any]) -> NDArray[np.float32]:
        columns = [infos[component_key(name)] for name in self.component_names]
        return np.stack(columns, axis=-1).astype(np.float32)


class FrameHistory(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """The last observations side by side, oldest first.

    With them a reactive agent can act on a short past.

    After a reset the places of frames that do not exist yet hold zeros: they differ from every
    one-hot observation, whereas repeating the first frame would say that it had been shown several
    times.

    Args:
        env: An environment with a Box observation [O] that contains zeros.
        num_frames: Observations in the window, F; the observation becomes a Box [F * O].

    Raises:
        OptionError: Another observation space, or a number of frames below 1.
    """

    def __init__(self, env: gym.Env[Any, Any], num_frames: int) -> None:
        num_frames = check_integer("num_frames", num_frames, 1)
        RecordConstructorArgs.__init__(self, num_frames=num_frames)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise OptionError(f"FrameHistory stacks flat Box observations, got {space}")
        # Zeros stand for frames before the first; an observation that cannot be zero has no such
        # filler.
        if not space.contains(np.zeros(space.shape, space.dtype)):
            raise OptionError(
                f"FrameHistory fills missing frames with zeros, which lie outside {space}"
            )
        low, high = np.tile(space.low, num_frames), np.tile(space.high, num_frames)
        self.observation_space = spaces.Box(low, high, dtype=space.dtype.type)
        self._frames: deque[Observation] = deque(maxlen=num_frames)
        self._missing = np.zeros(space.shape, space.dtype)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with an empty history."""
        observation, info = self.env.reset(seed=seed, options=options)
        # A full window pushes the last episode's frames out.
        self._frames.extend([self._missing] * (self._frames.maxlen or 0))
        return self._stacked(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Advance; the new observation takes the last place."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._stacked(observation), reward, terminated, truncated, info

    def _stacked(self, observation: Observation) -> Observation:
        self._frames.append(observation)
        return np.concatenate(self._frames)


def _component_names(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> tuple[str, ...]:
    names: tuple[str, ...] | None = getattr(env.unwrapped, "reward_components", None)
    if names is None:
        raise OptionError(
            f"VectorReward needs an environment with named reward components, got {env}"
        )
    return names
