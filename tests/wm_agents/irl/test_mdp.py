import itertools

import gymnasium as gym
import numpy as np
import pytest

from tests.support.choices import sample, walk
from wm_agents.errors import ConfigError
from wm_agents.irl import (
    MaxEntConfig,
    MaxEntIRL,
    TabularMDP,
    choose_prior_std,
    from_world_model,
    occupancy_measures,
    optimal_policy,
    policy_value,
    soft_value_iteration,
)
from wm_agents.irl.mdp import future_features
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


def test_one_step_is_a_softmax_over_what_the_mask_allows():
    model = walk(horizon=1)
    object.__setattr__(model, "mask", np.array([[True, False]] + [[True, True]] * 4))
    policy = soft_value_iteration(model, np.array([[0.0, 9.0], *([[1.0, 1.0 + np.log(3)]] * 4)]))
    np.testing.assert_allclose(policy.probabilities[0, 0], [1, 0])
    np.testing.assert_allclose(policy.probabilities[0, 1], [0.25, 0.75])
    np.testing.assert_allclose(policy.values[0, 1], np.log(4 * np.e))


def test_deterministic_paths_have_probability_proportional_to_the_exponential_of_their_reward():
    """Ziebart et al. 2008, equation 4, by enumerating all paths."""
    model = walk(num_states=5, horizon=4)
    rewards = np.random.default_rng(0).normal(size=(5, 2))
    policy = soft_value_iteration(model, rewards)
    exponentials = []
    for actions in itertools.product((0, 1), repeat=4):
        state, total, chance, path = 1, 0.0, 1.0, []
        for time, action in enumerate(actions):
            total += rewards[state, action]
            chance *= policy.probabilities[time, state, action]
            path.append(action)
            if state == 4:
                break
            state = max(state - 1, 0) if action == 0 else state + 1
        exponentials.append((tuple(path), np.exp(total), chance))
    unique = {path: (weight, chance) for path, weight, chance in exponentials}
    normaliser = sum(weight for weight, _ in unique.values())
    assert normaliser == pytest.approx(np.exp(policy.values[0, 1]))
    for weight, chance in unique.values():
        assert chance == pytest.approx(weight / normaliser)


def test_future_features_are_the_derivative_of_values():
    model, weights = walk(slip=0.3), np.array([0.4, -0.7])
    policy = soft_value_iteration(model, model.features @ weights)
    sums = future_features(model, policy, model.features)
    expected = (policy.probabilities[0, 2][:, None] * sums[0, 2]).sum(0)
    for axis, step in enumerate(np.eye(2) * 1e-6):
        above = soft_value_iteration(model, model.features @ (weights + step)).values[0, 2]
        below = soft_value_iteration(model, model.features @ (weights - step)).values[0, 2]
        assert (above - below) / 2e-6 == pytest.approx(expected[axis], abs=1e-6)


def test_occupancy_sums_to_what_is_still_running():
    model = walk(slip=0.2, horizon=8)
    policy = soft_value_iteration(model, np.zeros((5, 2)))
    starts = np.zeros((8, 5))
    starts[0, 0] = 1
    mass = occupancy_measures(model, policy, starts, None).sum((1, 2))
    assert mass[0] == pytest.approx(1)
    assert mass[3] == pytest.approx(1)  # four steps lead to the end at the earliest
    assert mass[7] < mass[5] < 1


def test_the_best_policy_is_worth_more_than_the_soft_one():
    model, starts = walk(slip=0.1), np.eye(5)[0]
    rewards = model.features @ np.array([1.0, 2.0])
    best = policy_value(model, optimal_policy(model, rewards), rewards, starts)
    soft = policy_value(model, soft_value_iteration(model, rewards).probabilities, rewards, starts)
    sharp = policy_value(
        model, soft_value_iteration(model, 50 * rewards).probabilities, rewards, starts
    )
    assert soft < best
    assert sharp == pytest.approx(best, abs=0.05)
