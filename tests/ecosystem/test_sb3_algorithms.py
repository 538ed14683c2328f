"""Stable-Baselines3 and sb3-contrib train on every id, on the single environment and on the native batch."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

sb3 = pytest.importorskip("stable_baselines3", reason="the extra agents is not installed")
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

from wm_agents.sb3.vec_env import SB3VecEnv  # noqa: E402

NUM_ENVS = 4
ON_POLICY = {"n_steps": 8, "policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 0}
OFF_POLICY = {
    "learning_starts": 8,
    "buffer_size": 64,
    "batch_size": 8,
    "train_freq": 4,
    "policy_kwargs": {"net_arch": [8]},
    "device": "cpu",
    "seed": 0,
}
RECURRENT = {**ON_POLICY, "policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 8}}


def cases():
    """Library, algorithm, policy, options, and for which actions: None is any."""
    yield from (
        ("stable_baselines3", name, "MlpPolicy", ON_POLICY, None) for name in ("A2C", "PPO")
    )
    yield "stable_baselines3", "DQN", "MlpPolicy", OFF_POLICY, True
    yield "stable_baselines3", "SAC", "MlpPolicy", OFF_POLICY, False
    yield "sb3_contrib", "TRPO", "MlpPolicy", ON_POLICY, None
    yield "sb3_contrib", "RecurrentPPO", "MlpLstmPolicy", RECURRENT, None
    yield "sb3_contrib", "QRDQN", "MlpPolicy", OFF_POLICY, True
    yield "sb3_contrib", "TQC", "MlpPolicy", OFF_POLICY, False


CASES = [pytest.param(*case, id=case[1]) for case in cases()]


def parameters_of(model):
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in model.policy.parameters()])


@pytest.mark.parametrize("form", ["single", "vector"])
@pytest.mark.parametrize(("library", "name", "policy", "options", "for_discrete"), CASES)
def test_it_trains(library, name, policy, options, for_discrete, form, env_id, is_discrete):
    algorithm = getattr(
        pytest.importorskip(library, reason="the extra ecosystem is not installed"), name
    )
    if for_discrete is not None and for_discrete != is_discrete:
        pytest.skip(f"{name} is for {'Discrete' if for_discrete else 'Box'} actions")
    env = gym.make(env_id) if form == "single" else batch(env_id)
    model = algorithm(policy, env, **options)
    before = parameters_of(model)
    model.learn(2 * 8 * NUM_ENVS)
    after = parameters_of(model)
    assert model.num_timesteps >= 2 * 8 * NUM_ENVS
    assert np.isfinite(after).all()
    assert (before != after).any()
    env.close()


def batch(env_id):
    return VecMonitor(
        SB3VecEnv(gym.make_vec(env_id, NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP))
    )


def test_the_batch_and_the_singles_give_equal_training(env_id, is_discrete):
    """SB3's own DummyVecEnv around single environments, and our batch.

    The same rollouts, so the same parameters.
    """

    def train(env):
        env.seed(5)
        model = sb3.A2C("MlpPolicy", env, **ON_POLICY)
        model.set_random_seed(0)
        env.seed(5)
        model.learn(64)
        return parameters_of(model)

    singles = sb3.common.vec_env.DummyVecEnv([lambda: gym.make(env_id)] * NUM_ENVS)
    np.testing.assert_array_equal(train(singles), train(batch(env_id)))


class Masked(gym.Wrapper):
    """The mask of the newest info, as MaskablePPO asks for it."""

    def reset(self, **options):
        observation, info = self.env.reset(**options)
        self.mask = info["action_mask"]
        return observation, info

    def step(self, action):
        assert self.mask[action], "a masked action was taken"
        *outcome, info = self.env.step(action)
        self.mask = info["action_mask"]
        return *outcome, info

    def action_masks(self):
        return np.asarray(self.mask, np.bool_)


def test_maskable_ppo_takes_only_what_a_resolution_allows():
    contrib = pytest.importorskip("sb3_contrib", reason="the extra ecosystem is not installed")
    model = contrib.MaskablePPO("MlpPolicy", Masked(gym.make("wm/UNResolution-v0")), **ON_POLICY)
    assert model.learn(64).num_timesteps == 64


def test_evaluate_policy_runs_on_a_batch():
    model = sb3.PPO("MlpPolicy", batch("wm/SequenceNext-v0"), **ON_POLICY)
    mean, _ = evaluate_policy(model, batch("wm/SequenceNext-v0"), n_eval_episodes=8)
    assert 0 <= mean <= 1
