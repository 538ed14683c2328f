import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from tests.support.marble import ACTIONS, OBSERVATIONS, MarbleView, play
from wm_agents.imagination.features import FeatureAgent, FeatureModel
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.objects import ObjectModel


@pytest.fixture(scope="module")
def model():
    fitted = ObjectModel(
        OBSERVATIONS,
        ACTIONS,
        MarbleView(),
        ObjectConfig(width=16, num_updates=400, batch_size=128, learning_rate=1e-2),
        seed=1,
    )
    fitted.fit(play(30, 0))
    return fitted


def test_rewards_end_episodes_and_are_shaped(model):
    view = MarbleView()
    seen = FeatureModel(model, view, potential=lambda rows: rows[:, 0], gamma=0.5)
    state = seen.encode(model.start(torch.tensor([[3.0, 0.0, 7.0], [9.0, 1.0, 7.0]])))
    assert torch.allclose(state.observations, torch.tensor([[0.3, 0.0, 0.0], [0.9, 0.1, 0.0]]))
    state, prediction = seen.step(state, torch.tensor([1, 1]))
    assert prediction.rewards.tolist() == [0.5 * 4 - 3, 2.0 - 9]  # at an end the potential is 0
    assert prediction.terminations.tolist() == [0.0, 1.0]
    assert torch.allclose(state.observations, torch.tensor([[0.4, 0.0, 0.1], [0.0, 0.2, 0.1]]))


def test_serves_a_dream_environment(model):
    seen = FeatureModel(model, MarbleView(), ends_at_rewards=False)
    starts = seen.encode(model.starts(play(3, 7)))
    env = ImaginedVectorEnv(
        seen, starts, horizon=4, num_envs=6, autoreset_mode=AutoresetMode.DISABLED, seed=0
    )
    first, _ = env.reset(seed=1)
    after, rewards, _, truncated, _ = env.step(np.ones(6, np.int64))
    assert np.allclose((after[:, 0] - first[:, 0]) % 1, 0.1)
    assert set(rewards.tolist()) <= {0.0, 2.0}
    assert not truncated.any()


class Recorder:
    def __init__(self):
        self.seen = []

    def predict(self, features, deterministic=False):
        self.seen.append(features)
        return np.ones(len(features), np.int64), None


def test_estimates_states_in_the_real_environment():
    recorder = Recorder()
    agent = FeatureAgent(recorder, MarbleView())
    rows = np.array([[3.0, 0.0, 7.0], [5.0, 1.0, 7.0]])
    actions, state = agent.predict(rows)
    assert actions.tolist() == [1, 1]
    _, state = agent.predict(rows + np.array([1, 0, 0]), state, np.array([False, True]))
    assert recorder.seen[1][:, 2] == pytest.approx([0.1, 0.0])  # the second row has begun anew
    single, _ = agent.predict(rows[0])
    assert single == 1
