"""The compiled game is the original: complete games, every feature of every frame."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import pong_fidelity

pytest.importorskip(
    "ale_py", reason='the original game needs ale-py: pip install "wm-suite[atari]"'
)


@pytest.fixture(scope="module")
def envs():
    made = [
        gym.make(env_id, **pong_fidelity.OPTIONS).unwrapped
        for env_id in ("wm/PongAtari-v0", "wm/Pong-v0")
    ]
    yield made
    for env in made:
        env.close()


@pytest.fixture(scope="module")
def pair(envs):
    return pong_fidelity.play(*envs, pong_fidelity.player_of(0), 0.25, 0)


@pytest.mark.parametrize(
    ("number", "sticky"), [(1000, 0.0), (1002, 0.0), (1005, 0.25), (1007, 0.25), (1009, 0.0)]
)
def test_complete_games_are_equal_frame_by_frame(envs, number, sticky):
    pair = pong_fidelity.play(*envs, pong_fidelity.player_of(number), sticky, number)
    assert pong_fidelity.first_difference(number, pair) is None
    assert pair.original.is_over
    assert len(pair.actions) > 2500
    assert abs(sum(pair.original.rewards)) >= 1
    assert {"serve", "flight", "agent's return", "enemy's return", "no ball"} <= set(pair.events)


def test_a_rally_that_the_console_ends_is_equal():
    figures = pong_fidelity.compare_rally()
    assert figures["first_difference"] is None
    assert figures["frames"] == 66_000
    assert figures["frames_after_the_console's_end"] == 66_000 - (65_536 - 327)


def test_a_difference_is_named_by_feature_event_and_frame(pair):
    frame = pair.events.index("serve") + 1
    features = [row.copy() for row in pair.copy.features]
    features[frame][9] += 1
    copy = pong_fidelity.Game.__new__(pong_fidelity.Game)
    copy.features, copy.rewards, copy.is_over = features, pair.copy.rewards, pair.copy.is_over
    found = pong_fidelity.first_difference(5, dataclasses.replace(pair, copy=copy))
    expected = (5, frame, "serve", "ball_y", features[frame][9] - 1, features[frame][9])
    assert dataclasses.astuple(found) == expected


def test_a_missed_point_and_a_longer_game_are_differences(pair):
    copy = pong_fidelity.Game.__new__(pong_fidelity.Game)
    copy.features, copy.is_over = pair.copy.features, True
    copy.rewards = [0.0] * len(pair.copy.rewards)
    found = pong_fidelity.first_difference(0, dataclasses.replace(pair, copy=copy))
    assert (found.feature, found.frame) == (
        "reward",
        int(np.flatnonzero(pair.original.rewards)[0]) + 1,
    )
    copy.features, copy.rewards = pair.copy.features[:-5], pair.copy.rewards[:-5]
    found = pong_fidelity.first_difference(0, dataclasses.replace(pair, copy=copy))
    assert found.frame <= len(pair.actions)


def test_the_events_of_a_game_add_up(pair):
    events = pair.events
    num_points = events.count("point of the agent") + events.count("point of the enemy")
    assert num_points == np.abs(pair.original.rewards).sum() >= 21
    assert events.count("serve") == num_points  # one before each point, none after the last
    assert events.count("wall") > 0
