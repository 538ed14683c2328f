"""Time limits given to `gym.make` and `gym.make_vec`.

Shorter and longer ones, in specifications, copies and clones.
"""

import copy
import pickle

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeAwareObservation, TimeLimit

import wm_envs  # noqa: F401
from wm_envs.errors import OptionError
from wm_envs.limits import LimitedByEnv
from wm_envs.registration import TABLE

IDS = [row.id for row in TABLE]


def end_of(env):
    """Steps of an episode of random actions, whether it was terminated, and whether it was truncated."""
    env.reset(seed=0)
    env.action_space.seed(0)
    for step in range(1, 100):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            return step, terminated, truncated
    raise AssertionError("no end within 100 steps")


def made(env_id, limit):
    """Environments with this limit, made in every way."""
    env = gym.make(env_id, max_episode_steps=limit)
    yield env
    yield gym.make(env.spec)
    yield gym.make(EnvSpec.from_json(env.spec.to_json()))
    yield copy.deepcopy(env)
    yield pickle.loads(pickle.dumps(env))
    yield gym.make(env_id, max_episode_steps=limit, disable_env_checker=False)
    yield gym.make_vec(env_id, 1, vectorization_mode="sync", max_episode_steps=limit).envs[0]


@pytest.mark.parametrize("env_id", IDS)
def test_every_limit_is_honoured_and_told(env_id):
    own_limit = gym.make(env_id).spec.max_episode_steps
    # An emulator takes half a second to start.
    for limit in (3,) if "Atari" in env_id else (1, 3, min(own_limit + 3, 60)):
        for env in made(env_id, limit):
            assert env.spec.max_episode_steps == limit
            length, terminated, truncated = end_of(env)
            assert (
                (length, truncated) == (limit, True)
                or (terminated and length < limit)
                or length == limit
            )
        batch = gym.make_vec(env_id, 2, max_episode_steps=limit)
        specs = [
            batch.spec,
            gym.make_vec(batch.spec).spec,
            gym.make_vec(gym.make(env_id, limit).spec, 2).spec,
        ]
        assert [spec.max_episode_steps for spec in specs] == [limit] * 3


@pytest.mark.parametrize("env_id", IDS)
def test_the_specification_tells_the_limit_of_the_options(env_id):
    env = gym.make(env_id)
    limit = env.spec.max_episode_steps
    assert limit >= 1
    TimeAwareObservation(env).reset(seed=0)
    assert gym.make(env.spec).spec == env.spec
    for max_episode_steps in (None, -1):
        assert gym.make(env_id, max_episode_steps=max_episode_steps).spec.max_episode_steps == limit
        assert (
            gym.make_vec(env_id, 2, max_episode_steps=max_episode_steps).spec.max_episode_steps
            == limit
        )
    assert gym.spec(env_id).max_episode_steps is None  # else it would cut the higher levels short


@pytest.mark.parametrize("env_id", IDS)
def test_a_limit_is_part_of_what_is_cloned(env_id):
    env, batch = gym.make(env_id, max_episode_steps=3), gym.make_vec(env_id, 2, max_episode_steps=3)
    env.reset(seed=0)
    batch.reset(seed=0)
    state, rows = env.unwrapped.clone_state(), batch.clone_state()
    for _ in range(2):
        is_over = False
        while not is_over:
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            batch.step(batch.action_space.sample())
            is_over = terminated or truncated
        env.unwrapped.restore_state(state)
        batch.restore_state(rows)
    assert not env.step(env.action_space.sample())[3]
    assert not batch.step(batch.action_space.sample())[3].any()


def test_levels_have_their_own_limits_and_a_given_one_stays():
    limits = [gym.make("wm/TMaze-v0", level=level).spec.max_episode_steps for level in (1, 3)]
    assert limits[0] < limits[1]
    given = gym.make("wm/TMaze-v0", level=3, max_episode_steps=5)
    assert given.spec.kwargs["level"] == 3
    assert end_of(given) == (5, False, True)
    assert end_of(gym.make("wm/TMaze-v0", time_limit=4, max_episode_steps=6)) == (6, False, True)
    assert gym.make(given.spec, max_episode_steps=7).spec.max_episode_steps == 7


@pytest.mark.parametrize(
    "make_again", [gym.make, lambda spec, **options: gym.make_vec(spec, 2, **options)]
)
@pytest.mark.parametrize("env_id", ["wm/TMaze-v0", "wm/Conditional-v0", "wm/LightsOut-v0"])
def test_other_options_have_their_own_limit_and_a_given_one_stays(env_id, make_again):
    options = {"time_limit": 9} if env_id == "wm/Conditional-v0" else {"level": 2}
    limit = gym.make(env_id, **options).spec.max_episode_steps
    spec = make_again(gym.make(env_id).spec).spec
    assert make_again(copy.deepcopy(spec), **options).spec.max_episode_steps == limit
    given = make_again(gym.make(env_id, max_episode_steps=3).spec).spec
    assert make_again(given, **options).spec.max_episode_steps == 3


def test_beyond_its_end_a_task_gives_nothing_more():
    env = gym.make("wm/DelayedMatch-v0", max_episode_steps=6)
    env.reset(seed=0)
    outcomes = [env.step(0) for _ in range(6)]
    assert [reward for _, reward, *_ in outcomes[2:]] == [0.0] * 4
    assert not any(observation.any() for observation, *_ in outcomes[2:])
    assert [truncated for *_, truncated, _ in outcomes] == [False] * 5 + [True]


def test_a_longer_debate_stays_within_its_observation_space():
    env = gym.make("wm/Debate-v0", num_debates=1, num_rounds=2, max_episode_steps=9)
    env.reset(seed=0)
    for _ in range(9):
        observation, *_ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)


def test_no_wrapper_is_left_and_others_are_made_again():
    env = gym.wrappers.ClipReward(gym.make("wm/TMaze-v0", max_episode_steps=5), max_reward=0.5)
    assert not isinstance(env.env, gym.Wrapper)
    again = gym.make(env.spec)
    assert isinstance(again, gym.wrappers.ClipReward)
    assert not isinstance(again.env, gym.Wrapper)
    assert (again.spec.max_episode_steps, len(again.spec.additional_wrappers)) == (5, 1)


def test_a_limit_of_ones_own_stays_around_a_native_environment():
    env = TimeLimit(gym.make("wm/TMaze-v0"), 2)
    assert env.spec.max_episode_steps == 2
    assert end_of(env) == (2, False, True)


@pytest.mark.parametrize("limit", [0, -2, 2.0, True, "5"])
def test_what_is_no_limit_is_refused(limit):
    with pytest.raises(OptionError, match="max_episode_steps is an integer at least 1"):
        gym.make_vec("wm/TMaze-v0", 2, max_episode_steps=limit)
    with pytest.raises((ValueError, TypeError)):
        gym.make("wm/TMaze-v0", max_episode_steps=limit if limit != True else 2.0)  # noqa: E712


def test_wrappers_are_counted_without_the_hand_over_of_the_limit():
    wrappers = LimitedByEnv()
    assert len(wrappers) == 0
    assert [spec.name for spec in wrappers[0:]] == ["take_limit"]
    assert wrappers[:0] == ()
    assert isinstance(copy.deepcopy(wrappers), LimitedByEnv)
    assert isinstance(pickle.loads(pickle.dumps(wrappers)), LimitedByEnv)
    assert isinstance(wrappers.__add__(()), LimitedByEnv)
