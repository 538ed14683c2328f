import numpy as np
import pytest

from wm_agents.domains.pong.dreaming import DreamConfig, DreamTraining, points_won
from wm_agents.errors import ConfigError
from wm_envs.data.trajectories import Trajectories


@pytest.mark.parametrize("num_steps", [13, 1003, 100_000])
def test_rounds_take_no_more_real_steps_than_allowed(num_steps):
    assert sum(DreamConfig(max_real_steps=num_steps).steps_of_rounds()) == num_steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dream_updates": (1,)}, "each round has"),
        ({"shares": (0.5, 0.5, 0.5, 0.5)}, "at most 1"),
        ({"max_real_steps": 1}, "max_real_steps, got 1"),
        ({"num_dreams": 0}, "num_dreams is at least 1"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        DreamTraining(DreamConfig(env_id="wm/Pong-v0", **options))


def test_the_points_of_the_last_steps_are_shared():
    rewards = np.array([1.0, 0.0, -1.0, 1.0, 0.0, 1.0])
    games = Trajectories.from_arrays(np.zeros((7, 1)), np.zeros(6, int), rewards, np.zeros(6, bool))
    assert points_won(games, 5) == pytest.approx(2 / 3)
    assert points_won(games, 2) == 1.0
