"""The soak sees what is broken, and the report adds up what the tests count."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import wm_envs  # noqa: F401
from benchmarks.reliability import by_promise, table
from benchmarks.soak import (
    CHECKS,
    MODES,
    WITHOUT_STATES,
    Config,
    _outputs,
    _reset_rows,
    _states,
    soak,
    summarise,
)
from wm_envs.registration import TABLE

FAST = Config(seconds=0.0, num_envs=8, reset_share=0.5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "env_id", ["wm/TMaze-v0", "wm/UNResolution-v0", "wm/Debate-v0", "wm/Driving-v0", "wm/Pong-v0"]
)
def test_a_sound_environment_breaks_nothing(env_id, mode):
    watch = soak(env_id, mode, 0.05, FAST, seed=0)
    assert watch.num_steps > 0
    assert watch.violations is None


def states_of(env_id, num_envs=4):
    env = gym.make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    before = env.unwrapped.clone_state()
    env.step(env.action_space.sample())
    after, parameters = env.unwrapped.clone_state(), env.unwrapped._rules.parameters[0]
    env.close()
    return before, after, ~after["ended"], parameters


@pytest.mark.parametrize(
    ("env_id", "name", "value", "message"),
    [
        ("wm/Debate-v0", "allocations", 0.5, "allocations sum to 3.5"),
        ("wm/Debate-v0", "learning_rate", np.nan, "learning_rate is not finite"),
        ("wm/UNResolution-v0", "plenary_yes", 194, "up to 194 of 193 members"),
        ("wm/UNResolution-v0", "committee_no", -1, "tallies from -1"),
        ("wm/Pong-v0", "enemy_score", 22, "enemy_score from 22 to 22"),
        ("wm/Driving-v0", "vx", 1000.0, r"a car gained \d+ J"),
        ("wm/Driving-v0", "wear_fl", 1.5, "wear_fl fell below 0 or grew"),
        ("wm/TMaze-v0", "time", 7, "time went on by other than 1"),
    ],
)
def test_a_broken_invariant_is_seen(env_id, name, value, message):
    before, after, went_on, parameters = states_of(env_id)
    assert list(_states(before, after, went_on, parameters)) == []
    assert went_on.any()
    after[name] = value
    messages = list(_states(before, after, went_on, parameters))
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("; ".join(messages))


def test_a_reset_that_reaches_other_rows_is_seen(monkeypatch):
    env = gym.make_vec("wm/TMaze-v0", 4, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    mask = np.array([True, False, False, True])
    assert list(_reset_rows(env, "wm/TMaze-v0", mask)) == []
    whole = env.unwrapped.reset
    monkeypatch.setattr(env.unwrapped, "reset", lambda options: whole(seed=7))
    assert list(_reset_rows(env, "wm/TMaze-v0", mask)) == ["a reset by mask changed another row"]
    env.close()


def test_an_observation_out_of_bounds_is_seen():
    env = gym.make_vec("wm/TMaze-v0", 2)
    observations, _ = env.reset(seed=0)
    assert list(_outputs(env, observations, np.zeros(2))) == []
    observations[1, 0] = 5.0
    assert list(_outputs(env, observations, np.array([0, np.nan]))) == [
        "a reward is not finite",
        "observation 0 is 5.0 outside its bounds",
    ]
    env.close()


def test_every_domain_with_invariants_of_its_own_is_watched():
    names = {
        row.id: states_of(row.id)[1].dtype.names for row in TABLE if row.id not in WITHOUT_STATES
    }
    for field in CHECKS:
        # Of one environment, whatever its versions.
        watched = {row.split("-v")[0] for row, fields in names.items() if field in fields}
        assert len(watched) == 1, field


def test_figures_are_sums_over_modes():
    watches = [soak("wm/TMaze-v0", mode, 0.0, FAST, 0) for mode in MODES]
    assert (
        summarise(watches)["wm/TMaze-v0"]["num_steps"]
        == sum(watch.num_steps for watch in watches)
        > 0
    )


def test_the_report_adds_up():
    rows = [
        {"promise": "kills", "subject": "a", "tried": 20, "failed": 0, "runs": 9},
        {"promise": "kills", "subject": "b", "tried": 20, "failed": 1},
        {"promise": "flips", "subject": "a", "tried": 1000, "failed": 0},
    ]
    sums = by_promise(rows)
    assert sums["kills"] == {
        "tried": 40,
        "failed": 1,
        "subjects": {"a": {"tried": 20, "failed": 0, "runs": 9}, "b": {"tried": 20, "failed": 1}},
    }
    assert [line.split()[-2:] for line in table(sums)[1:]] == [["1,000", "0"], ["40", "1"]]
