"""Steps that never change the observation, as in a contextual bandit: rewards are left to learn."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import wm_agents as wma
from wm_envs.data.trajectories import Trajectories

SPACE = gym.spaces.Box(-1, 1, (1,))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["Deterministic", "Ensemble", "Recurrent", "Latent"])
def test_a_model_of_rewards_alone(name: str) -> None:
    generator = np.random.default_rng(0)
    shown, actions = generator.uniform(-1, 1, (2, 300, 1)).astype(np.float32)
    trajectories = Trajectories.from_arrays(
        np.repeat(shown, 2, 0),
        actions,
        -np.abs(actions - shown)[:, 0],
        np.ones(300, np.bool_),
        observation_space=SPACE,
        action_space=SPACE,
    )
    model = getattr(wma, f"{name}Model")(SPACE, SPACE, seed=0)
    model.fit(trajectories, wma.FitConfig(num_updates=200, learning_rate=3e-3, horizon=1))
    obs = torch.tensor([[0.5], [0.5]])
    _, predicted = model.step(model.start(obs), torch.tensor([[0.5], [-0.5]]))
    assert torch.equal(predicted.observations, obs)
    assert float(predicted.rewards[0] - predicted.rewards[1]) > 0.5
    assert predicted.disagreement is None or predicted.disagreement.tolist() == [0, 0]
