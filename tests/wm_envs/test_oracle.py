"""The oracle against the environments themselves, stepped from the same states."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tests.support.counting_domain import CountingEnv, CountingVectorEnv
from wm_envs import record
from wm_envs.errors import InvalidActionError, OptionError, StateError
from wm_envs.oracle import rollout, rules_of
from wm_envs.registration import TABLE

LEFT, STAY, RIGHT = 0, 1, 2
OUR_IDS = [row.id for row in TABLE]


def states_at(places, **options):
    env = CountingVectorEnv(len(places), **options)
    env.reset(seed=3)
    states = env.clone_state()
    states["place"] = places
    return states


def stepped(env_id, state, actions):
    """Observations, rewards and terminations of one row without autoreset, up to its end."""
    env = gym.make_vec(env_id, 1, autoreset_mode=AutoresetMode.DISABLED)
    observations, rewards, terminations = [env.restore_state(state[None])[0]], [], []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action[None])
        observations.append(observation[0])
        rewards.append(reward[0])
        terminations.append(terminated[0])
        if terminated or truncated:
            break
    return np.array(observations), np.array(rewards), np.array(terminations)


@pytest.mark.parametrize("env_id", ["test/Counting-v0", "test/Sliding-v0", *OUR_IDS])
def test_the_oracle_is_the_environments_own_future(env_id):
    env = gym.make_vec(env_id, 6)
    env.reset(seed=21)
    env.action_space.seed(21)
    states = env.clone_state()
    actions = np.stack([env.action_space.sample() for _ in range(8)], axis=1)
    before = states.tobytes()
    observations, rewards, terminations = rollout(env_id, states, actions)
    assert states.tobytes() == before
    assert observations.shape == (6, 9, *env.single_observation_space.shape)
    assert (rewards.shape, terminations.shape) == ((6, 8), (6, 8))
    assert (observations.dtype, rewards.dtype, terminations.dtype) == (
        np.float32,
        np.float64,
        np.bool_,
    )
    for row in range(6):
        seen, rewarded, ended = stepped(env_id, states[row], actions[row])
        length = len(rewarded)
        np.testing.assert_array_equal(observations[row, : length + 1], seen)
        np.testing.assert_array_equal(rewards[row, :length], rewarded)
        np.testing.assert_array_equal(terminations[row, :length], ended)


@pytest.mark.parametrize("env_id", ["test/Counting-v0", "test/Sliding-v0", *OUR_IDS])
def test_a_rollout_goes_on_from_its_final_states(env_id):
    env = gym.make_vec(env_id, 3)
    env.reset(seed=5)
    env.action_space.seed(5)
    states = env.clone_state()
    env.close()
    actions = np.stack([env.action_space.sample() for _ in range(6)], axis=1)
    at_once = rollout(env_id, states, actions, return_states=True)
    first = rollout(env_id, states, actions[:, :2], return_states=True)
    second = rollout(env_id, first[3], actions[:, 2:], return_states=True)
    np.testing.assert_array_equal(at_once[0], np.concatenate([first[0], second[0][:, 1:]], 1))
    np.testing.assert_array_equal(at_once[1], np.concatenate([first[1], second[1]], 1))
    # A state does not say how it ended, so that the flags of ended rows are the caller's to keep.
    terminations = np.concatenate([first[2], second[2] | first[2][:, -1:]], 1)
    np.testing.assert_array_equal(at_once[2], terminations)
    for name in at_once[3].dtype.names:
        np.testing.assert_array_equal(at_once[3][name], second[3][name])


def test_final_states_keep_the_randomness_of_a_seed_and_can_be_restored():
    env = gym.make_vec("test/Sliding-v0", 4)
    env.reset(seed=1)
    env.action_space.seed(1)
    states = env.clone_state()
    actions = np.stack([env.action_space.sample() for _ in range(4)], axis=1)
    at_once = rollout("test/Sliding-v0", states, actions, seed=9)
    first = rollout("test/Sliding-v0", states, actions[:, :2], seed=9, return_states=True)
    second = rollout("test/Sliding-v0", first[3], actions[:, 2:])
    np.testing.assert_array_equal(at_once[0][:, 2:], second[0])
    np.testing.assert_array_equal(env.restore_state(first[3]), first[0][:, -1])


def test_a_row_holds_still_after_its_end():
    actions = np.array([[RIGHT] * 4, [LEFT] * 4, [STAY] * 4])
    observations, rewards, terminations = rollout("test/Counting-v0", states_at([8, 2, 5]), actions)
    assert observations[:, :, 0].tolist() == [[8, 9, 9, 9, 9], [2, 1, 0, 0, 0], [5, 5, 5, 5, 5]]
    assert observations[:, :, 1].tolist() == [[0, 1, 1, 1, 1], [0, 1, 2, 2, 2], [0, 1, 2, 3, 4]]
    assert terminations.tolist() == [[True] * 4, [False, True, True, True], [False] * 4]
    assert rewards[0, 1:].tolist() == [0, 0, 0]
    assert rewards[1, 2:].tolist() == [0, 0]
    assert (rewards[2] >= 0).all()
    assert rewards[2].sum() > 0


def test_a_time_limit_ends_without_terminating():
    actions = np.full((1, 8), STAY)
    observations, rewards, terminations = rollout("test/Counting-v0", states_at([5]), actions)
    assert observations[0, :, 1].tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 6]  # the limit is 6
    assert rewards[0, 6:].tolist() == [0, 0]
    assert not terminations.any()


def test_states_that_have_ended_stay():
    states = states_at([5, 5])
    states["ended"] = [True, False]
    observations, rewards, _ = rollout("test/Counting-v0", states, np.full((2, 3), RIGHT))
    assert observations[0, :, 0].tolist() == [5, 5, 5, 5]
    assert rewards[0].tolist() == [0, 0, 0]
    assert observations[1, :, 0].tolist() == [5, 6, 7, 8]


def test_states_of_single_environments_can_be_stacked():
    env = CountingEnv()
    states = []
    for seed in range(3):
        env.reset(seed=seed)
        states.append(env.clone_state())
    assert rollout("test/Counting-v0", np.stack(states), np.full((3, 2), STAY))[0].shape == (
        3,
        3,
        2,
    )


def test_a_seed_gives_fresh_randomness_by_row_and_none_replays():
    states, actions = states_at([5, 5]), np.full((2, 3), STAY)

    def gusts(seed):
        return rollout("test/Counting-v0", states, actions, seed=seed)[1]

    np.testing.assert_array_equal(gusts(None), gusts(None))
    np.testing.assert_array_equal(gusts(4), gusts(4))
    assert not np.array_equal(gusts(None), gusts(4))
    assert not np.array_equal(gusts(4), gusts(5))
    np.testing.assert_array_equal(gusts(4)[1], gusts(5)[0])  # row i draws from seed + i
    assert not np.array_equal(gusts(4)[0], gusts(4)[1])


def test_options_are_those_of_the_states():
    states, actions = states_at([5], gust_weight=0.0), np.full((1, 3), RIGHT)
    rewards = rollout("test/Counting-v0", states, actions, env_kwargs={"gust_weight": 0.0})[1]
    assert rewards.tolist() == [[1, 1, 1]]
    with pytest.raises(StateError, match="other options"):
        rollout("test/Counting-v0", states, actions)


def test_a_shorter_time_limit_is_respected():
    states, actions = states_at([5]), np.full((1, 3), STAY)
    observations = rollout(
        "test/Counting-v0", states, actions, env_kwargs={"max_episode_steps": 2}
    )[0]
    assert observations[0, :, 1].tolist() == [0, 1, 2, 2]


def test_an_empty_horizon_gives_the_observation_alone():
    observations, rewards, _ = rollout(
        "test/Counting-v0", states_at([5, 6]), np.zeros((2, 0), np.int64)
    )
    assert observations[:, :, 0].tolist() == [[5], [6]]
    assert rewards.shape == (2, 0)


@pytest.mark.parametrize(
    ("actions", "error"),
    [
        (np.full((2, 3), 3), InvalidActionError),
        (np.full((2, 3), 1.0), InvalidActionError),
        (np.full((2, 3, 1), 1), InvalidActionError),
        (np.full((3, 3), 1), StateError),
        (np.array([1, 1]), StateError),
    ],
)
def test_wrong_actions_are_named(actions, error):
    with pytest.raises(error):
        rollout("test/Counting-v0", states_at([5, 5]), actions)


@pytest.mark.parametrize("states", [None, np.zeros(2), [1, 2]], ids=repr)
def test_wrong_states_are_named(states):
    with pytest.raises(StateError):
        rollout("test/Counting-v0", states, np.full((2, 3), STAY))


def test_an_environment_without_native_rules_is_refused():
    with pytest.raises(OptionError, match="CartPole-v1 has no native rules"):
        rules_of("CartPole-v1")
    with pytest.raises(OptionError, match="Acrobot-v1 has no native rules"):
        rules_of("Acrobot-v1")


def test_an_id_may_name_the_module_to_import():
    env = gym.make("wm_envs:wm/LightsOut-v0").unwrapped
    env.reset(seed=0)
    states = env.clone_state()[None]
    one, other = (
        rollout(f"{prefix}wm/LightsOut-v0", states, np.zeros((1, 3), int))
        for prefix in ("", "wm_envs:")
    )
    np.testing.assert_array_equal(one[0], other[0])
    recording = record("wm_envs:wm/LightsOut-v0", episodes=2, seed=0)
    assert len(recording.lengths) == 2
