import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("stable_baselines3", reason="the baseline is Stable-Baselines3's PPO")

from stable_baselines3.common.vec_env import VecEnv

import wm_envs  # noqa: F401
from wm_agents.domains.pong.object_view import PongView
from wm_agents.domains.pong.sb3_baseline import BaselineConfig, _FeatureVecEnv
from wm_envs.pong.columns import STACK, PongFeature

X = PongFeature.BALL_X * STACK
START = gym.make("wm/Pong-v0").reset(seed=0)[0].astype(np.float32)


class Games(VecEnv):
    """Two games whose ball is at given places, with given rewards."""

    def __init__(self, steps):
        super().__init__(2, spaces.Box(0, 255, (56,), np.float32), spaces.Discrete(6))
        self.steps = iter(steps)

    def reset(self):
        return self.rows([80, 80])

    @staticmethod
    def rows(places):
        rows = np.repeat(START[None], 2, 0)
        rows[:, X : X + STACK] = np.array(places)[:, None] + 4 * np.arange(STACK)[::-1]
        return rows

    def step_async(self, actions):
        pass

    def step_wait(self):
        places, rewards, dones = next(self.steps)
        infos = [{"terminal_observation": self.rows([80, 80])[0]} for _ in range(2)]
        return self.rows(places), np.array(rewards, np.float32), np.array(dones), infos

    def close(self):
        pass

    def get_attr(self, name, indices=None):
        return [None, None]

    set_attr = env_method = env_is_wrapped = get_attr


def test_a_point_ends_an_episode_and_the_potential_is_that_of_a_ball_that_flies_to_the_enemy():
    config = BaselineConfig(shaping=0.2, gamma=0.5, ends_at_points=True)
    games = Games([([76, 76], [0, 1], [False, False]), ([72, 72], [0, 0], [False, True])])
    envs = _FeatureVecEnv(games, PongView(), config)
    envs.reset()
    _, rewards, dones, infos = envs.step(np.zeros(2))
    # Both balls fly to the enemy before and after; at an end the potential is 0.
    assert dones.tolist() == [False, True]
    assert rewards.tolist() == pytest.approx([0.5 * 0.2 - 0.2, 1.0 - 0.2])
    assert infos[1]["terminal_observation"].shape == envs.observation_space.shape
    _, rewards, dones, _ = envs.step(np.zeros(2))
    assert dones.tolist() == [False, True]
    assert rewards.tolist() == pytest.approx([-0.1, -0.2])
    plain = _FeatureVecEnv(
        Games([([76, 76], [0, 1], [False, False])]), PongView(), BaselineConfig()
    )
    plain.reset()
    _, rewards, dones, _ = plain.step(np.zeros(2))
    assert (rewards.tolist(), dones.tolist()) == ([0.0, 1.0], [False, False])
