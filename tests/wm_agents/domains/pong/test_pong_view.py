import json

import numpy as np
import pytest

from wm_agents.domains.pong import state, tracking
from wm_agents.domains.pong.object_view import PongView
from wm_envs import record
from wm_envs.errors import OptionError
from wm_envs.pong.players import Explorer


@pytest.fixture(scope="module")
def games():
    return record(
        "wm/Pong-v0",
        episodes=24,
        policy=Explorer(0),
        seed=0,
        env_kwargs={"time_limit": 600},
        progress=False,
    )


def steps(games):
    lengths = games.lengths
    before = np.concatenate(
        [
            np.arange(n) + first
            for n, first in zip(lengths, np.cumsum(lengths + 1) - lengths - 1, strict=True)
        ]
    )
    return games.observations[before], games.observations[before + 1]


def test_a_state_holds_the_observation(games):
    view = PongView()
    before, after = steps(games)
    states, next_values = view.replay(games.observations, games.actions, games.lengths)
    assert np.array_equal(view.observations(states), before)
    assert np.array_equal(next_values, view.values(after))
    assert np.array_equal(view.observations(view.update(states, games.actions, next_values)), after)
    assert np.array_equal(view.update(states, np.full(len(states), -1), next_values), states)


def test_a_state_can_begin_anywhere(games):
    view = PongView()
    before, _ = steps(games)
    assert np.array_equal(view.observations(view.initialize(before[:500])), before[:500])


def test_situations_have_one_outcome(games):
    """Learned from some games, the outcomes relative to what is expected hold in others."""
    view = PongView()
    states, next_values = view.replay(games.observations, games.actions, games.lengths)
    half = int(games.lengths[:16].sum())
    for part, fewest in ((0, 0.95), (1, 0.9), (2, 0.9), (3, 0.85), (4, 0.95), (5, 0.95)):
        expected, situations = view.encode(part, states, games.actions, next_values)
        is_ball = part in (1, 2)  # which comes and goes
        outcome = np.where(
            is_ball & (next_values[:, part] == 0), 999, next_values[:, part] - expected
        )
        learned = {}
        for situation, value in zip(situations[:half], outcome[:half], strict=True):
            learned.setdefault(situation, []).append(value)
        sure = {}
        for situation, values in learned.items():
            most = max(set(values), key=values.count)
            if situation != 0 and values.count(most) >= 0.98 * len(values):
                sure[situation] = most
        pairs = [
            (sure[s], v)
            for s, v in zip(situations[half:], outcome[half:], strict=True)
            if s in sure
        ]
        assert len(pairs) > fewest * (len(outcome) - half), view.parts[part]
        assert np.mean([a == b for a, b in pairs]) > 0.99, view.parts[part]


def test_the_speed_of_the_ball_is_known_through_its_turns(games):
    view = PongView()
    states, _ = view.replay(games.observations, games.actions, games.lengths)
    rows = states.view(state.ESTIMATE).reshape(-1)
    flying = rows[(rows["steps_absent"] == 0) & (rows["flight_length"] > 2)]
    assert flying["is_velocity_known"].mean() > 0.95
    steady = flying[flying["is_velocity_known"] == 1]
    assert set(np.abs(steady["velocity_x"]).tolist()) <= {4, 8, 12, 16}


def test_symbols_and_features_are_in_range(games):
    view = PongView()
    states, next_values = view.replay(games.observations, games.actions, games.lengths)
    for part in range(6):
        symbols, num_symbols = view.symbols(part, states, games.actions, next_values)
        assert symbols.min() >= 0
        assert symbols.max() < num_symbols
    features = view.features(states)
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 20
    assert (features.std(0) > 0).mean() > 0.8


def test_another_layout_is_refused(games):
    rows = games.observations[:3].copy()
    rows[1, 0] = 139
    with pytest.raises(OptionError, match="another layout"):
        PongView().initialize(rows)


def with_directions(seen, actions, lengths):
    return np.concatenate([seen, seen[:, :8]], 1), actions, lengths


def with_a_wrong_length(seen, actions, lengths):
    return seen, actions, lengths + 1


def with_a_wrong_action(seen, actions, lengths):
    return seen, actions + 1, lengths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_directions, "another layout"),
        (with_a_wrong_length, "24 episodes of 14424 steps .* got 14400 and 14424"),
        (with_a_wrong_action, "0 to 5, got 1 to 6"),
    ],
)
def test_a_recording_that_does_not_fit_together_is_refused(games, change, message):
    recording = change(games.observations, games.actions, games.lengths)
    for use in (PongView.calibrated, PongView().replay):
        with pytest.raises(OptionError, match=message):
            use(*recording)
    if change is with_directions:
        with pytest.raises(OptionError, match=message):
            PongView().initialize(recording[0])


def test_sticky_actions_do_not_lose_the_paddle():
    """Where the paddle rests follows from the guesses, however often an action came late."""
    options = {"time_limit": 600, "repeat_action_probability": 0.25}
    games = record(
        "wm/Pong-v0", episodes=8, policy=Explorer(1), seed=1, env_kwargs=options, progress=False
    )
    states, _ = PongView().replay(games.observations, games.actions, games.lengths)
    rows = states.view(state.ESTIMATE).reshape(-1)
    place = rows["player_y"]
    is_still = (place[:, :4] == place[:, :1]).all(1)
    quiet = (state.PUSHES[np.minimum(rows["action"][:, :4], 5)] == 0).all(1)
    resting = rows[is_still & quiet & (rows["setpoint"] >= 0)].view(np.recarray)
    assert len(resting) > 100
    assert all(tracking.distance_from_rest(row) in (-1, 0) for row in resting)


