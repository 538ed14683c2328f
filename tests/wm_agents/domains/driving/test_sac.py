import numpy as np
import pytest

from wm_agents.domains.driving import sac
from wm_agents.domains.driving.sac import DrivingSACConfig, compare_arms
from wm_agents.domains.driving.task import DrivingTaskEnv
from wm_agents.evaluation.thresholds import LearningCurve


def test_nothing_is_compared_with_a_model_free_arm_that_cannot_drive():
    dream = LearningCurve(np.array([1000, 2000]), np.array([10.0, 40.0]))
    reference = {"random_return": -5.0, "standing_return": -1.0, "expert_return": 46.0}
    config = DrivingSACConfig()
    drives = LearningCurve(np.array([4000, 10_000, 20_000]), np.array([30.0, 36.0, 36.0]))
    summary = compare_arms(config, dream, drives, reference)
    assert summary["model_free_return"] == 34.0
    assert summary["threshold"] == pytest.approx(-5.0 + 0.9 * 39.0)
    assert summary["times_fewer_real_steps"] == pytest.approx(10_000 / 2000)
    stands = LearningCurve(drives.steps, np.array([-3.0, -1.0, -1.0]))
    summary = compare_arms(config, dream, stands, reference)
    assert summary["dream_steps_to_threshold"] == 1000.0
    assert summary["model_free_steps_to_threshold"] == 10_000.0
    assert summary["times_fewer_real_steps"] is None
    assert not summary["model_free_can_drive"]


def test_the_expert_decides_in_the_replay_buffer_and_its_steps_count():
    config = DrivingSACConfig(expert_episodes=2)
    env = DrivingTaskEnv(config.track, config.episode_decisions)
    agent = sac.SAC("MlpPolicy", env, buffer_size=200, **config.sac)
    sac.fill_buffer(config, agent, env)
    size = agent.replay_buffer.size()
    assert 20 < size <= 150
    assert size <= env.num_steps <= 4 * size
    rewards = agent.replay_buffer.rewards[:size]
    assert rewards.mean() > 0.05  # who drives earns, who stands or leaves the road does not
    assert np.abs(agent.replay_buffer.actions[:size]).max() <= 1
