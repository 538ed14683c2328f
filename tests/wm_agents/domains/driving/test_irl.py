"""Moments of laps whose driver's reward is to be found."""

import numpy as np

from wm_agents.domains.driving.irl import DrivingTask
from wm_envs.driving.columns import DrivingColumn as Column


def test_features_by_hand():
    observations = np.zeros((1, 3, len(Column)), np.float32)
    observations[0, :, Column.VELOCITY_X] = 9.0, 10.0, 12.0
    observations[0, :, Column.OFFSET] = 5.0, -2.0, 1.0
    observations[0, :, Column.HEADING_ERROR] = 1.0, 0.5, -0.25
    actions = np.array([[[0.1, 0.5, 0.0], [0.3, 0.5, 0.4]]])
    features = DrivingTask().features(observations, actions)
    # What holds before the first step does not count, nor has the first action a change.
    np.testing.assert_allclose(features[0, 0], [10.0, 4.0, 0.25, 0.0])
    np.testing.assert_allclose(features[0, 1], [12.0, 1.0, 0.0625, 0.2**2 + 0.4**2])


def test_the_routine_is_what_the_expert_goes_on_to_do():
    task = DrivingTask()
    states = task.starts(3, seed=2)
    np.testing.assert_array_equal(states, task.starts(3, seed=2))
    center = task.center(states, 4)
    assert center.shape == (3, 4, 3)
    observations = task.roll(states, center)
    assert observations.shape[:2] == (3, 5)
    # Bounds are kept before the rules see a plan.
    np.testing.assert_array_equal(
        task.roll(states, center + 10.0), task.roll(states, np.ones_like(center))
    )


def test_a_car_is_put_on_another_road():
    dry, wet = DrivingTask(), DrivingTask(grip_scale=0.5)
    states = dry.starts(3, seed=2)
    adopted = wet.adopt(states)
    hard_left = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (3, 20, 1))
    on_dry, on_wet = dry.roll(states, hard_left), wet.roll(adopted, hard_left)
    np.testing.assert_array_equal(on_dry[:, 0], on_wet[:, 0])
    assert np.abs(on_dry[:, -1] - on_wet[:, -1]).max() > 0.1
    np.testing.assert_array_equal(dry.adopt(adopted), states)