def test_a_flight_is_followed_through_walls_and_paddles(games):
    view = PongView()
    states, next_values = view.replay(games.observations, games.actions, games.lengths)
    rows = states.view(state.ESTIMATE).reshape(-1).view(np.recarray)
    met = right = 0
    for row, action, after in list(zip(rows, games.actions, next_values, strict=True))[::3]:
        if not tracking.is_known(row) or row.paddle_phase == 2 or after[1] == 0:
            continue
        x, y, _, _, frame, _ = tracking.fly_step(
            row, int(action), int(after[0]), tracking.pause_now(row)
        )
        met += frame < 4
        right += frame < 4 and (x, y) == (after[1], after[2])
    assert met > 50
    assert right >= 0.93 * met  # when the enemy pauses is not always known


def test_the_enemy_s_pauses_are_known_from_the_first_serve_on(games):
    view = PongView()
    states, next_values = view.replay(games.observations, games.actions, games.lengths)
    rows = states.view(state.ESTIMATE).reshape(-1).view(np.recarray)
    checked = 0
    for row, action, after in list(zip(rows, games.actions, next_values, strict=True))[::3]:
        if not tracking.is_known(row) or after[1] == 0 or tracking.is_behind(row, int(after[1])):
            continue
        assert tracking.pause_frame(row) < 4
        x, y, _, _, _, place = tracking.fly_step(
            row, int(action), int(after[0]), tracking.pause_now(row)
        )
        if (x, y) == (after[1], after[2]):
            assert place == after[3]
            checked += 1
    assert checked > 1000


def test_a_fast_ball_that_is_out_of_sight_is_still_the_right_side_s_point():
    view, numbers = PongView(), []
    for direction in (4, -4):
        row = np.zeros(1, state.ESTIMATE)
        row["steps_absent"], row["frames_to_exit"], row["velocity_x"] = 1, 1, 4 * direction
        states = row.view(np.int32).reshape(1, -1)
        numbers.append(
            view.encode(4, states, np.zeros(1, np.int64), np.zeros((1, 6), np.int64))[1][0]
        )
    assert numbers[0] != numbers[1]


def test_a_calibrated_view_is_written_and_read(games):
    view = PongView.calibrated(games.observations, games.actions, games.lengths)
    assert PongView.from_json(json.loads(json.dumps(view.to_json()))) == view


@pytest.mark.parametrize(
    "change",
    [
        {"reach": "8"}, {"reach": float("nan")}, {"reach": 10**400}, {"walls": [30.0]},
        {"first_pauses": [1, 2, 3, True]},
        {"constants": [[14, 0]]}, {"constants": [[0]]}, {"bounces": [[0] * 19]}, {"court": {"top": 31}}, {"colour": 1},
    ],
)  # fmt: skip
def test_what_describes_no_view_is_refused(change):
    with pytest.raises(OptionError, match="Pong"):
        PongView.from_json(PongView().to_json() | change)
    with pytest.raises(OptionError, match="fields reach"):
        PongView.from_json([])


def test_the_game_s_own_numbers_are_those_of_the_rules():
    """What saved views hold, to the digit."""
    view = PongView()
    assert (view.reach, view.middle) == (8.29072, 4.14536)
    assert (view.rest_offset, view.rest_rate, view.highest) == (0.36885, 11.518718, 25.0)
    assert list(view.to_json()["court"].values()) == [31, 192, 3, 156, 2, 1, 1, 4]
    assert view.constants == (
        (0, 140), (2, 4), (3, 16), (4, 16), (6, 4), (7, 16), (10, 2), (11, 4),
    )  # fmt: skip
    assert view.bounces[0] == tuple((place + 4) // 4 - 2 for place in range(-3, 16))
    assert view.bounces[1] == tuple((place + 2) // 4 - 2 for place in range(-3, 16))


def test_parts_are_decided_in_this_order():
    assert PongView.parts == (
        "player_y", "ball_x", "ball_y", "enemy_y", "player_score", "enemy_score",
    )  # fmt: skip


def test_the_former_name_of_calibrated_warns():
    with (
        pytest.warns(DeprecationWarning, match=r"is now PongView\.calibrated"),
        pytest.raises(OptionError),
    ):
        PongView.measured(np.zeros((2, 3)), np.zeros(1, np.int64), np.ones(1, np.int64))


def test_a_ball_that_is_imagined_beyond_the_screen_is_gone_for_the_enemy(games):
    """A place below 0 across, which only a model can predict."""
    view = PongView()
    states, next_values = view.replay(games.observations, games.actions, games.lengths)
    rows = state.as_rows(states)
    part = int(state.Part.BALL_X)
    goes = (rows["steps_absent"] == 0) & (rows["velocity_x"] < 0) & (next_values[:, part] == 0)
    arguments = states[goes], games.actions[goes]
    beyond = next_values[goes].copy()
    beyond[:, part] = -1
    kinds = view.encode(state.Part.ENEMY_Y, *arguments, beyond)[1] // 10**12 - 1500
    assert goes.sum() > 10
    assert set(kinds.tolist()) <= {21, -1500}  # where it goes, or no situation
