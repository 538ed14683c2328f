import numpy as np
import pytest

from wm_agents.domains.pong import calibration, state
from wm_agents.domains.pong.object_view import PongView
from wm_envs import record
from wm_envs.errors import OptionError
from wm_envs.pong.players import Explorer


def recorded(noise, episodes=8):
    options = {"time_limit": 1000, "repeat_action_probability": noise}
    games = record(
        "wm/Pong-v0",
        episodes=episodes,
        policy=Explorer(3),
        seed=3,
        env_kwargs=options,
        progress=False,
    )
    return games.observations, games.actions.astype(np.int64), games.lengths


def test_the_game_s_own_numbers_are_found_in_spite_of_noise():
    specified, found = PongView(), PongView.calibrated(*recorded(0.25, 20))
    assert found.constants == specified.constants
    assert found.highest == specified.highest
    assert found.walls[0] == pytest.approx(specified.walls[0], abs=1)
    assert found.walls[1] == pytest.approx(specified.walls[1], abs=1)
    assert found.reach == pytest.approx(specified.reach, rel=0.01)
    assert found.middle == pytest.approx(specified.middle, rel=0.02)
    assert found.rest_rate == pytest.approx(specified.rest_rate, rel=0.01)
    assert found.court == specified.court
    pauses = list(zip(found.first_pauses, specified.first_pauses, strict=True))
    assert all(
        a in (b, -1) for a, b in pauses
    )  # of 20 games too few may begin in one of the four ways
    assert sum(a == b for a, b in pauses) >= 3
    wrong = [
        a != b
        for side in range(2)
        for a, b in zip(found.bounces[side], specified.bounces[side], strict=True)
    ]
    assert sum(wrong) <= 9  # of 38 places, rare ones at the edges


def test_what_was_not_recorded_stays_unknown():
    observations, actions, lengths = recorded(0.0)
    view = PongView()
    states = view.replay(observations, actions, lengths)[0].view(state.ESTIMATE).reshape(-1)
    starts = np.cumsum(lengths) - lengths
    first = [
        int(np.flatnonzero(states["steps_absent"][start:] == 0)[0]) + start for start in starts
    ]
    shown = set((states["flight_x"][first, 0] % 4).tolist())
    found = calibration.estimate_first_pauses(states[: int(lengths[:2].sum())], lengths[:2])
    assert found == (-1,) * 4  # two games are too few
    found = calibration.estimate_first_pauses(np.tile(states, 3), np.tile(lengths, 3))
    assert [code for place, code in enumerate(found) if place in shown] == [
        code for place, code in enumerate(view.first_pauses) if place in shown
    ]
    assert all(code == -1 for place, code in enumerate(found) if place not in shown)


def test_there_has_to_be_a_ball():
    observations = np.zeros((5, 56), np.float32)
    with pytest.raises(OptionError, match="no ball"):
        calibration.visible_court(observations)


def test_the_paddle_s_way_is_explained_by_the_right_numbers_alone():
    observations, actions, lengths = recorded(0.0)
    rows = np.zeros(1, state.ESTIMATE)

    def misfit(**changed):
        numbers = {
            "reach": 8.29072,
            "middle": 4.14536,
            "rest_offset": 0.36885,
            "rest_rate": 11.518718,
        }
        constants = calibration.PaddleConstants(**(numbers | changed), highest=25.0)
        return calibration.paddle_error(
            observations, actions, lengths, constants.as_calibration(), 5000, rows
        )

    assert misfit() == 0.0
    assert misfit(reach=8.0) > 0.1
    assert misfit(rest_rate=11.0) > 0.1


def test_a_short_recording_is_refused():
    observations, actions, _ = recorded(0.0, 1)
    with pytest.raises(OptionError, match="record more"):
        PongView.calibrated(observations[:21], actions[:20], np.array([20]))
