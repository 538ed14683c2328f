import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.protocols import ModelState
from wm_agents.world_models import FitConfig, LatentConfig, LatentModel
from wm_agents.world_models.latent import _divergence
from wm_envs.data.trajectories import Trajectories

SPACES = gym.spaces.Box(-10, 10, (2,)), gym.spaces.Discrete(2)


def circling(num_episodes, seed):
    """A point turns by 0.3 rad to the left or right; the reward is its height."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(num_episodes):
        actions = random.integers(2, size=20)
        angles = random.uniform(0, 2 * np.pi) + np.append(0, np.cumsum(0.3 * (2 * actions - 1)))
        seen = 2 * np.stack([np.cos(angles), np.sin(angles)], 1)
        parts.append(Trajectories.from_arrays(seen, actions, seen[1:, 1], np.zeros(20)))
    return Trajectories.concatenate(parts)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    config = LatentConfig(
        latent_size=8, encoder_widths=(64,), dynamics_widths=(64,), decoder_widths=(64,)
    )
    model = LatentModel(*SPACES, config)
    model.fit(circling(60, 0), FitConfig(num_updates=500, horizon=4, learning_rate=3e-3))
    return model


def test_imagination_stays_in_the_latent_and_is_right(model):
    batch = circling(10, 1).windows(8)
    rollout = model.rollout(
        torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions)
    )
    assert np.abs(rollout.observations.numpy() - batch.observations).mean() < 0.1  # the radius is 2
    assert np.abs(rollout.rewards.numpy() - batch.rewards).mean() < 0.1
    start = model.start(torch.as_tensor(batch.observations[:, 0]))
    blind = ModelState(torch.zeros_like(start.observations), start.hidden)
    blind_step, blind_prediction = model.step(blind, torch.as_tensor(batch.actions[:, 0]))
    assert torch.allclose(blind_prediction.rewards, rollout.rewards[:, 0])  # only the latent counts
    assert blind_step.hidden[0].shape == (len(batch.actions), 8)


def test_what_is_seen_replaces_what_was_imagined(model):
    batch = circling(10, 1).windows(8)
    rollout_state, _ = model.step(
        model.start(torch.as_tensor(batch.observations[:, 0])), torch.ones(len(batch.actions))
    )
    seen = torch.as_tensor(batch.observations[:, 1])
    assert torch.equal(
        model.start(seen, rollout_state.hidden).hidden[0], model.start(seen).hidden[0]
    )


def test_draws_repeat_with_their_seed(model):
    start, actions = torch.tensor([[2.0, 0.0]]), torch.zeros(1, 5, dtype=torch.long)
    draws = [
        model.rollout(start, actions, torch.Generator().manual_seed(seed)).observations
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_divergence_is_that_of_gaussians():
    one = torch.distributions.Normal(torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0]))
    two = torch.distributions.Normal(torch.tensor([0.0, 1.0]), torch.tensor([1.5, 0.7]))
    expected = torch.distributions.kl_divergence(one, two).mean()
    found = _divergence((one.mean, one.stddev.log()), (two.mean, two.stddev.log()))
    assert torch.allclose(found, expected)
