"""The shells, on a domain whose outcomes can be computed by hand (see counting_domain)."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from tests.support.counting_domain import (
    CountingEnv,
    CountingVectorEnv,
    SlidingEnv,
    SlidingVectorEnv,
    make_counting,
)
from wm_envs.errors import InvalidActionError, OptionError, StateError
from wm_envs.testing import check_vector_env
from wm_envs.testing.trace import difference

LEFT, STAY, RIGHT = 0, 1, 2
MODES = list(AutoresetMode)


def vector(num_envs=3, mode="NextStep", **options):
    return CountingVectorEnv(num_envs, autoreset_mode=mode, **options)


def place(env, places):
    """Put the rows of a fresh vector environment at chosen places, with time 0."""
    states = env.clone_state()
    states["place"], states["time"], states["ended"] = places, 0, False
    return env.restore_state(states)


def placed(places, mode="NextStep", **options):
    env = vector(len(places), mode, **options)
    env.reset(seed=0)
    place(env, places)
    return env


# --- the single environment


@pytest.mark.parametrize("env_class", [CountingEnv, SlidingEnv])
def test_gymnasiums_checker_is_clean(env_class):
    with warnings.catch_warnings():
        # It asks for a spec, which the registry gives, and for symmetric boxes, which these rules
        # do not have.
        warnings.filterwarnings("ignore", message=".*(spec|symmetric).*")
        check_env(env_class(), skip_render_check=True)


def test_steps_by_hand():
    env = CountingEnv(gust_weight=0.5)
    env.reset(seed=3)
    state = env.clone_state()
    state["place"] = 7
    np.testing.assert_array_equal(env.restore_state(state), [7, 0])
    observation, reward, terminated, truncated, info = env.step(RIGHT)
    gust = info["reward_components"]["gust"]
    np.testing.assert_array_equal(observation, [8, 1])
    assert info.pop("room").tolist() == [0, 0]  # this domain does not measure it
    assert info == {
        "is_success": False,
        "place": 8.0,
        "reward_components": {"progress": 1.0, "gust": gust},
    }
    assert (reward, terminated, truncated) == (1.0 + 0.5 * gust, False, False)
    observation, _, terminated, truncated, info = env.step(RIGHT)
    np.testing.assert_array_equal(observation, [9, 2])
    assert (terminated, truncated, info["is_success"]) == (True, False, True)
    assert observation.dtype == np.float32


def test_termination_and_the_time_limit_never_merge():
    env = CountingEnv(time_limit=2)
    env.reset(seed=3)
    env.step(STAY)
    assert env.step(STAY)[2:4] == (False, True)
    env.reset(seed=3)
    state = env.clone_state()
    state["place"] = 2
    env.restore_state(state)
    env.step(LEFT)
    assert env.step(LEFT)[2:4] == (True, True)


def test_a_step_needs_a_reset_first_and_after_the_end():
    env = CountingEnv(time_limit=1)
    with pytest.raises(ResetNeeded):
        env.step(STAY)
    env.reset(seed=0)
    env.step(STAY)
    before = env.clone_state().tobytes()
    with pytest.raises(ResetNeeded):
        env.step(STAY)
    assert env.clone_state().tobytes() == before
    env.reset()
    env.step(STAY)


BAD_ACTIONS = [
    3,
    -1,
    1.7,
    1.0,
    None,
    "1",
    True,
    [1],
    [[1]],
    np.nan,
    np.inf,
    np.uint64(2**63),
    [1, [2]],
    2**70,
    {},
]


@pytest.mark.parametrize("action", BAD_ACTIONS, ids=repr)
def test_a_wrong_action_changes_nothing(action):
    env, twin = CountingEnv(), CountingEnv()
    env.reset(seed=4)
    twin.reset(seed=4)
    with pytest.raises(InvalidActionError):
        env.step(action)
    assert env.clone_state().tobytes() == twin.clone_state().tobytes()
    np.testing.assert_equal(env.step(RIGHT), twin.step(RIGHT))


@pytest.mark.parametrize(
    "action", [1, np.int32(1), np.int64(1), np.uint8(1), np.array(1)], ids=repr
)
def test_all_integers_are_actions(action):
    env = CountingEnv()
    env.reset(seed=4)
    assert env.step(action)[4]["reward_components"]["progress"] == 0


@pytest.mark.parametrize(
    "action",
    [
        [0.5],
        [[0.5, 0.5]],
        [0.5, np.nan],
        [np.inf, 0],
        [-0.1, 0],
        [0, 1.1],
        None,
        ["a", "b"],
        [1j, 0],
    ],
    ids=repr,
)
def test_a_wrong_box_action_changes_nothing(action):
    env = SlidingEnv()
    env.reset(seed=4)
    before = env.clone_state().tobytes()
    with pytest.raises(InvalidActionError):
        env.step(action)
    assert env.clone_state().tobytes() == before


def test_a_box_action_is_used():
    env = SlidingEnv()
    start = env.reset(seed=4)[0][0]
    assert env.step(np.array([0.75, 0.25], np.float32))[0][0] == start + 0.5


@pytest.mark.parametrize(
    "action",
    [
        np.array([0.5, np.nan]),
        np.array([-0.1, 0]),
        np.array([0, 1.1], np.float32),
        np.array([[0.5, 0.5]]),
    ],
)
def test_the_quick_check_of_a_box_action_lets_nothing_through(action):
    env = SlidingEnv()
    env.reset(seed=4)
    before = env.clone_state().tobytes()
    with pytest.raises(InvalidActionError):
        env.step(action)
    assert env.clone_state().tobytes() == before


def test_an_array_in_the_info_is_reported_from_the_reset_on_and_never_overwritten():
    env = SlidingEnv()
    _, first = env.reset(seed=0)
    place = first["place"]
    assert place >= 3
    assert first["room"].tolist() == [9 - place, place]
    *_, second = env.step(np.array([1.0, 0.5], np.float32))
    assert first["room"].tolist() == [9 - place, place]
    assert second["room"].tolist() == [9 - place - 0.5, place + 0.5]


def test_without_a_seed_the_random_stream_goes_on():
    env = CountingEnv()
    starts = [env.reset(seed=s)[0][0] for s in (1, 1, 2, 3, 4, 5)]
    assert starts[0] == starts[1]
    assert len(set(starts)) > 1
    env.reset(seed=1)
    later = [env.reset()[0][0] for _ in range(20)]
    env.reset(seed=1)
    assert later == [env.reset()[0][0] for _ in range(20)]
    assert set(later) == {3, 4, 5, 6}


def test_environments_without_a_seed_differ():
    starts = [[env.reset()[0][0] for _ in range(30)] for env in (CountingEnv(), CountingEnv())]
    assert starts[0] != starts[1]


def test_a_negative_seed_is_refused_before_anything_changes():
    env = CountingEnv()
    env.reset(seed=1)
    before = env.clone_state().tobytes()
    with pytest.raises(gym.error.Error):
        env.reset(seed=-1)
    assert env.clone_state().tobytes() == before


def test_a_clone_carries_the_random_stream_across_episodes():
    env = CountingEnv()
    env.reset(seed=9)
    env.step(STAY)
    state = env.clone_state()
    assert state.shape == ()
    futures = []
    for _ in range(2):
        env.restore_state(state)
        future = [env.step(STAY)[1] for _ in range(3)]
        future += [env.reset()[0].tolist(), env.step(STAY)[1]]
        futures.append(future)
    assert futures[0] == futures[1]


def test_a_clone_is_not_changed_by_later_steps():
    env = CountingEnv()
    env.reset(seed=9)
    state = env.clone_state()
    before = state.tobytes()
    env.step(RIGHT)
    assert state.tobytes() == before


def test_restoring_an_ended_state_needs_a_reset_again():
    env = CountingEnv(time_limit=1)
    env.reset(seed=0)
    env.step(STAY)
    ended = env.clone_state()
    env.reset()
    env.restore_state(ended)
    with pytest.raises(ResetNeeded):
        env.step(STAY)


@pytest.mark.parametrize(
    "foreign",
    [
        lambda: CountingEnv(gust_weight=0.25).clone_state(),
        lambda: vector(2).clone_state(),
        lambda: np.zeros(()),
        lambda: None,
        lambda: (1, 2, 3),
    ],
    ids=["other options", "a batch", "no state", "none", "tuple"],
)
def test_a_foreign_state_is_refused_before_anything_changes(foreign):
    env = CountingEnv()
    env.reset(seed=2)
    before = env.clone_state().tobytes()
    with pytest.raises(StateError):
        env.restore_state(foreign())
    assert env.clone_state().tobytes() == before


def test_a_state_of_another_time_limit_is_welcome():
    env, longer = CountingEnv(time_limit=2), CountingEnv(time_limit=5)
    env.reset(seed=2)
    env.step(STAY)
    longer.restore_state(env.clone_state())
    assert longer.step(STAY)[3] is False
    assert env.step(STAY)[3] is True


def test_observations_of_a_single_environment_are_not_overwritten():
    env = CountingEnv()
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second = env.step(RIGHT)[0]
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("make", [CountingEnv, SlidingEnv, vector, lambda: vector(num_threads=2)])
def test_a_copy_goes_its_own_way_from_the_same_state(make, clone):
    env = make()
    env.reset(seed=6)
    env.action_space.seed(0)
    first, second = env.action_space.sample(), env.action_space.sample()
    env.step(first)
    twin = clone(env)
    before = twin.clone_state().tobytes()
    outcome = env.step(second)
    assert twin.clone_state().tobytes() == before
    np.testing.assert_equal(twin.step(second), outcome)
    twin.close()


def test_rendering_by_mode():
    env = CountingEnv(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (2, 3, 3)
    assert CountingEnv().render() is None
    env = CountingEnv(render_mode="ansi")
    start = env.reset(seed=0)[0]
    assert env.render() == f"place {int(start[0])}"
    frames = place_and_render([2, 7])
    assert [frame[0, 0, 0] for frame in frames] == [2, 7]
    with pytest.raises(OptionError, match="render_mode is one of"):
        CountingEnv(render_mode="hologram")


def place_and_render(places):
    return placed(places, render_mode="rgb_array").render()


@pytest.mark.parametrize("make", [CountingEnv, vector, lambda: vector(num_threads=2)])
def test_closing_twice_is_harmless(make):
    env = make()
    env.reset(seed=0)
    env.close()
    env.close()


def test_a_one_step_environment_is_cut_by_gymnasiums_time_limit():
    env = make_counting(time_limit=1)
    assert isinstance(env, TimeLimit)
    env.reset(seed=0)
    assert env.step(STAY)[2:4] == (False, True)
    check_environments_match(env, CountingEnv(time_limit=1), num_steps=30, skip_render=True)
    assert isinstance(make_counting(time_limit=2), CountingEnv)


def test_a_spec_makes_the_environment_again():
    env = gym.make("test/Counting-v0", gust_weight=0.125)
    again = gym.make(env.spec)
    assert (
        again.unwrapped.restore_state(start_of(env)).tolist()
        == env.unwrapped.restore_state(start_of(env)).tolist()
    )


def start_of(env):
    env.reset(seed=8)
    return env.unwrapped.clone_state()


# --- the vector environment


def test_next_step_by_hand():
    env = placed([4, 8, 1])
    observations, rewards, terminated, truncated, infos = env.step(np.array([RIGHT, RIGHT, LEFT]))
    np.testing.assert_array_equal(observations, [[5, 1], [9, 1], [0, 1]])
    assert terminated.tolist() == [False, True, True]
    assert truncated.tolist() == [False] * 3
    assert infos["is_success"].tolist() == [False, True, False]
    gusts = infos["reward_components"]["gust"]
    np.testing.assert_array_equal(rewards, np.array([1, 1, -1]) + 0.5 * gusts)
    observations, rewards, terminated, truncated, infos = env.step(np.array([RIGHT, RIGHT, RIGHT]))
    np.testing.assert_array_equal(observations[0], [6, 2])
    assert observations[1:, 1].tolist() == [0, 0]  # reset by this call, whatever the action
    assert set(observations[1:, 0]) <= {3, 4, 5, 6}
    assert rewards[1:].tolist() == [0, 0]
    assert not terminated.any()
    assert not truncated.any()
    assert infos["reward_components"]["progress"].tolist() == [1, 0, 0]
    assert env.step(np.array([STAY] * 3))[0][:, 1].tolist() == [3, 1, 1]


def test_same_step_by_hand():
    env = placed([4, 8, 1], "SameStep")
    observations, _, terminated, _, infos = env.step(np.array([RIGHT, RIGHT, LEFT]))
    np.testing.assert_array_equal(observations[0], [5, 1])
    assert observations[1:, 1].tolist() == [0, 0]
    assert terminated.tolist() == [False, True, True]
    assert infos["final_obs"][0] is None
    np.testing.assert_array_equal(infos["final_obs"][1], [9, 1])
    np.testing.assert_array_equal(infos["final_obs"][2], [0, 1])
    for mask in (infos["_final_obs"], infos["_final_info"], infos["final_info"]["_is_success"]):
        assert mask.tolist() == [False, True, True]
    assert infos["final_info"]["is_success"].tolist() == [False, True, False]
    assert infos["final_info"]["reward_components/progress"].tolist() == [0, 1, -1]
    assert infos["is_success"].tolist() == [False, False, False]
    assert infos["reward_components/progress"].tolist() == [1, 0, 0]
    assert "final_obs" not in env.step(np.array([STAY] * 3))[4]


def test_disabled_by_hand():
    env = placed([4, 8, 1], "Disabled")
    observations, _, terminated, _, infos = env.step(np.array([RIGHT, RIGHT, LEFT]))
    np.testing.assert_array_equal(observations, [[5, 1], [9, 1], [0, 1]])
    assert "final_obs" not in infos
    before = env.clone_state().tobytes()
    with pytest.raises(ResetNeeded, match=r"rows \[1, 2\] have ended"):
        env.step(np.array([STAY] * 3))
    assert env.clone_state().tobytes() == before
    observations, infos = env.reset(options={"reset_mask": terminated})
    np.testing.assert_array_equal(observations[0], [5, 1])
    assert observations[1:, 1].tolist() == [0, 0]
    assert infos["_is_success"].tolist() == [False, True, True]
    assert env.step(np.array([STAY] * 3))[0][:, 1].tolist() == [2, 1, 1]


@pytest.mark.parametrize("mode", MODES)
def test_all_outputs_equal_gymnasiums_synchronous_environment(mode):
    ours = vector(4, mode)
    theirs = SyncVectorEnv([CountingEnv] * 4, autoreset_mode=mode)
    np.testing.assert_equal(ours.reset(seed=17), theirs.reset(seed=17))
    ours.action_space.seed(17)
    num_ended = 0
    for _ in range(60):
        actions = ours.action_space.sample()
        outputs = ours.step(actions)
        assert difference(outputs, theirs.step(actions)) is None
        ended = outputs[2] | outputs[3]
        num_ended += ended.sum()
        if mode == AutoresetMode.DISABLED and ended.any():
            answers = [env.reset(options={"reset_mask": ended.copy()}) for env in (ours, theirs)]
            np.testing.assert_equal(*answers)
    assert num_ended > 20


@pytest.mark.parametrize("env_class", [CountingVectorEnv, SlidingVectorEnv])
def test_the_checker_passes(env_class):
    report = check_vector_env(env_class, single=env_class.env_class, num_steps=60)
    assert len(report.modes) == 3


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_threads_change_nothing(mode):
    one, two = vector(7, mode), vector(7, mode, num_threads=3)
    np.testing.assert_equal(one.reset(seed=1), two.reset(seed=1))
    one.action_space.seed(1)
    for _ in range(40):
        actions = one.action_space.sample()
        assert difference(one.step(actions), two.step(actions)) is None
    assert one.clone_state().tobytes() == two.clone_state().tobytes()
    two.close()


def test_more_threads_than_rows_are_harmless():
    env = vector(2, num_threads=5)
    env.reset(seed=0)
    assert env.step(np.array([STAY, STAY]))[0][:, 1].tolist() == [1, 1]
    env.close()


def test_without_copies_one_buffer_is_reused_and_holds_the_same_numbers():
    copying, reusing = vector(copy=True), vector(copy=False)
    assert not np.shares_memory(copying.reset(seed=1)[0], copying.step(np.array([STAY] * 3))[0])
    first = reusing.reset(seed=1)[0]
    copying.reset(seed=1)
    for _ in range(20):
        actions = np.array([LEFT, STAY, RIGHT])
        ours, expected = reusing.step(actions)[0], copying.step(actions)[0]
        np.testing.assert_array_equal(ours, expected)
        assert np.shares_memory(ours, first)


def test_final_observations_survive_the_reuse_of_the_buffer():
    env = placed([8, 4, 1], "SameStep", copy=False)
    infos = env.step(np.array([RIGHT, STAY, LEFT]))[4]
    env.step(np.array([STAY] * 3))
    np.testing.assert_array_equal(infos["final_obs"][0], [9, 1])
    np.testing.assert_array_equal(infos["final_obs"][2], [0, 1])


def test_seeds_as_a_list_and_by_mask():
    env = vector(4)
    all_rows = env.reset(seed=10)[0]
    np.testing.assert_array_equal(env.reset(seed=[10, 11, 12, 13])[0], all_rows)
    swapped = env.reset(seed=[13, 12, 11, 10])[0]
    np.testing.assert_array_equal(swapped, all_rows[::-1])
    env.step(np.array([STAY] * 4))
    before = env.clone_state()
    mask = np.array([True, False, False, True])
    partial = env.reset(seed=[99, 98, None, None], options={"reset_mask": mask})[0]
    after = env.clone_state()
    assert (after[1:3].tobytes(), partial[1:3, 1].tolist()) == (before[1:3].tobytes(), [1, 1])
    assert after["key"][0] == CountingEnvState(99)["key"]
    assert after["key"][3] == before["key"][3]
    assert after["counter"][3] == before["counter"][3] + 1


def CountingEnvState(seed):  # noqa: N802
    env = CountingEnv()
    env.reset(seed=seed)
    return env.clone_state()


@pytest.mark.parametrize("seed", [[1, 2], [1, 2, -3], -1, 1.5, [1.5, 2, 3], ["a", 1, 2]], ids=repr)
def test_wrong_seeds_change_nothing(seed):
    env = vector(3)
    env.reset(seed=0)
    before = env.clone_state().tobytes()
    with pytest.raises(OptionError, match="seeds"):
        env.reset(seed=seed)
    assert env.clone_state().tobytes() == before


@pytest.mark.parametrize(
    "mask",
    [[True, False, False], np.ones(2, np.bool_), np.ones(3), np.zeros(3, np.bool_), None],
    ids=repr,
)
def test_a_wrong_mask_changes_nothing(mask):
    env = vector(3)
    env.reset(seed=0)
    before = env.clone_state().tobytes()
    with pytest.raises(OptionError, match="reset_mask"):
        env.reset(seed=5, options={"reset_mask": mask})
    assert env.clone_state().tobytes() == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "actions",
    [
        [1, 1],
        [1, 1, 3],
        [1, -1, 1],
        [1.0, 1.0, 1.0],
        None,
        [[1], [1], [1]],
        [1, None, 1],
        [1, [1], 1],
        1,
    ],
    ids=repr,
)
def test_wrong_actions_of_a_batch_change_nothing(actions, mode):
    env = vector(3, mode)
    env.reset(seed=0)
    before = env.clone_state().tobytes()
    with pytest.raises(InvalidActionError):
        env.step(actions)
    assert env.clone_state().tobytes() == before


def test_a_vector_step_needs_a_reset_first():
    with pytest.raises(ResetNeeded):
        vector().step(np.array([STAY] * 3))


def test_a_first_reset_has_to_start_every_row():
    env = vector(3, "SameStep")
    with pytest.raises(ResetNeeded, match="reset_mask"):
        env.reset(options={"reset_mask": np.array([True, False, True])})


@pytest.mark.parametrize("mode", MODES)
def test_cloned_batches_restore_the_future(mode):
    env = vector(3, mode)
    env.reset(seed=5)
    env.step(np.array([RIGHT] * 3))
    states = env.clone_state()
    assert states.shape == (3,)
    actions = np.array([LEFT, STAY, RIGHT])
    first = [env.step(actions), env.step(actions)]
    np.testing.assert_array_equal(env.restore_state(states)[:, 1], [1, 1, 1])
    np.testing.assert_equal([env.step(actions), env.step(actions)], first)


def test_rows_of_a_batch_are_states_of_the_single_environment():
    env, single = vector(3), CountingEnv()
    env.reset(seed=5)
    env.step(np.array([RIGHT] * 3))
    states = env.clone_state()
    rewards = env.step(np.array([LEFT] * 3))[1]
    for row in range(3):
        single.restore_state(states[row])
        assert single.step(LEFT)[1] == rewards[row]


def test_foreign_batches_are_refused_before_anything_changes():
    env = vector(3)
    env.reset(seed=5)
    before = env.clone_state().tobytes()
    for foreign in (
        vector(2).clone_state(),
        vector(3, gust_weight=2.0).clone_state(),
        np.zeros(3),
        None,
    ):
        with pytest.raises(StateError):
            env.restore_state(foreign)
    assert env.clone_state().tobytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "at least 1"),
        ({"num_threads": 0}, "at least 1"),
        ({"max_episode_steps": 0}, "max_episode_steps"),
        ({"render_mode": "hologram"}, "render_mode"),
    ],
)
def test_wrong_options_of_a_batch_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        CountingVectorEnv(**options)


@pytest.mark.parametrize(
    ("max_episode_steps", "length"), [(3, 3), (9, 9), (-1, 6), (None, 6), (np.int64(4), 4)]
)
def test_a_batch_takes_a_shorter_and_a_longer_time_limit(max_episode_steps, length):
    env = vector(2, max_episode_steps=max_episode_steps)
    env.reset(seed=0)
    assert [env.step(np.array([STAY] * 2))[3].all() for _ in range(length)].index(
        True
    ) == length - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": "4"}, "num_envs is an integer at least 1"),
        ({"num_envs": 2.5}, "num_envs"),
        ({"num_threads": 0}, "num_threads"),
        ({"max_episode_steps": "a"}, "max_episode_steps"),
        ({"autoreset_mode": "Sometimes"}, "'NextStep'"),
        ({"gust": 1}, "unexpected keyword argument 'gust'"),
    ],
    ids=str,
)
def test_wrong_arguments_of_a_batch_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        CountingVectorEnv(**{"num_envs": 2, **options})


def test_a_seed_reaches_the_generator_that_wrappers_draw_from():
    env = vector(2)
    env.reset(seed=7)
    assert env.np_random_seed == 7
    assert env.np_random.integers(1000) == np.random.default_rng(7).integers(1000)


def test_same_step_takes_no_state_that_has_ended():
    env, ended = vector(2, AutoresetMode.SAME_STEP), vector(2)
    ended.reset(seed=0)
    states = ended.clone_state()
    states["ended"][1] = True
    with pytest.raises(StateError, match=r"rows \[1\] have ended"):
        env.restore_state(states)


@pytest.mark.parametrize("env_id", ["wm/LightsOut-v0", "wm/SequenceNext-v0"])
def test_a_state_is_restored_into_an_environment_that_was_never_reset(env_id):
    first, second = gym.make(env_id), gym.make(env_id)
    first.reset(seed=3)
    second.unwrapped.restore_state(first.unwrapped.clone_state())
    ours, theirs = first.step(0), second.step(0)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1:4] == theirs[1:4]


def test_a_task_of_one_step_refuses_a_second():
    env = gym.make("wm/PatternEcho-v0")
    env.reset(seed=0)
    state = env.unwrapped.clone_state()
    env.step(0)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.unwrapped.restore_state(state)
    assert env.step(0)[3]
