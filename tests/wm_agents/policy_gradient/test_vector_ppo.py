import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError, SpaceError
from wm_agents.policy_gradient.vector_ppo import Rollout, VectorPPO, VectorPPOConfig
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint


class Identity(VectorEnv):
    """The right action is shown; every step ends the episode."""

    scale = 1.0
    gain, offset = 1.0, 0.0

    def __init__(self, num_envs, autoreset_mode=AutoresetMode.DISABLED):
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": autoreset_mode}
        self.single_observation_space, self.single_action_space = (
            spaces.Box(0, 1, (3,)),
            spaces.Discrete(3, start=1),
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generator = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        self.shown = self.generator.integers(3, size=self.num_envs)
        return self.observed(), {}

    def step(self, actions):
        rewards = (actions == self.shown + 1) * self.scale
        ended = np.ones(self.num_envs, bool)
        return self.observed(), rewards, ended, ~ended, {}

    def observed(self):
        return np.eye(3, dtype=np.float32)[self.shown] * self.gain + self.offset


def learn(seed):
    env = Identity(32)
    config = VectorPPOConfig(widths=(16,), num_steps=8, minibatch_size=64)
    agent = VectorPPO(env.single_observation_space, env.single_action_space, config, seed=seed)
    figures = agent.learn(env, 20, learning_rate=(1e-2, 1e-3), entropy=(0.0, 0.0))
    return agent, figures


def test_learns_to_repeat_what_is_shown():
    agent, figures = learn(0)
    assert figures["reward"] > 0.9
    actions, state = agent.predict(np.eye(3), deterministic=True)
    assert actions.tolist() == [1, 2, 3]
    assert state is None
    assert agent.predict(np.eye(3)[1], deterministic=True)[0] == 2


def test_equal_seeds_learn_the_same():
    assert learn(3)[1] == learn(3)[1]


def test_advantages_by_hand():
    zeros = torch.zeros(2, 1)
    rollout = Rollout(
        zeros, zeros, zeros,
        values=torch.tensor([[1.0], [2.0]]),
        rewards=torch.tensor([[0.5], [1.0]]),
        next_values=torch.tensor([[2.0], [3.0]]),
        ended=torch.tensor([[False], [True]]),
    )  # fmt: skip
    # last: 1 + 0.5 * 3 - 2 = 0.5; first: 0.5 + 0.5 * 2 - 1 = 0.5, and 0.5 * 0.5 * 0.5 of the last
    assert rollout.advantages(0.5, 0.5).flatten().tolist() == [0.625, 0.5]


def test_refuses_what_it_cannot_serve():
    env = Identity(2, AutoresetMode.NEXT_STEP)
    agent = VectorPPO(env.single_observation_space, env.single_action_space)
    with pytest.raises(ConfigError, match="autoreset"):
        agent.learn(env, 1, learning_rate=(1e-3, 1e-3), entropy=(0.0, 0.0))
    with pytest.raises(ConfigError, match="num_updates is at least 1, got 0"):
        agent.learn(Identity(2), 0, learning_rate=(1e-3, 1e-3), entropy=(0.0, 0.0))
    for space in (spaces.MultiBinary(3), spaces.MultiDiscrete([2, 3])):
        with pytest.raises(SpaceError, match="flat Box"):
            VectorPPO(space, spaces.Discrete(2))
    with pytest.raises(ConfigError, match=r"widths\[1\] is at least 1, got 0"):
        VectorPPOConfig(widths=(4, 0))
    for name, value in {
        "discount": 1.5,
        "trace": -0.1,
        "clip": 0.0,
        "max_gradient_norm": 0.0,
    }.items():
        with pytest.raises(ConfigError, match=name):
            VectorPPOConfig(**{name: value})
    with pytest.raises(SpaceError, match="flat Box"):
        VectorPPO(spaces.Box(0, 1, (0,)), spaces.Discrete(2))
    with pytest.raises(SpaceError):
        VectorPPO(spaces.Discrete(3), spaces.Discrete(2))
    with pytest.raises(SpaceError):
        VectorPPO(gym.make("Pendulum-v1").observation_space, gym.make("Pendulum-v1").action_space)


def test_an_environment_whose_rewards_are_not_finite_is_what_to_repair():
    env = Identity(8)
    env.scale = np.nan
    agent = VectorPPO(env.single_observation_space, env.single_action_space)
    with pytest.raises(
        NonFiniteError, match="a reward is not finite at update 0: nothing was updated; repair the"
    ):
        agent.learn(env, 1, learning_rate=(1e-3, 1e-3), entropy=(0.0, 0.0))


def test_a_saved_policy_acts_as_it_did(tmp_path):
    env = Identity(8, AutoresetMode.DISABLED)
    agent = VectorPPO(
        env.single_observation_space, env.single_action_space, VectorPPOConfig(widths=(16,)), seed=3
    )
    again = VectorPPO.load(agent.save(tmp_path / "model.safetensors"), seed=3)
    observations = np.random.default_rng(0).normal(size=(50, *env.single_observation_space.shape))
    np.testing.assert_array_equal(agent.predict(observations)[0], again.predict(observations)[0])
    assert again.config == agent.config
    with pytest.raises(CheckpointError):
        VectorPPO.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("gain", "offset"), [(1e-4, 0.0), (1.0, 1e4), (1e6, 0.0)])
def test_observations_are_learned_from_in_any_unit(tmp_path, gain, offset):
    env = Identity(32)
    env.gain, env.offset = gain, offset
    config = VectorPPOConfig(widths=(16,), num_steps=8, minibatch_size=64)
    agent = VectorPPO(spaces.Box(-np.inf, np.inf, (3,)), env.single_action_space, config, seed=0)
    assert agent.learn(env, 20, learning_rate=(1e-2, 1e-3), entropy=(0.0, 0.0))["reward"] > 0.9
    again = VectorPPO.load(agent.save(tmp_path / "model.safetensors"))
    shown = np.eye(3, dtype=np.float32) * np.float32(gain) + np.float32(offset)
    assert again.predict(shown, deterministic=True)[0].tolist() == [1, 2, 3]


def test_files_without_units_read_numbers_as_they_are(tmp_path):
    agent, _ = learn(0)
    path = agent.save(tmp_path / "model.safetensors")
    stored = load_checkpoint(path)
    tensors = {
        name: value
        for name, value in stored.tensors.items()
        if not name.startswith("observation_units")
    }
    config = {
        name: value
        for name, value in stored.metadata["config"].items()
        if name != "normalize_observations"
    }
    again = VectorPPO.load(save_checkpoint(path, tensors, {**stored.metadata, "config": config}))
    assert not again.config.normalize_observations
    assert again.predict(np.eye(3), deterministic=True)[0].tolist() == [1, 2, 3]
