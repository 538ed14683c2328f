import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.evaluation.episodes import FunctionAgent, evaluate
from wm_agents.planning.classic_control import DYNAMICS, balance_pole, swing_up, true_model
from wm_agents.protocols import WorldModel


@pytest.mark.parametrize("env_id", DYNAMICS)
def test_each_step_is_gymnasiums_own(env_id):
    """Random episodes; the true state is read before each step so that rounding does not add up."""
    env, model = gym.make(env_id), true_model(env_id)
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    num_ends = 0
    for step in range(600):
        exact = true_observation(env)
        action = env.action_space.sample()
        actions = (
            torch.as_tensor(np.asarray(action))[None].double()
            if np.ndim(action)
            else torch.tensor([action])
        )
        prediction = model.predict(torch.as_tensor(exact)[None], actions)
        observation, reward, terminated, truncated, _ = env.step(action)
        np.testing.assert_allclose(prediction.observations[0].numpy(), observation, atol=2e-6)
        assert prediction.rewards.item() == pytest.approx(reward, abs=1e-6)
        assert prediction.terminations.item() == float(terminated)
        num_ends += terminated
        if terminated or truncated or (env_id != "CartPole-v1" and step % 50 == 49):
            env.reset(seed=step)
            if env_id == "Acrobot-v1":  # fast and high states, where it may end
                env.unwrapped.state = np.random.default_rng(step).uniform(
                    [-3.1, -3.1, -12, -25], [3.1, 3.1, 12, 25]
                )
            if env_id.startswith("MountainCar"):  # uphill, where it may end
                env.unwrapped.state = np.array([0.45, 0.04])
    if env_id != "Pendulum-v1":
        assert num_ends > 0


def true_observation(env: gym.Env) -> np.ndarray:
    """The observation in double precision, from the environment's state."""
    state = np.asarray(env.unwrapped.state, np.float64)
    if env.spec.id == "Pendulum-v1":
        return np.array([np.cos(state[0]), np.sin(state[0]), state[1]])
    if env.spec.id == "Acrobot-v1":
        return np.array(
            [
                np.cos(state[0]),
                np.sin(state[0]),
                np.cos(state[1]),
                np.sin(state[1]),
                state[2],
                state[3],
            ]
        )
    return state


def test_rollouts_are_steps_in_a_row():
    model = true_model("CartPole-v1")
    assert isinstance(model, WorldModel)
    generator = torch.Generator().manual_seed(0)
    start = 0.05 * torch.randn(7, 4, generator=generator)
    actions = torch.randint(2, (7, 9), generator=generator)
    rollout = model.rollout(start, actions)
    state = model.start(start)
    for step in range(9):
        state, prediction = model.step(state, actions[:, step])
        assert torch.equal(rollout.observations[:, step + 1], prediction.observations)
        assert torch.equal(rollout.rewards[:, step], prediction.rewards)
        assert torch.equal(rollout.terminations[:, step], prediction.terminations)


def test_other_ids_are_refused():
    with pytest.raises(ConfigError, match="Pendulum-v1"):
        true_model("LunarLander-v3")


def test_the_pole_is_balanced_for_the_whole_episode():
    results = evaluate(FunctionAgent(balance_pole), "CartPole-v1", 3, seed=7)
    assert results.returns.tolist() == [500, 500, 500]


def test_the_pendulum_is_swung_up_and_held():
    results = evaluate(FunctionAgent(swing_up), "Pendulum-v1", 3, seed=7)
    assert results.returns.min() > -400  # random actions have about -1,200
    # On top and at rest it does nothing; below, at rest, it cannot know where to begin.
    still = np.array([[1, 0, 0], [-1, 0, 0], [1, 0, 1]], np.float32)
    np.testing.assert_allclose(swing_up(still)[:, 0], [0, 0, -2], atol=1e-2)
