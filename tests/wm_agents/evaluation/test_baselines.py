"""The baselines against what they are by definition."""

import numpy as np
from sklearn.linear_model import Ridge

from tests.support.analytic import walk
from wm_agents.evaluation.baselines import ConstantVelocity, Persistence, RidgeRegression, baselines
from wm_agents.evaluation.starts import sample_stretches
from wm_envs.data.trajectories import Trajectories

TRAIN = walk([30] * 5, seed=1, noise=0.3)


def test_persistence_and_velocity_by_definition() -> None:
    stretches = sample_stretches(TRAIN, 3, 40, seed=0)
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
    stretches = sample_stretches(TRAIN, 1, 1000, seed=0)
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
        sample_stretches(discrete, 25, 1000, seed=0)
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
    stretches = sample_stretches(walked, 1, 1000, seed=0)
    predicted, _ = RidgeRegression(walked, penalty=1e-9).predict(stretches)
    steps = predicted[:, 1, 0] - predicted[:, 0, 0]
    np.testing.assert_allclose(steps, stretches.actions[:, 0], atol=1e-3)


def test_ridge_needs_something_to_fit() -> None:
    assert [baseline.name for baseline in baselines(None)] == ["persistence", "constant_velocity"]
    assert [baseline.name for baseline in baselines(TRAIN)][2:] == ["ridge"]
