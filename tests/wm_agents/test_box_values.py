import gymnasium as gym
import numpy as np
import pytest

from wm_agents.box_values import as_box_values


@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        (gym.spaces.Box(0, 255, (4,), np.uint8), [-2.0, 254.6, 300.0, 2.5], [0, 255, 255, 2]),
        (gym.spaces.Box(-100, 100, (4,), np.int8), [-200.0, 200.0, 0.6, -0.6], [-100, 100, 1, -1]),
        (gym.spaces.Box(-0.1, 0.1, (4,), np.float64), [-2.0, 0.1, 0.05, 9.0], [-0.1, 0.1, 0.05, 0.1]),
    ],
)
def test_values_beyond_the_bounds_become_the_bounds(space: gym.spaces.Box, values: list[float], expected: list) -> None:
    rows = as_box_values(np.array([values], np.float32), space)
    assert rows.dtype == space.dtype
    np.testing.assert_allclose(rows[0], expected, atol=1e-8)
    assert space.contains(rows[0])
