"""Tianshou's collector gathers every id from its own vector environment around ours."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("tianshou", reason="the extra ecosystem is not installed")
from tianshou.data import Batch, Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv

NUM_ENVS = 3


def random_policy(action_space):
    from tianshou.algorithm.algorithm_base import Policy

    class RandomPolicy(Policy):
        def forward(self, batch, state=None, **options):
            return Batch(act=np.stack([self.action_space.sample() for _ in range(len(batch.obs))]))

    return RandomPolicy(action_space=action_space)


def test_the_collector_gathers_steps(env_id):
    envs = DummyVectorEnv([lambda: gym.make(env_id, max_episode_steps=40)] * NUM_ENVS)
    envs.seed(0)
    buffer = VectorReplayBuffer(600, NUM_ENVS)
    collector = Collector(random_policy(gym.make(env_id).action_space), envs, buffer)
    collector.reset()
    result = collector.collect(n_step=60 * NUM_ENVS)
    assert result.n_collected_steps == 60 * NUM_ENVS
    assert result.n_collected_episodes >= NUM_ENVS
    assert np.isfinite(buffer.rew).all()
    steps = buffer.sample_indices(0)
    goes_on = ~buffer.done[steps[:-1]] & (np.diff(steps) == 1)
    np.testing.assert_array_equal(
        buffer.obs_next[steps[:-1]][goes_on], buffer.obs[steps[1:]][goes_on]
    )
