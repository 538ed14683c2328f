"""Each rule of the game, by hand.

A state is set up, one frame is played, the numbers are those of the rule.
"""

import gymnasium as gym
import numpy as np
import pytest

from wm_envs.pong import dynamics

NOOP, FIRE, RIGHT, LEFT, RIGHT_FIRE, LEFT_FIRE = range(6)


def make(**options):
    env = gym.make("wm/Pong-v0", **{"frame_skip": 1, "max_noops": 0, **options}).unwrapped
    env.reset(seed=0)
    return env


def placed(env=None, **fields):
    """An environment in a rally, with these fields of its state."""
    env = env or make()
    state = env.clone_state()
    rally = {
        "serve_timer": 0,
        "frame": 10,
        "player_y": 120,
        "enemy_y": 100,
        "ball_x": 128,
        "ball_y": 129,
    }
    for name, value in {**rally, "ball_dx": 1, "ball_dy": 1, **fields}.items():
        state[name] = value
    env.restore_state(state)
    return env


def after(action=NOOP, env=None, **fields):
    """The state after one frame."""
    env = placed(env, **fields)
    env.step(action)
    return env.clone_state()


def newest(observation):
    return dict(zip(FEATURES, observation[3::4].tolist(), strict=True))


FEATURES = [
    *(
        "player_x",
        "player_y",
        "player_width",
        "player_height",
        "enemy_x",
        "enemy_y",
        "enemy_width",
        "enemy_height",
    ),
    *("ball_x", "ball_y", "ball_width", "ball_height", "player_score", "enemy_score"),
]


def test_the_first_observation_shows_both_paddles_and_no_ball():
    env = make()
    observation, info = env.reset(seed=0)
    assert newest(observation) == {
        **{"player_x": 140, "player_y": 96, "player_width": 4, "player_height": 16},
        **{"enemy_x": 16, "enemy_y": 7, "enemy_width": 4, "enemy_height": 16},
        **{
            "ball_x": 0,
            "ball_y": 0,
            "ball_width": 2,
            "ball_height": 4,
            "player_score": 0,
            "enemy_score": 0,
        },
    }
    assert all(len(set(frames)) == 1 for frames in observation.reshape(14, 4).tolist())
    assert info == {
        "is_success": False,
        "player_score": 0,
        "enemy_score": 0,
        "reward_components": {"point": 0.0},
    }


def test_the_first_ball_is_served_after_58_frames_without_one():
    env = make()
    for _ in range(58):
        assert newest(env.step(NOOP)[0])["ball_x"] == 0
    seen = newest(env.step(NOOP)[0])
    assert (seen["ball_x"], seen["ball_y"], seen["enemy_y"]) == (127 - 49, 129 - 14, 128 + 2 - 15)
    seen = newest(env.step(NOOP)[0])
    assert (seen["ball_x"], seen["ball_y"]) == (126 - 49, 130 - 14)


@pytest.mark.parametrize(
    ("dx", "dy", "served"),
    [
        (3, 2, (129, 129, 1, 1)),
        (-4, -3, (127, 127, -1, -1)),
        (2, 0, (129, 129, 1, 1)),
        (0, -1, (127, 127, -1, -1)),
    ],
)
def test_a_serve_is_slow_and_keeps_the_direction(dx, dy, served):
    state = after(serve_timer=1, ball_dx=dx, ball_dy=dy, ball_y=0)
    assert tuple(state[name] for name in ("ball_x", "ball_y", "ball_dx", "ball_dy")) == served
    assert state["enemy_y"] == (130 if served[1] == 129 else 126)


def test_the_paddle_follows_the_joystick_with_a_lag():
    env = make()
    charges, places = [], []
    for _ in range(4):
        env.step(RIGHT)
        charges.append(int(env.clone_state()["charge"]))
        places.append(int(env.clone_state()["player_y"]))
    assert charges == [385823, 362823, 339823, 316823]
    # Half way on every second frame, to 104 and to 2 (371228 // 7987) = 92, which the charges ask
    # for by then.
    assert places == [109, 106, 106, 99]


