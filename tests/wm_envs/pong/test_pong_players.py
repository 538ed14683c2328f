import gymnasium as gym
import numpy as np
import pytest

from wm_envs import record
from wm_envs.pong.players import PLAYERS, Ball, BallTracker, Explorer, Interceptor, RandomHolder

SCRIPTED = [RandomHolder, BallTracker, Interceptor, Explorer]


def recorded(player, episodes=8, **options):
    options = {"time_limit": 1500, **options}  # a game may go on for ever
    return record("wm/Pong-v0", episodes=episodes, policy=player, seed=0, env_kwargs=options)


def final_scores(recording):
    last = np.cumsum(recording.lengths + 1) - 1
    return recording.observations[last][:, [51, 55]].mean(axis=0)


def fast_share(recording):
    x, last = recording.observations[:, 35], recording.observations[:, 34]
    return (np.abs(x - last)[(x > 0) & (last > 0)] >= 8).mean()


@pytest.mark.parametrize("make", SCRIPTED)
def test_a_new_player_with_the_same_seed_plays_the_same_games(make):
    one, same, other = (recorded(make(seed), time_limit=300) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.actions, same.actions)
    assert not np.array_equal(one.actions, other.actions)
    assert set(np.unique(one.actions)) <= set(range(6))


@pytest.mark.parametrize("make", SCRIPTED)
def test_a_player_takes_batches_of_another_size(make):
    player = make(0)
    assert [len(player(np.zeros((num_rows, 56), np.float32))) for num_rows in (3, 5, 1)] == [
        3,
        5,
        1,
    ]


def test_players_are_of_different_strength():
    random, tracker, interceptor = (
        final_scores(recorded(make(0), repeat_action_probability=0.25))[0]
        for make in (RandomHolder, BallTracker, Interceptor)
    )
    assert random < 2 < tracker
    assert random < 2 < interceptor


def test_fast_balls_come_with_fire_near_the_paddle():
    shares = {make: fast_share(recorded(make(0))) for make in (RandomHolder, Explorer, Interceptor)}
    assert shares[RandomHolder] < 0.15
    assert shares[Explorer] > 0.2
    assert shares[Interceptor] > 0.2


def test_actions_are_held():
    env = gym.make_vec("wm/Pong-v0", 2)
    observations, _ = env.reset(seed=0)
    holder = RandomHolder(0, max_hold=12)
    actions = np.array([holder(observations) for _ in range(2000)])
    assert (actions[1:] != actions[:-1]).mean() == pytest.approx((5 / 6) / 6.5, abs=0.03)


def test_an_arrival_is_folded_at_the_walls():
    observation = np.zeros((1, 56), np.float32)
    observation[0, 32:36] = [
        60,
        64,
        68,
        72,
    ]  # a step is 4 px, so that the agent is 16.75 steps away
    observation[0, 36:40] = [80, 72, 64, 56]
    ball = Ball(observation)
    assert (ball.dx[0], ball.dy[0]) == (4, -8)
    assert ball.arrival()[0] == pytest.approx(31 + (8 * 16.75 - (56 - 31)))
    observation[0, 36:40] = [49, 41, 33, 38]  # it left the wall within the last step
    assert Ball(observation).dy[0] == 8


def test_the_names_lead_to_players():
    assert list(PLAYERS) == ["holder", "tracker", "interceptor", "explorer", "planner"]
    assert all(callable(make(0)) for make in PLAYERS.values())
