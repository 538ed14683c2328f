"""An environment whose every number is known: it counts its episodes and steps."""

import gymnasium as gym
import numpy as np


class CountingEnv(gym.Env):
    """Observes [episode, time].

    An episode ends by itself after 3 steps if the last action was 1, else after 5.
    """

    observation_space = gym.spaces.Box(0.0, 1000.0, (2,))

    def __init__(self):
        self.action_space = gym.spaces.Discrete(2)
        self.episode, self.seeds = 0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.episode, self.time = self.episode + 1, 0
        return self.observation(), {}

    def observation(self):
        return np.array([self.episode, self.time], np.float32)

    def step(self, action):
        self.time += 1
        return (
            self.observation(),
            float(self.time),
            self.time >= 3 and bool(action == 1),
            self.time == 5,
            {},
        )
