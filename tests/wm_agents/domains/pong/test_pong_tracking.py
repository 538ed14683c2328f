"""The player's paddle of an estimated state, with numbers that can be followed by hand."""

import numpy as np
import pytest

from wm_agents.domains.pong.state import (
    ESTIMATE,
    UNITS_PER_FRAME,
    UNITS_PER_STEP,
    UNKNOWN_ACTION,
    UNKNOWN_PHASE,
)
from wm_agents.domains.pong.tracking import (
    distance_from_rest,
    is_paddle_known,
    paddle_parity,
    push_of,
    rest_place,
    setpoint_after,
)

REACH = 20 * UNITS_PER_STEP


def row(**fields):
    """One state whose paddle rests at 2 * (3 * steps) + 1 px, at 11 px or below."""
    state = np.zeros(1, ESTIMATE)
    values = {"reach": REACH, "rest_rate": 3_000_000, "highest": 11} | fields
    for name, value in values.items():
        state[name] = value
    return state.view(np.recarray)[0]


def test_actions_push_up_and_down_and_an_unknown_one_does_nothing():
    assert [push_of(action) for action in range(UNKNOWN_ACTION + 1)] == [0, 0, -1, 1, -1, 1, 0]


def test_a_paddle_is_known_with_its_setpoint_and_its_phase():
    assert is_paddle_known(row(setpoint=0, paddle_phase=0))
    assert not is_paddle_known(row(setpoint=-1, paddle_phase=0))
    assert not is_paddle_known(row(setpoint=0, paddle_phase=UNKNOWN_PHASE))
    parities = [paddle_parity(row(paddle_phase=phase)) for phase in (0, 1, UNKNOWN_PHASE)]
    assert parities == [1, 0, UNKNOWN_PHASE]


@pytest.mark.parametrize(("steps", "place"), [(0, 11), (1, 11), (2, 13), (5, 31)])
def test_a_paddle_rests_at_an_odd_pixel_and_never_too_high(steps, place):
    assert rest_place(row(), steps * UNITS_PER_STEP) == place


@pytest.mark.parametrize(
    ("late", "last_push", "push", "gained"),
    [(0, 0, 1, 4), (0, 0, -1, -4), (4, -1, 1, -4), (1, -1, 1, 2), (3, 0, 1, 1)],
)
def test_late_frames_of_a_step_still_go_by_the_push_before(late, last_push, push, gained):
    start = 10 * UNITS_PER_STEP
    after = setpoint_after(row(), start, last_push, push, late, 4)
    assert after - start == gained * UNITS_PER_FRAME


def test_a_setpoint_ends_at_both_ends_of_its_reach():
    assert setpoint_after(row(), REACH, 0, 1, 0, 4) == REACH
    assert setpoint_after(row(), 0, 0, -1, 0, 4) == 0


def test_the_distance_from_rest_is_told_apart_from_an_unknown_one():
    assert distance_from_rest(row(setpoint=-1)) == 99
    state = row(setpoint=5 * UNITS_PER_STEP, player_y=[37] + [0] * 8)
    assert distance_from_rest(state) == 37 - 31
