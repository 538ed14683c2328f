"""Recorded windows and the simple rules on them."""

import numpy as np
from sklearn.linear_model import Ridge

from tests.support.analytic import walk
from wm_agents.evaluation.windows import (
    ConstantVelocity,
    Persistence,
    RidgeRegression,
    baselines,
    sample_windows,
)
from wm_envs.data.trajectories import Trajectories


def test_every_step_that_has_room_is_a_start_when_all_are_asked_for() -> None:
    data = walk([3, 5, 1])
    stretches = sample_windows(data, 4, 1000, seed=0)
    assert stretches.is_scored.sum(axis=0).tolist() == [3 + 5 + 1, 2 + 4, 1 + 3, 2]
    assert len(stretches.episodes) == 9
    for row in range(9):
        episode = data.episode(int(stretches.episodes[row]))
        start, ahead = stretches.positions[row], stretches.num_steps[row]
        assert ahead == min(4, len(episode.rewards) - start)
        recorded = slice(start, start + ahead)
        np.testing.assert_array_equal(
            stretches.observations[row, : ahead + 1],
            episode.observations[start : start + ahead + 1],
        )
        np.testing.assert_array_equal(
            stretches.observations[row, ahead:],
            stretches.observations[row, [ahead]].repeat(5 - ahead, 0),
        )
        np.testing.assert_array_equal(stretches.rewards[row, :ahead], episode.rewards[recorded])
        np.testing.assert_array_equal(stretches.actions[row, :ahead], episode.actions[recorded])
        assert not stretches.rewards[row, ahead:].any()
        previous = max(start - 1, 0)
        np.testing.assert_array_equal(
            stretches.previous_observations[row], episode.observations[previous]
        )
        assert stretches.previous_rewards[row] == (episode.rewards[previous] if start else 0)


def test_samples_are_capped_for_each_horizon_and_uniform_over_what_has_room() -> None:
    data = walk([40] * 25)
    counts = np.zeros(40)
    for seed in range(40):
        stretches = sample_windows(data, 32, 100, seed)
        assert (stretches.is_scored.sum(axis=0) == 100).all()
        assert (stretches.positions[stretches.is_scored[:, 31]] <= 8).all()
        counts += np.bincount(stretches.positions[stretches.is_scored[:, 0]], minlength=40)
    # 4,000 starts over 40 positions: 100 each, standard deviation 10.
    assert np.abs(counts - 100).max() < 45


def test_ends_count_however_early_and_time_limits_hide_them() -> None:
    ended = sample_windows(walk([3, 5], has_ends=True), 4, 100, seed=0)
    assert ended.is_end_scored.sum(axis=0).tolist() == [8, 8, 8, 8]
    assert (ended.terminations.cumsum(1) > 0).sum(axis=0).tolist() == [2, 4, 6, 7]
    limited = sample_windows(walk([3, 5]), 4, 100, seed=0)
    assert (limited.is_end_scored == limited.is_scored).all()


TRAIN = walk([30] * 5, seed=1, noise=0.3)


def test_persistence_and_velocity_by_definition() -> None:
    stretches = sample_windows(TRAIN, 3, 40, seed=0)
    observations, rewards = Persistence().predict(stretches)
    assert (observations == stretches.observations[:, :1]).all()
    assert (rewards == stretches.previous_rewards[:, None]).all()
    moved, _ = ConstantVelocity().predict(stretches)
    velocity = stretches.observations[:, 0].astype(float) - stretches.previous_observations
    np.testing.assert_allclose(moved[:, 3], stretches.observations[:, 0] + 3 * velocity)


def test_one_ridge_step_equals_scikit_learns() -> None:
    before = TRAIN.observations[TRAIN.observation_of_step].astype(np.float64)
    inputs = np.concatenate([before, TRAIN.actions], axis=1)
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    expected = Ridge(alpha=1e-2 * len(inputs)).fit(scaled, TRAIN.next_observations - before)
    stretches = sample_windows(TRAIN, 1, 1000, seed=0)
    predicted, _ = RidgeRegression(TRAIN, penalty=1e-2).predict(stretches)
    starts = np.concatenate([stretches.observations[:, 0], stretches.actions[:, 0]], axis=1)
    deltas = expected.predict((starts - inputs.mean(0)) / inputs.std(0))
    np.testing.assert_allclose(predicted[:, 1] - predicted[:, 0], deltas, atol=1e-6)


def test_ridge_takes_discrete_actions_and_stays_near_the_recorded_range() -> None:
    discrete = Trajectories(
        TRAIN.observations,
        (TRAIN.actions[:, 0] > 0).astype(np.int64),
        TRAIN.rewards,
        TRAIN.terminations,
        TRAIN.truncations,
        TRAIN.lengths,
    )
    predicted, rewards = RidgeRegression(discrete).predict(
        sample_windows(discrete, 25, 1000, seed=0)
    )
    low, high = TRAIN.observations.min(0), TRAIN.observations.max(0)
    assert (predicted >= low - (high - low) / 2 - 1e-6).all()
    assert (predicted <= high + (high - low) / 2 + 1e-6).all()
    assert np.isfinite(rewards).all()


def test_ridge_tells_actions_apart_wherever_they_count_from() -> None:
    places = np.random.default_rng(0).integers(
        -5, -2, 300
    )  # the action itself is the step that is taken
    seen = np.concatenate([[0], np.cumsum(places)]).astype(np.float32)
    walked = Trajectories.from_arrays(seen, places, np.zeros(300), np.zeros(300))
    stretches = sample_windows(walked, 1, 1000, seed=0)
    predicted, _ = RidgeRegression(walked, penalty=1e-9).predict(stretches)
    steps = predicted[:, 1, 0] - predicted[:, 0, 0]
    np.testing.assert_allclose(steps, stretches.actions[:, 0], atol=1e-3)


def test_ridge_needs_something_to_fit() -> None:
    assert [baseline.name for baseline in baselines(None)] == ["persistence", "constant_velocity"]
    assert [baseline.name for baseline in baselines(TRAIN)][2:] == ["ridge"]
