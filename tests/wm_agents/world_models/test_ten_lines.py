"""Fitting from arrays, from an environment and from a Minari dataset takes under ten lines each."""

import gymnasium as gym
import numpy as np
import torch

import wm_envs  # noqa: F401


def test_from_an_environment():
    from wm_agents.world_models import TokenModel
    from wm_envs import record

    env = gym.make("wm/PermPuzzle-v0")
    data = record("wm/PermPuzzle-v0", episodes=20, seed=0)
    model = TokenModel(env.observation_space, env.action_space)
    model.fit(data)
    rollout = model.rollout(
        torch.as_tensor(data.observations[:1]), torch.zeros(1, 12, dtype=torch.long)
    )
    assert rollout.observations.shape == (1, 13, 72)


def test_from_a_minari_dataset(tmp_path, monkeypatch):
    from wm_agents.world_models import EnsembleModel, FitConfig
    from wm_envs import record
    from wm_envs.data.minari import load_minari, save_minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    save_minari(record("Pendulum-v1", episodes=2, seed=0), "pendulum/random-v0", "Pendulum-v1")
    env = gym.make("Pendulum-v1")
    model = EnsembleModel(env.observation_space, env.action_space)
    report = model.fit(load_minari("pendulum/random-v0"), FitConfig(num_updates=5))
    assert np.isfinite(report.best_loss)


def test_from_arrays():
    from wm_agents.world_models import DeterministicModel, FitConfig
    from wm_envs.data.trajectories import Trajectories

    random = np.random.default_rng(0)
    observations, actions = random.normal(size=(300, 3)), random.uniform(-1, 1, (300, 1))
    data = Trajectories.from_transitions(
        observations, actions, np.ones(300), observations * 0.9, np.zeros(300)
    )
    model = DeterministicModel(gym.spaces.Box(-9, 9, (3,)), gym.spaces.Box(-1, 1, (1,)))
    report = model.fit(data, FitConfig(num_updates=100))
    assert report.best_loss < 0.2
