"""Models learn in any unit: what counts is what varies, not how large it is."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.planning.search import observation_keys
from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    FitConfig,
    HistoryModel,
    TokenModel,
)
from wm_agents.world_models.encoding import ActionEncoder
from wm_agents.world_models.lattice import TokenCodec, detect_features
from wm_agents.world_models.normalization import Standardizer
from wm_envs.data.trajectories import Trajectories

REAL = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
SMALL = DeterministicConfig(dynamics_widths=(32,), reward_widths=(32,), termination_widths=(8,))
FIT = FitConfig(num_updates=200, learning_rate=5e-3, horizon=1, seed=0)


def pushed(unit=(1.0, 1.0), offset=0.0, reward=1.0, push=1.0, middle=0.0):
    """A velocity that an action changes and a place that follows it; the reward is the velocity."""
    rng = np.random.default_rng(0)
    observations, actions, rewards = [], [], []
    for _ in range(10):
        state = rng.normal(size=2) * 0.5
        observations.append(state)
        for _ in range(60):
            action = rng.uniform(-1, 1)
            state = np.array([state[0] + 0.1 * state[1], 0.9 * state[1] + 0.2 * action])
            observations.append(state)
            actions.append([action * push + middle])
            rewards.append(state[1] * reward)
    rows = np.array(observations) * unit + offset
    ends = np.zeros(600, bool)
    return Trajectories.from_arrays(
        rows.astype(np.float32), np.float32(actions), np.array(rewards), ends, lengths=[60] * 10
    )


def effect(model, unit=(1.0, 1.0), offset=0.0, push=1.0, middle=0.0):
    """What the action changes in the second feature [0.2 is right], in its unit.

    And in the reward.
    """
    rows = torch.tensor(np.float32(np.array([[0.2, 0.2]] * 2) * unit + offset))
    actions = torch.tensor([[0.0], [1.0]], dtype=torch.float64) * push + middle
    prediction = model.predict(rows, actions.float())
    change = (prediction.observations[1, 1] - prediction.observations[0, 1]).double()
    return float(change) / unit[1], float(prediction.rewards[1] - prediction.rewards[0])


@pytest.mark.parametrize(
    ("unit", "offset"),
    [
        ((1e-7, 1e-7), 0.0),
        ((1e7, 1e7), 0.0),
        ((1.0, 1.0), 1e4),
        ((1e6, 1e-6), 0.0),
        ((1e-20, 1e20), 0.0),
    ],
)
def test_features_of_any_unit_are_learned(unit, offset):
    model = DeterministicModel(REAL, gym.spaces.Box(-1, 1, (1,)), SMALL)
    model.fit(pushed(unit, offset), FIT, progress=False)
    assert abs(effect(model, unit, offset)[0] - 0.2) < 0.06


@pytest.mark.parametrize("reward", [1e-6, 1e6])
def test_rewards_of_any_unit_are_learned(reward):
    model = DeterministicModel(REAL, gym.spaces.Box(-1, 1, (1,)), SMALL)
    model.fit(pushed(reward=reward), FIT, progress=False)
    assert abs(effect(model)[1] / reward - 0.2) < 0.1


@pytest.mark.parametrize(
    ("low", "high", "push", "middle"),
    [
        (-np.inf, np.inf, 1e7, 0.0),
        (-np.inf, np.inf, 1e-7, 0.0),
        (-1e30, 1e30, 1.0, 0.0),
        (0.0, 1e30, 1.0, 5.0),
        (np.finfo(np.float32).min, np.finfo(np.float32).max, 1.0, 0.0),
        (1000.0, 1002.0, 1.0, 1001.0),
    ],
)
@pytest.mark.parametrize("has_history", [False, True])
def test_actions_of_any_bounds_are_learned(low, high, push, middle, has_history):
    space = gym.spaces.Box(np.float32(low), np.float32(high), (1,), np.float32)
    model = DeterministicModel(REAL, space, SMALL)
    if has_history:
        model = HistoryModel(DeterministicModel, REAL, space, 1, SMALL)
    model.fit(pushed(push=push, middle=middle), FIT, progress=False)
    assert abs(effect(model, push=push, middle=middle)[0] - 0.2) < 0.07


def test_bounds_that_actions_make_use_of_are_their_unit():
    encoder = ActionEncoder(gym.spaces.Box(5, 10, (1,), np.float32))
    encoder.fit(np.float32([[6.0], [7.0], [9.0]]))
    assert encoder(torch.tensor([[5.0], [7.5], [10.0]])).flatten().tolist() == [-1, 0, 1]


def test_only_rounding_is_constant():
    scale = Standardizer(4)
    rows = torch.tensor([[1e-9, 0.1, 1.0, 5.0], [2e-9, 0.1, 1.0 + 6e-8, 5.00001]])
    scale.fit(rows)
    assert (scale.span > 0).tolist() == [True, False, False, True]
    scale = Standardizer(1)
    scale.fit(rows[:, :1], is_centred=False, sizes=torch.tensor([1.0]))
    assert scale.span == 0


def test_a_bound_far_beyond_the_data_is_none_in_any_unit():
    space = gym.spaces.Box(np.float32([-1e9, -2e-7]), np.float32([1e9, 2e-7]))
    for unit in (1e-7, 1e-5):
        model = DeterministicModel(space, gym.spaces.Box(-1, 1, (1,)), SMALL)
        model.initialize(pushed((unit, 1e-7 / 20)))
        assert model.high[0] < 100 * unit
        assert model.high[1] == np.float32(2e-7)


def test_keys_of_large_observations_do_not_overflow():
    keys = observation_keys(torch.tensor([[1e8], [2e8], [1e30], [-0.001], [0.001]]), 0.01)
    assert len(set(keys)) == 4
    assert keys[3] == keys[4]


def recorded(values):
    rows = np.array(values, np.float32)[:, None]
    steps = len(rows) - 1
    return Trajectories.from_arrays(
        rows, np.zeros(steps, np.int64), np.zeros(steps), np.zeros(steps, bool)
    )


@pytest.mark.parametrize(
    ("quantum", "origin"), [(1e7, 0.0), (1e-7, 0.0), (0.1, 1000.0), (0.1, 0.0)]
)
def test_a_lattice_of_any_unit_is_found(quantum, origin):
    data = recorded(origin + quantum * np.random.default_rng(0).integers(0, 500, 2000))
    space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    (feature,) = detect_features(data, space)
    assert feature.num_values == 500
    codec = TokenCodec((feature,))
    rows = torch.tensor(data.observations)
    torch.testing.assert_close(codec.decode(codec.encode(rows)), rows, rtol=3e-7, atol=0)


def test_large_numbers_are_whole_by_rounding_only():
    assert recorded([0.0, 4.0, 7.0]).is_lattice
    assert recorded([0.0, 2.0**22]).is_lattice
    assert not recorded(np.random.default_rng(0).normal(size=50) * 1e9).is_lattice


def test_a_token_model_reads_a_lattice_of_a_small_unit():
    data = recorded(1e-7 * (np.arange(200) % 5))
    model = TokenModel(gym.spaces.Box(-np.inf, np.inf, (1,), np.float32), gym.spaces.Discrete(1))
    model.fit(data, progress=False)
    after = model.predict(torch.tensor([[2e-7]]), torch.tensor([0])).observations
    assert abs(float(after) - 3e-7) < 1e-12
