"""Curves have the points that were asked for, with the scores of that moment."""

import gymnasium as gym
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from wm_agents.errors import ConfigError
from wm_agents.sb3.callbacks import EpisodeCurve, EvaluationCurve


class Countdown(gym.Env):
    """Four steps of reward 0.5; every second episode is a success, where it is told."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, tells: bool = True) -> None:
        self.tells, self.episode = tells, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 4
        self.episode += 1
        return self.observation_space.low, {}

    def step(self, action):
        self.left -= 1
        info = {"is_success": self.episode % 2 == 0} if self.tells else {}
        return self.observation_space.low, 0.5, self.left == 0, False, info


def learner(tells: bool, n_steps: int) -> PPO:
    envs = VecMonitor(DummyVecEnv([lambda: Countdown(tells)]))
    return PPO(
        "MlpPolicy", envs, n_steps=n_steps, batch_size=n_steps, n_epochs=1, device="cpu", seed=0
    )


@pytest.mark.parametrize(("tells", "score"), [(True, 0.5), (False, 2.0)])
def test_an_episode_curve_averages_what_finished(tells, score):
    curve = EpisodeCurve()
    learner(tells, 8).learn(16, callback=curve)
    assert curve.points == [(8, score), (16, score)]


def test_a_rollout_without_an_end_has_no_point():
    curve = EpisodeCurve()
    learner(True, 2).learn(8, callback=curve)
    assert [steps for steps, _ in curve.points] == [4, 8]


def test_an_evaluation_curve_begins_before_and_ends_after_learning():
    agent = learner(True, 8)
    curve = EvaluationCurve(lambda: float(agent.num_timesteps), every=16)
    agent.learn(32, callback=curve)
    curve.note()
    assert curve.points == [(0, 0.0), (16, 16.0), (32, 32.0)]


def test_a_spacing_that_is_no_number_of_steps_is_refused():
    with pytest.raises(ConfigError, match="every is at least 1, got 0"):
        EvaluationCurve(lambda: 0.0, every=0)
