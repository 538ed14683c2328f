import gymnasium as gym
import numpy as np
import pytest

from tests.support.choices import sample, walk
from wm_agents.errors import ConfigError
from wm_agents.irl import MaxEntConfig, MaxEntIRL, TabularMDP, choose_prior_std, from_world_model
from wm_agents.world_models import DeterministicModel
from wm_agents.world_models.tabular import TabularModel
from wm_envs.data.trajectories import Trajectories


def line(num_walks=200, seed=0):
    """Random steps left and right on five places; the last one ends the walk."""
    generator = np.random.default_rng(seed)
    observations, actions, ends, lengths = [], [], [], []
    for _ in range(num_walks):
        place, length = int(generator.integers(4)), 0
        observations.append(place)
        while length < 6 and place < 4:
            action = int(generator.integers(2))
            place = max(place - 1, 0) if action == 0 else place + 1
            observations.append(place)
            actions.append(action)
            ends.append(place == 4)
            length += 1
        lengths.append(length)
    return Trajectories.from_arrays(
        np.array(observations, np.float32), actions, np.zeros(len(actions)), ends, lengths=lengths
    )


def test_a_learned_table_serves_as_well_as_the_true_one():
    learned = TabularModel(gym.spaces.Box(0, 4, (1,)), gym.spaces.Discrete(2))
    learned.fit(line())
    true, places = walk(), np.arange(5.0)[:, None]
    features = true.features[:, 0]
    model = from_world_model(
        learned, places, lambda seen: features[seen[:, 0].astype(int)], true.feature_names, 6
    )
    np.testing.assert_allclose(model.transitions.toarray()[:7], true.transitions.toarray()[:7])
    assert not model.transitions.toarray()[
        7
    ].any()  # a walk that reaches the last place ended there
    weights = np.array([0.8, -0.6])
    fit = MaxEntIRL(model).fit(sample(model, weights, 900))
    np.testing.assert_allclose(fit.weights, weights, atol=0.25)


def test_a_negative_probability_is_named():
    rows = np.full((4, 2), 0.5)
    rows[3] = [1.2, -0.2]
    with pytest.raises(ConfigError, match="state 1, action 1"):
        TabularMDP(np.zeros((2, 2, 1)), ("a",), transitions=rows, horizon=2)


def test_tables_need_discrete_actions():
    env = gym.make("Pendulum-v1")
    model = DeterministicModel(env.observation_space, env.action_space)
    with pytest.raises(ConfigError, match="SampledMaxEntIRL"):
        from_world_model(model, np.zeros((2, 3)), lambda seen: seen, "abc", 5)


def test_the_prior_is_chosen_by_what_foresees_best():
    model = walk()
    aimless = sample(model, np.zeros(2), 60)
    assert choose_prior_std(model, aimless, (0.01, 30.0)) == 0.01
    decided = sample(model, np.array([3.0, -3.0]), 60)
    assert choose_prior_std(model, decided, (0.01, 30.0), MaxEntConfig()) == 30.0
