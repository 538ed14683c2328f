"""A room that is to be kept warm, registered by the import of this module: for ids that name it."""

import gymnasium as gym
import numpy as np


class Room(gym.Env):
    """Its temperature, heated or not; the time limit of the id alone ends an episode."""

    observation_space = gym.spaces.Box(-50.0, 80.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.air = self.np_random.uniform(8.0, 24.0)
        return self._observe(), {}

    def step(self, action):
        self.air += int(action) - 0.4
        return self._observe(), -abs(self.air - 20.0), False, False, {}

    def _observe(self):
        return np.array([self.air], np.float32)


gym.register("my/Room-v0", Room, max_episode_steps=8)
gym.register("my/NamedRoom-v0", f"{__name__}:Room", max_episode_steps=8)
