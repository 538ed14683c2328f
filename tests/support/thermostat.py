"""A room that is to be kept at zero, and demonstrations of it."""

import gymnasium as gym
import numpy as np

from wm_agents.irl import Demonstrations


class Thermostat(gym.Env):
    """One number to be kept at zero by a push; five steps, or as long as an option says."""

    def __init__(self, is_discrete=False, varies=False):
        self.observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
        self.action_space = (
            gym.spaces.Discrete(3) if is_discrete else gym.spaces.Box(-1, 1, (1,), np.float32)
        )
        self.varies = varies

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.age = self.np_random.uniform(-2, 2, 1).astype(np.float32), 0
        self.length = 3 + int(self.np_random.integers(3)) if self.varies else 5
        return self.place, {}

    def step(self, action):
        push = (
            action - 1 if isinstance(self.action_space, gym.spaces.Discrete) else float(action[0])
        )
        self.place = (self.place + push).astype(np.float32)
        self.age += 1
        return self.place, 0.0, False, self.age >= self.length, {}


def recorded(is_discrete, num_episodes=40, length=5, seed=0):
    """Always towards zero."""
    generator = np.random.default_rng(seed)
    observations, actions = [], []
    for _ in range(num_episodes):
        place = generator.uniform(-2, 2)
        observations.append(place)
        for _ in range(length):
            push = np.clip(-place, -1, 1)
            if is_discrete:
                push = np.round(push)
            place = place + push
            observations.append(place)
            actions.append(int(push) + 1 if is_discrete else [push])
    return Demonstrations.of(
        {
            "observations": np.array(observations, np.float32)[:, None],
            "actions": np.array(actions),
            "lengths": np.full(num_episodes, length),
        }
    )
