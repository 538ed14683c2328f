import gymnasium as gym
import numpy as np
import pytest

from wm_agents.policy_gradient.spaces import ActionUnits
from wm_envs.data.spaces import as_box_values


@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        (gym.spaces.Box(0, 255, (4,), np.uint8), [-2.0, 254.6, 300.0, 2.5], [0, 255, 255, 2]),
        (gym.spaces.Box(-100, 100, (4,), np.int8), [-200.0, 200.0, 0.6, -0.6], [-100, 100, 1, -1]),
        (
            gym.spaces.Box(-0.1, 0.1, (4,), np.float64),
            [-2.0, 0.1, 0.05, 9.0],
            [-0.1, 0.1, 0.05, 0.1],
        ),
    ],
)
def test_values_beyond_the_bounds_become_the_bounds(
    space: gym.spaces.Box, values: list[float], expected: list
) -> None:
    rows = as_box_values(np.array([values], np.float32), space)
    assert rows.dtype == space.dtype
    np.testing.assert_allclose(rows[0], expected, atol=1e-8)
    assert space.contains(rows[0])


@pytest.mark.parametrize(
    ("low", "high", "centre", "unit"),
    [
        (-2, 2, 0, 1),
        (5, 10, 7.5, 1.25),
        (-0.01, 0.01, 0, 0.005),
        (0, 255, 127.5, 63.75),
        (3, 3, 3, 1),
        (-np.inf, np.inf, 0, 1),
        (-3.4e38, 3.4e38, 0, 1),
        (5, np.inf, 6, 1),
        (-np.inf, -5, -6, 1),
        (-3, np.inf, 0, 1),
    ],
)
def test_units_of_actions_are_those_of_their_bounds(
    low: float, high: float, centre: float, unit: float
) -> None:
    units = ActionUnits.of(gym.spaces.Box(low, high, (2,), np.float64))
    np.testing.assert_allclose(units.centre, [centre] * 2, rtol=1e-6)
    np.testing.assert_allclose(units.unit, [unit] * 2, rtol=1e-6)
    assert units.are_plain == (centre == 0 and unit == 1)


def test_bounds_of_order_one_around_zero_may_stay_as_they_are() -> None:
    space = gym.spaces.Box(np.float32([-1, 0, -0.1, -9]), np.float32([1, 1, 0.1, 9]))
    units = ActionUnits.of(space)
    assert units.unit.tolist() == pytest.approx([0.5, 0.25, 0.05, 4.5])
    assert units.or_plain(space).unit.tolist() == pytest.approx([1.0, 0.25, 0.05, 4.5])
    assert units.or_plain(space).centre.tolist() == [0, 0.5, 0, 0]
