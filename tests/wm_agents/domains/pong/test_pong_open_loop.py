import numpy as np
import pytest

from wm_agents.domains.pong.open_loop import (
    BALL_X,
    NEWEST,
    OpenLoopConfig,
    constant_velocity,
    errors_at,
    interval_by_episode,
)
from wm_agents.errors import ConfigError
from wm_envs.pong.columns import STACK, PongFeature


def moving_ball(x, dx, score=3):
    frames = np.zeros((1, 14, STACK))
    frames[0, PongFeature.BALL_X] = x + dx * np.arange(STACK)
    frames[0, PongFeature.PLAYER_SCORE] = [0, 0, 0, score]
    return frames.reshape(1, -1)


def test_all_but_scores_and_new_balls_keeps_its_velocity():
    future = constant_velocity(moving_ball(50, 4), 2)
    assert future[0, :, BALL_X].tolist() == [62, 66, 70]
    assert (future[0, :, NEWEST[PongFeature.PLAYER_SCORE]] == 3).all()
    served = moving_ball(0, 0)
    served[0, BALL_X] = 80  # where there was none a step before
    assert constant_velocity(served, 2)[0, :, BALL_X].tolist() == [80, 80, 80]


def test_errors_of_a_ball_that_is_two_pixels_off():
    real = constant_velocity(np.repeat(moving_ball(50, 4), 2, 0), 1)
    imagined = real.copy()
    imagined[0, 1, BALL_X] += 2
    figures = errors_at(1, real, imagined, np.array([0, 1]))
    assert figures["mse14_step1"] == pytest.approx(4 / 14 / 2)
    assert figures["mse56_step1"] == pytest.approx(4 / 56 / 2)
    assert figures["exact_share_step1"] == 0.5
    assert figures["ball_rmse_step1"] == pytest.approx(2**0.5)
    assert figures["ball_agrees_step1"] == 1.0


def test_one_game_says_nothing_of_others():
    assert interval_by_episode(np.arange(4.0), np.zeros(4)) == (0.0, np.inf)
    low, high = interval_by_episode(np.array([1.0, 1.0, 3.0]), np.array([0, 0, 5]))
    assert (low, high) == (1.0, 3.0)


def test_what_would_fail_later_is_refused_at_once():
    with pytest.raises(ConfigError, match="horizon is at least 6, got 5"):
        OpenLoopConfig(horizon=5).check()