@pytest.mark.parametrize(
    ("action", "charge"),
    [(RIGHT_FIRE, 385823), (LEFT, 431823), (LEFT_FIRE, 431823), (FIRE, 408823)],
)
def test_what_the_actions_do_to_the_joystick(action, charge):
    assert after(action)["charge"] == charge


def test_the_joystick_has_an_end_on_either_side():
    env = make()
    for action, charge, place in ((LEFT, 790196, 203), (RIGHT, 27450, 38)):
        for _ in range(60):
            env.step(action)
        assert (env.clone_state()["charge"], env.clone_state()["player_y"]) == (charge, place)


@pytest.mark.parametrize(
    ("y", "dy", "new_y", "new_dy"),
    [
        *[(44, -2, 47, 2), (45, -1, 47, 1), (45, -3, 49, 3), (46, -2, 44, -2), (45, 1, 46, 1)],
        *[(206, 2, 203, -2), (208, 3, 204, -3), (205, 1, 206, 1), (206, -1, 205, -1)],
    ],
)
def test_walls(y, dy, new_y, new_dy):
    state = after(ball_y=y, ball_dy=dy)
    assert (state["ball_y"], state["ball_dy"], state["ball_x"]) == (new_y, new_dy, 129)


@pytest.mark.parametrize(
    ("height", "dy"),
    [
        (-2, -2),
        (-1, -2),
        (0, -2),
        (1, -1),
        (4, -1),
        (5, 0),
        (8, 0),
        (9, 1),
        (12, 1),
        (13, 2),
        (15, 2),
    ],
)
@pytest.mark.parametrize("x", [188, 190, 192])
def test_the_agents_return_by_the_part_of_the_paddle(height, dy, x):
    state = after(player_y=120, ball_x=x, ball_y=120 + height, ball_dx=2, ball_dy=1)
    assert (state["ball_dx"], state["ball_dy"]) == (-2, dy)
    assert (state["ball_x"], state["ball_y"]) == (x - 2, 120 + height + dy)


@pytest.mark.parametrize(
    ("player_y", "ball_y", "is_met"),
    [
        *[
            (122, 120, True),
            (121, 119, False),
            (120, 117, False),
        ],  # two lines above: on even lines only
        *[
            (121, 137, True),
            (120, 136, False),
            (120, 137, False),
        ],  # 16 lines below: on odd lines only
    ],
)
def test_the_corners_of_the_agents_paddle(player_y, ball_y, is_met):
    assert (after(player_y=player_y, ball_x=190, ball_y=ball_y)["ball_dx"] == -1) == is_met


@pytest.mark.parametrize("x", [187, 193])
def test_beside_the_paddle_the_ball_flies_on(x):
    assert after(ball_x=x, player_y=125)["ball_dx"] == 1


@pytest.mark.parametrize(("speed", "faster"), [(1, 2), (2, 3), (3, 4), (4, 4)])
@pytest.mark.parametrize("action", [FIRE, RIGHT_FIRE, LEFT_FIRE])
def test_fire_in_the_frame_before_makes_the_return_faster(speed, faster, action):
    env = placed(ball_x=188 - speed, player_y=125, ball_dx=speed, ball_dy=0)
    env.step(action)
    assert env.clone_state()["ball_dx"] == speed
    env.step(NOOP)
    assert env.clone_state()["ball_dx"] == -faster


def test_fire_in_the_same_frame_is_too_late():
    assert after(FIRE, ball_x=190, player_y=125)["ball_dx"] == -1


def test_the_return_meets_the_paddle_where_it_was_before_the_frame():
    state = after(ball_x=190, ball_y=121, player_y=120, frame=10, charge=790196)
    assert state["player_y"] == (120 + 204) // 2
    assert state["ball_dx"] == -1


