"""The planning gap against hand-computed shares."""

import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_agents.evaluation.episodes import planning_gap


def test_hand_computed_share() -> None:
    gap = planning_gap([-200.0, -220.0], [-150.0, -170.0], [-1200.0, -1180.0])
    assert gap.closed.estimate == pytest.approx((-210 + 1190) / (-160 + 1190))
    assert gap.summary()["mean_return"] == -210
    assert gap.closed.low <= gap.closed.estimate <= gap.closed.high


def test_a_model_as_good_as_the_oracle_closes_all_of_it_episode_by_episode() -> None:
    returns = np.random.default_rng(0).normal(10, 3, 50)
    gap = planning_gap(returns, returns, np.zeros(50))
    assert gap.closed.estimate == 1.0
    assert (gap.closed.low, gap.closed.high) == (1.0, 1.0)  # paired resampling


def test_runs_are_the_unit_of_chance_where_there_are_several() -> None:
    generator = np.random.default_rng(1)
    learned = np.array([[0.5], [0.9]]) + 0.001 * generator.normal(size=(2, 200))
    gap = planning_gap(learned, np.ones(200), np.zeros(200))
    assert gap.closed.estimate == pytest.approx(0.7, abs=0.01)
    assert gap.closed.low == pytest.approx(0.5, abs=0.01)
    assert gap.closed.high == pytest.approx(0.9, abs=0.01)


def test_no_gap_is_said_and_a_gap_within_chance_has_no_limits() -> None:
    with pytest.raises(ConfigError, match="give a number between 0 and 1"):
        planning_gap([1, 2], [3, 3], [2, 2], confidence=1.5)
    with pytest.raises(ConfigError, match="no gap to close"):
        planning_gap([1.0], [1.0], [2.0])
    noisy = planning_gap([1.0, 5.0, 3.0], [0.0, 10.0, 0.2], [5.0, 0.0, 5.0])
    assert np.isinf(noisy.closed.low)
    assert np.isinf(noisy.closed.high)


def test_one_episode_has_no_limits_and_one_run_is_resampled_by_episode() -> None:
    alone = planning_gap([0.5], [1.0], [0.0]).closed
    assert (alone.estimate, alone.low, alone.high) == (0.5, -np.inf, np.inf)
    learned = np.random.default_rng(0).normal(0.5, 0.1, 50)
    assert planning_gap([learned], [np.ones(50)], [np.zeros(50)]) == planning_gap(
        learned, np.ones(50), np.zeros(50)
    )
