import gymnasium as gym
import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_agents.irl.known_rewards import PendulumTask, choose_plans, plan_shares, plan_sums

PLANS = {"horizon": 12, "hold": 4, "num_plans": 60}


@pytest.mark.parametrize("mass", [1.0, 2.0])
def test_the_pendulum_is_gymnasiums_own(mass):
    env = gym.make("Pendulum-v1").unwrapped
    env.m = mass
    env.reset(seed=0)
    start = env.state.copy()
    torques = np.random.default_rng(0).uniform(-3, 3, (12, 1))
    states = []
    for torque in torques:
        env.step(torque)
        states.append(env.state.copy())
    path = PendulumTask(mass).roll(start[None], torques[None])[0]
    np.testing.assert_allclose(path[1:], states, atol=1e-6)


def test_features_are_the_terms_of_the_cost():
    path = np.array([[[0.5, 2.0], [2 * np.pi + 0.25, -1.0], [9.0, 9.0]]])
    features = PendulumTask().features(path, np.array([[[1.0], [-2.0]]]))
    np.testing.assert_allclose(features[0], [[0.25, 4.0, 1.0], [0.0625, 1.0, 4.0]])


def test_a_demonstrator_takes_what_its_reward_prefers():
    task = PendulumTask()
    states = task.starts(40, 0)
    hates_torque = np.array([0.0, 0.0, -50.0])
    calm, weights = choose_plans(task, states, hates_torque, seed=0, **PLANS)
    wild, _ = choose_plans(task, states, np.zeros(3), seed=0, **PLANS)
    assert calm.shape == (40, 12, 1)
    assert (calm**2).mean() < 0.2 * (wild**2).mean()
    assert weights[2] < 0
    again, _ = choose_plans(task, states, hates_torque, seed=0, **PLANS)
    np.testing.assert_array_equal(calm, again)


def test_sums_are_those_of_single_plans():
    task = PendulumTask()
    states = task.starts(2, 1)
    plans = np.random.default_rng(0).normal(size=(2, 3, 5, 1))
    sums = plan_sums(task, states, plans)
    path = task.roll(states[1][None], plans[1, 2][None])
    np.testing.assert_allclose(sums[1, 2], task.features(path, plans[1, 2][None]).sum((0, 1)))


def test_the_true_reward_reaches_all_and_a_copied_plan_less_the_more_has_changed():
    home = PendulumTask()
    weights = np.array([-1.0, -0.1, -0.001])
    settings = {**PLANS, "horizon": 24, "num_starts": 40, "seed": 3}
    same = plan_shares(home, home, weights, weights, **settings)
    np.testing.assert_allclose(list(same.values()), 1.0)
    changed = plan_shares(home, PendulumTask(4.0), weights, weights, **settings)
    assert changed["inferred_reward"] == pytest.approx(1.0)
    assert changed["copied_plan"] < 0.95
    wrong = plan_shares(home, home, weights, -weights, **settings)
    assert wrong["inferred_reward"] < -0.5


@pytest.mark.parametrize("mass", [0.0, -1.0, float("nan")])
def test_masses_that_no_pendulum_has_are_refused(mass):
    with pytest.raises(ConfigError, match="mass="):
        PendulumTask(mass)


class Push:
    """A point that is pushed; what counts is how far it is from 0 after one step."""

    noise_std = (1.0,)

    def __init__(self, routine: float = 0.0) -> None:
        self.routine = routine

    def center(self, states, horizon):
        return np.full((len(states), horizon, 1), self.routine)

    def roll(self, states, actions):
        path = np.cumsum(np.concatenate([states[:, None], actions[:, :, 0]], 1), 1)
        return path[:, :, None]

    def features(self, observations, actions):
        return observations[:, 1:] ** 2


def choices(scaled_weight: float, routine: float = 0.0, num: int = 3000):
    return choose_plans(
        Push(routine), np.zeros(num), np.array([scaled_weight]), horizon=1, num_plans=200, hold=1,
        seed=0,
    )  # fmt: skip


def test_a_driver_chooses_as_the_exponential_of_its_return_says():
    actions, weights = choices(-1.0)
    assert weights[0] < 0
    # exp(w x^2) is a normal distribution of variance -1 / (2 w).
    np.testing.assert_allclose(actions.var(), -0.5 / weights[0], rtol=0.1)


def test_the_routine_leaves_no_trace():
    away, weights = choices(-1.0, routine=0.7)
    assert abs(away.mean()) < 0.1
    np.testing.assert_allclose(away.var(), -0.5 / weights[0], rtol=0.15)


def test_the_same_seed_makes_the_same_choices():
    np.testing.assert_array_equal(choices(-1.0, num=5)[0], choices(-1.0, num=5)[0])