@pytest.mark.parametrize(("height", "dy"), [(-4, -3), (-3, -2), (0, -2), (5, 0), (14, 2)])
def test_the_enemys_return_keeps_the_speed(height, dy):
    state = after(enemy_y=100, ball_x=66, ball_y=100 + height, ball_dx=-3)
    assert (state["ball_dx"], state["ball_dy"], state["ball_x"]) == (3, dy, 69)


@pytest.mark.parametrize(("x", "height"), [(63, 5), (69, 5), (66, -5), (66, 15)])
def test_where_the_enemy_misses(x, height):
    assert after(enemy_y=100, ball_x=x, ball_y=100 + height, ball_dx=-1)["ball_dx"] == -1


def test_a_wall_comes_before_a_paddle():
    state = after(ball_x=190, ball_y=206, ball_dy=2, player_y=200)
    assert (state["ball_dx"], state["ball_dy"]) == (1, -2)


@pytest.mark.parametrize(
    ("frame", "ball_y", "moved"), [(1, 129, 2), (2, 60, -2), (0, 129, 0), (8, 129, 0), (7, 129, 2)]
)
def test_the_enemy_follows_on_seven_frames_of_eight(frame, ball_y, moved):
    assert after(frame=frame, ball_y=ball_y)["enemy_y"] == 100 + moved


@pytest.mark.parametrize(
    ("x", "reward", "scores"), [(205, -1.0, (3, 5)), (208, -1.0, (3, 5)), (52, 1.0, (4, 4))]
)
def test_a_point(x, reward, scores):
    env = placed(ball_x=x, player_score=3, enemy_score=4)
    observation, given, terminated, _, info = env.step(NOOP)
    assert (given, info["reward_components"], terminated) == (reward, {"point": reward}, False)
    assert (info["player_score"], info["enemy_score"]) == scores
    assert (newest(observation)["player_score"], newest(observation)["enemy_score"]) == scores
    state = env.clone_state()
    assert (state["serve_timer"], state["ball_x"], state["ball_y"]) == (63, x, 129)
    num_frames = 0
    while newest(env.step(NOOP)[0])["ball_x"] == 0:
        num_frames += 1
    assert num_frames == 62


def test_a_ball_beyond_the_goal_line_is_not_seen():
    assert newest(placed(ball_x=205, ball_dx=4).step(NOOP)[0])["ball_x"] == 205 - 49
    assert newest(placed(ball_x=204, ball_dx=4).step(NOOP)[0])["ball_x"] == 0


@pytest.mark.parametrize(("x", "reward", "is_success"), [(52, 1.0, True), (205, -1.0, False)])
def test_the_game_ends_at_21_and_stands_still_within_the_step(x, reward, is_success):
    env = placed(make(frame_skip=4), ball_x=x, player_score=20, enemy_score=20)
    _, given, terminated, truncated, info = env.step(NOOP)
    assert (given, terminated, truncated, info["is_success"]) == (reward, True, False, is_success)
    assert env.clone_state()["serve_timer"] == 63  # the three other frames were not played
    assert max(info["player_score"], info["enemy_score"]) == 21


def test_a_step_is_its_frames():
    one, four = make(), make(frame_skip=4)
    generator = np.random.default_rng(0)
    for _ in range(500):
        action = int(generator.integers(6))
        observations = [one.step(action)[0] for _ in range(4)]
        observation = four.step(action)[0]
        np.testing.assert_array_equal(observation[3::4], observations[-1][3::4])


def test_the_stack_holds_the_last_four_steps_oldest_first():
    env = make(frame_skip=4)
    seen = [env.reset(seed=0)[0][3::4]] * 4
    for step in range(60):
        observation = env.step(RIGHT if step % 3 else LEFT)[0]
        seen = [*seen[1:], observation[3::4]]
        np.testing.assert_array_equal(observation.reshape(14, 4), np.stack(seen, axis=1))


