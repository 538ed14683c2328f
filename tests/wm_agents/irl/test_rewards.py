import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError, NonFiniteError
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.irl import LearnedReward, RewardedModel, linear_reward, planner_reward
from wm_agents.planning.objectives import DiscountedReturn
from wm_agents.world_models import DeterministicConfig, DeterministicModel


def features(observations, actions):
    """Squared angle and squared torque of Pendulum-v1, from what is seen before each step."""
    angle = np.arctan2(observations[:, :-1, 1], observations[:, :-1, 0])
    return np.stack([angle**2, actions[..., 0] ** 2], 2)


REWARD = linear_reward(features, np.array([-1.0, -0.001]))


def test_an_environment_pays_the_learned_reward():
    env = LearnedReward(gym.make("Pendulum-v1"), REWARD)
    observation, _ = env.reset(seed=0)
    angle = np.arctan2(observation[1], observation[0])
    _, reward, _, _, info = env.step(np.array([1.5], np.float32))
    assert reward == pytest.approx(-(angle**2) - 0.001 * 1.5**2, rel=1e-5)
    # Gymnasium's own cost has the speed as well.
    assert info["original_reward"] == pytest.approx(reward - 0.1 * observation[2] ** 2, rel=1e-4)
    broken = LearnedReward(gym.make("Pendulum-v1"), lambda *_: np.array([np.nan]))
    broken.reset(seed=0)
    with pytest.raises(NonFiniteError, match="inferred reward"):
        broken.step(np.array([0.0], np.float32))


def test_planners_get_rewards_of_whole_futures():
    observations = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0]]])
    rewards = planner_reward(REWARD)(observations, torch.zeros(1, 2, 1))
    np.testing.assert_allclose(rewards[0], [0, -((np.pi / 2) ** 2)], rtol=1e-6)


def test_a_model_dreams_of_the_learned_reward():
    env = gym.make("Pendulum-v1")
    model = DeterministicModel(
        env.observation_space,
        env.action_space,
        DeterministicConfig(dynamics_widths=(8,), reward_widths=(8,)),
        seed=0,
    )
    model.is_fitted = True  # random weights will do
    rewarded = RewardedModel(model, lambda before, actions, after: before[:, 0] + actions[:, 0])
    seen, actions = torch.eye(3), torch.full((3, 2, 1), 0.5)
    imagined, plain = rewarded.rollout(seen, actions), model.rollout(seen, actions)
    torch.testing.assert_close(imagined.observations, plain.observations)
    torch.testing.assert_close(imagined.rewards, imagined.observations[:, :-1, 0] + 0.5)
    _, prediction = rewarded.step(rewarded.start(seen), actions[:, 0])
    torch.testing.assert_close(prediction.rewards, imagined.rewards[:, 0])
    torch.testing.assert_close(
        rewarded.predict(seen, actions[:, 0]).rewards, imagined.rewards[:, 0]
    )
    values = DiscountedReturn(gamma=1.0)(imagined, actions)
    assert torch.isfinite(values).all()
    dream = ImaginedVectorEnv(rewarded, seen.numpy(), horizon=4, num_envs=2, seed=0)
    before, _ = dream.reset(seed=0)
    rewards = dream.step(np.full((2, 1), 0.25, np.float32))[1]
    np.testing.assert_allclose(rewards, before[:, 0] + 0.25, atol=1e-6)
    with pytest.raises(ConfigError, match="no world model"):
        RewardedModel(3, REWARD)
