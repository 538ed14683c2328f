"""What another action changes: models whose flaw is known, and the oracle against itself."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import wm_agents as wma
from tests.support.analytic import WalkModel
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.evaluation.what_if import counterfactual_starts, other_actions, what_if
from wm_agents.planning import OracleModel
from wm_agents.planning.classic_control import true_model
from wm_envs import oracle, record


def starts(num: int = 60, horizon: int = 6) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(num, 2)).astype(np.float32)
    return rows, generator.uniform(-1, 1, (num, horizon, 1)).astype(np.float32)


class DeafModel(WalkModel):
    """Knows where everything goes on average, and not that actions matter."""

    def step(self, state: Any, actions: Any, generator: Any = None) -> Any:
        return super().step(state, torch.zeros_like(actions), generator)


def test_a_drift_spoils_the_future_and_not_the_difference() -> None:
    result = what_if(WalkModel(drift=0.3), WalkModel(), *starts(), feature_names=("a", "b"))
    assert (np.diff(result.plain) > 0).all()
    assert result.difference == pytest.approx(np.zeros(6), abs=1e-6)
    assert result.explained(6) == pytest.approx(1)
    assert result.num_pairs.tolist() == [60] * 6
    assert "gets >99.9%" in str(result)
    assert set(result.by_feature) == {"a", "b"}


def test_a_deaf_model_is_as_good_as_saying_that_nothing_changes() -> None:
    result = what_if(DeafModel(), WalkModel(), *starts())
    assert result.difference == pytest.approx(result.effect)
    assert result.explained(1) == 0
    assert "no better" in str(result)
    # The true effect by hand: half the change of the action, divided by the spread of the feature.
    rows, actions = starts()
    other = other_actions(WalkModel().action_space, torch.as_tensor(actions[:, 0]), 0).numpy()
    moves = 0.5 * (other - actions[:, 0])
    path = rows[:, :1] + np.cumsum(0.5 * actions[..., 0], axis=1)
    spread = np.concatenate([rows[:, :1], path], 1).std()
    by_hand = np.sqrt(np.mean((moves / spread) ** 2) / 2)  # of two features, one never changes
    assert result.effect[0] == pytest.approx(by_hand, rel=1e-4)


def test_pairs_count_until_either_future_ends() -> None:
    truth = WalkModel(ends_at=5.0)
    rows = np.array([[0.0, 0.0], [0.0, -100.0]], np.float32)
    actions = np.zeros((2, 5, 1), np.float32)
    result = what_if(WalkModel(), truth, rows, actions)
    assert result.num_pairs.tolist() == [2, 2, 2, 1, 1]  # 0 -> 2 -> 4 -> 6: the third step ends


def test_the_oracle_agrees_with_itself_and_with_rules() -> None:
    env_id = "wm/LightsOut-v0"
    envs = gym.make_vec(env_id, 16)
    rows, states, actions = counterfactual_starts(envs, 100, 5, seed=3)
    truth = OracleModel(
        partial(oracle.rollout, env_id), envs.single_observation_space, envs.single_action_space
    )
    hidden = truth.hidden_of(states)
    model = wma.TokenModel.for_env(env_id)
    model.fit(record(env_id, episodes=80, seed=0, progress=False))
    result = what_if(model, truth, rows, actions, hidden=hidden)
    assert result.num_pairs[0] == 100
    assert (result.difference == 0).all()
    assert result.effect[0] > 0.1
    # What the oracle replays from a cloned state is what the environment went on to do.
    replayed = oracle.rollout(env_id, states, actions)[0]
    assert np.array_equal(replayed[:, 0], rows)
    with pytest.raises(ConfigError, match="shorter horizon"):
        counterfactual_starts(envs, 10, 500)
    envs.close()


def test_classic_control_and_a_network() -> None:
    data = record("Pendulum-v1", episodes=10, seed=0, progress=False)
    model = wma.DeterministicModel.for_env("Pendulum-v1", wma.DeterministicConfig((), 0, (32, 32)))
    model.fit(data, wma.FitConfig(num_updates=400))
    window = data.windows(8, data.window_starts(8)[::40])
    result = what_if(model, true_model("Pendulum-v1"), window.observations[:, 0], window.actions)
    assert 0.5 < result.explained(8) <= 1
    assert result.summary()["what_if_error_h8"] == result.difference[7]


def test_what_cannot_be_asked_is_refused() -> None:
    rows, actions = starts(4)
    with pytest.raises(SpaceError, match=r"observations \[B, O\]"):
        what_if(WalkModel(), WalkModel(), rows[:3], actions)
    with pytest.raises(ConfigError, match="1 names for 2 features"):
        what_if(WalkModel(), WalkModel(), rows, actions, feature_names=("a",))
    with pytest.raises(SpaceError, match="no other action"):
        other_actions(gym.spaces.Discrete(1), torch.zeros(2), 0)
    with pytest.raises(ConfigError, match="between bounds"):
        other_actions(gym.spaces.Box(-np.inf, 1, (1,)), torch.zeros(2, 1), 0)
    with pytest.raises(ConfigError, match="clone_state"):
        counterfactual_starts(gym.make_vec("CartPole-v1", 2), 4, 2)
    other = other_actions(gym.spaces.Discrete(3, start=5), torch.tensor([5, 6, 7] * 20), 1)
    assert ((other >= 5) & (other <= 7)).all()
    assert (other != torch.tensor([5, 6, 7] * 20)).all()
