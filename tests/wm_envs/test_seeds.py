"""Seeds of every integer kind and size, on every id, for single environments and batches."""

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from wm_envs import oracle, record
from wm_envs.data.options import as_integer
from wm_envs.errors import OptionError
from wm_envs.registration import TABLE

IDS = [row.id for row in TABLE]
INTEGERS = [np.int64(5), np.uint32(5), np.int8(5), np.array(5), np.array(5, np.uint64)]
NO_SEEDS = [
    True,
    np.True_,
    np.array(True),
    5.0,
    np.float64(5),
    -1,
    np.int64(-1),
    "5",
    np.array([[5]]),
]


@pytest.mark.parametrize("env_id", IDS)
def test_every_kind_of_integer_is_a_seed(env_id):
    env, batch = gym.make(env_id), gym.make_vec(env_id, 2)
    first, rows = env.reset(seed=5)[0], batch.reset(seed=5)[0]
    np.testing.assert_array_equal(rows[0], first)
    for seed in INTEGERS:
        np.testing.assert_array_equal(env.reset(seed=seed)[0], first)
        np.testing.assert_array_equal(batch.reset(seed=seed)[0], rows)
        np.testing.assert_array_equal(batch.reset(seed=[seed, np.int64(6)])[0], rows)
        assert env.unwrapped.np_random_seed == 5


@pytest.mark.parametrize("env_id", IDS)
def test_what_is_no_seed_is_refused_before_anything_changes(env_id):
    env, batch = gym.make(env_id), gym.make_vec(env_id, 2)
    env.reset(seed=3)
    batch.reset(seed=3)
    single = env.unwrapped
    before = (
        single.clone_state().tobytes(),
        batch.clone_state().tobytes(),
        single.np_random.bit_generator.state,
    )
    for seed in NO_SEEDS:
        for reset in (env.reset, batch.reset):
            with pytest.raises(OptionError, match="seed"):
                reset(seed=seed)
    after = (
        single.clone_state().tobytes(),
        batch.clone_state().tobytes(),
        single.np_random.bit_generator.state,
    )
    assert after == before
    assert single.np_random_seed == batch.np_random_seed == 3


@pytest.mark.parametrize("first", [2**62, 2**63 - 1, 2**64 - 2, 2**64 + 5, 2**128 + 1])
def test_large_seeds_are_rows_of_batches_and_no_aliases(first):
    batch = gym.make_vec("wm/Driving-v0", 4)
    rows = batch.reset(seed=first)[0]
    env = gym.make("wm/Driving-v0")
    for row in range(4):
        np.testing.assert_array_equal(env.reset(seed=first + row)[0], rows[row])
        assert not np.array_equal(env.reset(seed=(first + row) % 2**62)[0], rows[row])


@pytest.mark.parametrize("env_id", IDS)
def test_an_unseeded_episode_is_repeated_by_its_seed(env_id):
    env, batch = gym.make(env_id), gym.make_vec(env_id, 2)
    first, rows = env.reset()[0], batch.reset()[0]
    env.reset()  # the seed is that of the stream, which goes on
    np.testing.assert_array_equal(
        gym.make(env_id).reset(seed=env.unwrapped.np_random_seed)[0], first
    )
    np.testing.assert_array_equal(gym.make_vec(env_id, 2).reset(seed=batch.np_random_seed)[0], rows)


def test_the_seeds_of_a_batch_are_told_row_by_row_where_they_do_not_follow():
    batch = gym.make_vec("wm/Driving-v0", 3)
    rows = batch.reset(seed=[7, np.int64(2), 2**70])[0]
    assert batch.np_random_seed == (7, 2, 2**70)
    np.testing.assert_array_equal(batch.reset(seed=batch.np_random_seed)[0], rows)
    batch.reset(seed=[None, 4, 9], options={"reset_mask": np.array([True, True, False])})
    assert batch.np_random_seed == (7, 4, 2**70)


def test_the_oracle_takes_the_same_seeds():
    env = gym.make("wm/SequenceNext-v0", time_limit=3)
    env.reset(seed=0)
    states, actions = env.unwrapped.clone_state()[None], np.zeros((1, 3), np.int64)
    kwargs = {"env_kwargs": {"time_limit": 3}}
    one, other = (
        oracle.rollout("wm/SequenceNext-v0", states, actions, seed=seed, **kwargs)[0]
        for seed in (4, np.int32(4))
    )
    np.testing.assert_array_equal(one, other)
    with pytest.raises(OptionError, match=r"seed is an integer at least 0, got 1\.5"):
        oracle.rollout("wm/SequenceNext-v0", states, actions, seed=1.5, **kwargs)


@pytest.mark.parametrize("env_id", ["wm/TMaze-v0", "CartPole-v1"])
def test_recordings_take_integers_and_nothing_else(env_id):
    one = record(env_id, episodes=2, seed=1)
    other = record(env_id, episodes=np.int64(2), seed=np.array(1), num_envs=np.int32(2))
    np.testing.assert_array_equal(one.observations, other.observations)
    for wrong in (
        {"episodes": 3.0},
        {"episodes": True},
        {"seed": 0.5},
        {"num_envs": 4.0},
        {"num_workers": 2.0},
    ):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            record(env_id, **{"episodes": 2, "seed": 0, **wrong})


@pytest.mark.parametrize("num_envs", [4.0, True, np.float32(2), "2"])
def test_numbers_of_rows_are_integers(num_envs):
    with pytest.raises(OptionError, match="num_envs is an integer at least 1"):
        gym.make_vec("wm/TMaze-v0", num_envs)


@pytest.mark.parametrize(
    ("env_id", "name", "value"),
    [
        ("wm/TMaze-v0", "level", 1.0),
        ("wm/UNResolution-v0", "transitions", 3.0),
        ("wm/Debate-v0", "num_rounds", 8.0),
        ("wm/Driving-v0", "laps", True),
        ("wm/Pong-v0", "frame_skip", 4.0),
    ],
)
def test_counts_among_the_options_are_integers(env_id, name, value):
    with pytest.raises(OptionError, match=f"{name} is an integer"):
        gym.make(env_id, **{name: value})
    gym.make(env_id, **{name: np.array(int(value) + 2 * (name == "laps"))})


def test_a_value_above_the_range_is_told_the_whole_range():
    with pytest.raises(
        OptionError, match="instance is an integer from 0 to 4611686018427387904, got"
    ):
        gym.make("wm/SequenceNext-v0", instance=2**70)


def test_one_rule_says_what_is_an_integer():
    assert [as_integer(value) for value in INTEGERS] == [5] * 5
    assert [
        as_integer(value) for value in (True, np.False_, 4.0, "4", None, [4], np.array([4]), np.nan)
    ] == [None] * 8
