"""Drivers with known weights choose by them, and by nothing else."""

import numpy as np

from wm_agents.irl.importance_sampling import boltzmann_choices


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
    return boltzmann_choices(
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