def test_directions_are_differences_of_positions():
    env, plain = make(directions=True, frame_skip=4), make(frame_skip=4)
    assert env.observation_space.shape == (64,)
    num_flying = 0
    for _ in range(300):
        observation, expected = env.step(FIRE)[0], plain.step(FIRE)[0]
        np.testing.assert_array_equal(observation[:56], expected)
        x, y, dx, dy = (observation[4 * feature : 4 * feature + 4] for feature in (8, 9, 14, 15))
        for frame in range(1, 4):
            is_flying = x[frame] > 0 and x[frame - 1] > 0
            assert dx[frame] == (x[frame] - x[frame - 1] if is_flying else 0)
            assert dy[frame] == (y[frame] - y[frame - 1] if is_flying else 0)
            num_flying += is_flying
    assert num_flying > 100


def test_a_certain_repetition_never_lets_an_action_through():
    sticky, plain = make(repeat_action_probability=1.0), make()
    for _ in range(20):
        np.testing.assert_array_equal(sticky.step(LEFT)[0], plain.step(NOOP)[0])


def test_actions_are_repeated_with_the_given_probability():
    env = make(repeat_action_probability=0.25)
    num_changes = num_repeats = 0
    for step in range(4000):
        before, action = int(env.clone_state()["executed"]), 1 + step % 2
        if env.step(action)[2]:
            env.reset()
        num_changes += before != action
        num_repeats += before != action and env.clone_state()["executed"] == before
    assert num_repeats / num_changes == pytest.approx(0.25, abs=0.03)


def test_starts_wait_for_uniformly_many_frames():
    env = make(max_noops=30)
    frames = [(int(env.unwrapped.clone_state()["frame"]), env.reset())[0] for _ in range(3000)]
    counts = np.bincount(np.array(frames[1:]) - dynamics.FIRST_COUNTER, minlength=31)
    assert len(counts) == 31
    assert counts.min() > 50


def test_the_console_ends_a_game_when_its_counter_comes_round():
    env = placed(frame=dynamics.NUM_COUNTS - 2, enemy_score=7, player_score=3)
    flying = [env.step(NOOP) for _ in range(2)]
    assert [newest(step[0])["ball_x"] for step in flying] == [80, 81]
    observation, reward, terminated, _, info = env.step(NOOP)
    assert reward == 6.0  # the enemy's seven points become one
    assert (info["player_score"], info["enemy_score"], terminated) == (3, 1, False)
    assert newest(observation)["ball_x"] == 81  # it stands still for this frame
    later = [newest(env.step(LEFT)[0]) for _ in range(300)]
    assert all(frame["ball_x"] == 0 and frame["enemy_score"] == 1 for frame in later)
    assert later[-1]["enemy_y"] == -15
    assert later[-1]["player_y"] != later[0]["player_y"]


def test_the_rules_of_one_frame_by_hand():
    assert dynamics.turned_at_wall(45, -2, 45, 206) == (48, 2, True)
    assert dynamics.turned_at_wall(206, 3, 45, 206) == (202, -3, True)
    assert dynamics.turned_at_wall(45, 2, 45, 206) == (45, 2, False)
    assert [dynamics.is_on_player(-2, y) for y in (100, 101)] == [True, False]
    assert [dynamics.is_on_player(16, y) for y in (100, 101)] == [False, True]
    assert [dynamics.is_on_enemy(height) for height in (-5, -4, 14, 15)] == [
        False,
        True,
        True,
        False,
    ]
    assert [dynamics.returned(3, fired, 1, 4) for fired in (False, True)] == [-3, -4]
    assert dynamics.returned(-4, True, 1, 4) == -4
    assert [dynamics.pursued(10, target, 2) for target in (9, 10, 11)] == [8, 10, 12]
    assert dynamics.charged(5, 10, 0, 12) == 12
    assert dynamics.lagged(7, 10) == 8
