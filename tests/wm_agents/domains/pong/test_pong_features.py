"""Features of a policy: walls that fold a flight, and distances as shares of two bins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_agents.domains.pong.features import (
    BIN_WIDTH,
    NUM_BINS,
    folded,
    is_flying_to_enemy,
    write_bins,
)
from wm_agents.domains.pong.state import NEWEST_COLUMNS, OBSERVATION_SIZE
from wm_envs.pong.columns import PongFeature


@pytest.mark.parametrize(
    ("height", "expected"),
    [(30.0, 30.0), (10.0, 30.0), (-60.0, 100.0), (120.0, 100.0), (110.0, 110.0), (-70.0, 110.0)],
)
def test_a_height_is_folded_at_walls_at_20_and_110(height, expected):
    assert folded(height, 20.0, 110.0) == expected


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(0.0, 50.0), st.floats(1.0, 200.0))
def test_a_folded_height_is_between_the_walls_and_a_mirrored_one_is_the_same(height, top, span):
    bottom = top + span
    inside = folded(height, top, bottom)
    assert top - 1e-6 <= inside <= bottom + 1e-6
    assert folded(2 * top - height, top, bottom) == pytest.approx(inside, abs=1e-5)
    assert folded(2 * bottom - height, top, bottom) == pytest.approx(inside, abs=1e-5)


@settings(deadline=None)
@given(st.floats(-100.0, 100.0))
def test_bins_hold_one_share_in_all_whose_mean_is_the_distance(distance):
    out = np.zeros(NUM_BINS + 4)
    write_bins(out, 2, distance)
    assert out.sum() == pytest.approx(1.0)
    assert (out > 0).sum() <= 2
    assert out[:2].sum() == out[2 + NUM_BINS :].sum() == 0.0
    middle = NUM_BINS // 2
    mean = BIN_WIDTH * (out[2 : 2 + NUM_BINS] @ (np.arange(NUM_BINS) - middle))
    assert mean == pytest.approx(np.clip(distance, -middle * BIN_WIDTH, middle * BIN_WIDTH))


def test_a_ball_flies_to_the_enemy_where_its_last_two_places_say_so():
    newest = NEWEST_COLUMNS[PongFeature.BALL_X]
    observations = np.zeros((5, OBSERVATION_SIZE))
    for row, (before, now) in enumerate([(80, 70), (70, 80), (70, 70), (0, 70), (70, 0)]):
        observations[row, [newest - 1, newest]] = before, now
    assert is_flying_to_enemy(observations).tolist() == [True, False, False, False, False]
