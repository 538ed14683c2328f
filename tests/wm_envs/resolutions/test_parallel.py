import warnings

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

pytest.importorskip("pettingzoo", reason="the extra pettingzoo is not installed")

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # PettingZoo's own tests import by its old names
    from pettingzoo.test import parallel_api_test

import wm_envs.resolutions
from wm_envs.errors import InvalidActionError, OptionError, StateError

NO_ACTION = 4


def test_the_api_test_passes():
    parallel_api_test(wm_envs.resolutions.parallel_env(), num_cycles=20)


def test_the_tally_is_what_all_countries_do():
    env = wm_envs.resolutions.parallel_env(consensus=False)
    observations, infos = env.reset(seed=1)
    assert len(env.agents) == 193
    num_initial = int(observations["FR"][5])
    assert sum(int(o[6]) for o in observations.values()) == num_initial
    while not observations["FR"][2]:
        mask = infos["FR"]["action_mask"]
        observations, _, _, _, infos = env.step(
            dict.fromkeys(env.agents, NO_ACTION if mask[NO_ACTION] else 1)
        )
    votes = {agent: 1 + place % 3 for place, agent in enumerate(env.agents)}
    votes["FR"] = NO_ACTION  # absent
    observations, _, _, _, infos = env.step(votes)
    assert observations["US"][10:13].sum() == 192
    assert infos["FR"]["invalid_action"]
    assert not infos["US"]["invalid_action"]
    _, rewards, terminations, _, infos = env.step(dict.fromkeys(env.agents, NO_ACTION))
    assert all(terminations.values())
    assert env.agents == []
    sign = 1.0 if observations["US"][10] > observations["US"][11] else -1.0
    assert {rewards[agent] for agent, o in observations.items() if o[6]} <= {sign}
    assert {rewards[agent] for agent, o in observations.items() if not o[6]} == {0.0}


def test_equal_seeds_give_equal_drafts_and_cosponsors_count():
    first, second = (wm_envs.resolutions.parallel_env(consensus=False) for _ in range(2))
    one, _ = first.reset(seed=5)
    two, _ = second.reset(seed=5)
    assert all(np.array_equal(one[agent], two[agent]) for agent in one)
    observations, *_ = first.step(dict.fromkeys(first.agents, 0))
    assert observations["FR"][5] == 193


def test_wrong_actions_and_options_are_refused():
    env = wm_envs.resolutions.parallel_env()
    env.reset(seed=0)
    with pytest.raises(InvalidActionError):
        env.step({**dict.fromkeys(env.agents, NO_ACTION), "FR": 7})
    with pytest.raises(OptionError):
        wm_envs.resolutions.parallel_env(speed=3)


def test_a_step_needs_a_reset_and_a_seed_is_a_number():
    env = wm_envs.resolutions.parallel_env()
    with pytest.raises(ResetNeeded):
        env.step({})
    for seed in (-1, 1.5):
        with pytest.raises(OptionError, match="seed"):
            env.reset(seed=seed)


def test_a_restored_state_has_the_same_future():
    env, other = (wm_envs.resolutions.parallel_env(consensus=False) for _ in range(2))
    env.reset(seed=4)
    env.step(dict.fromkeys(env.agents, NO_ACTION) | {"FR": 0})
    state = env.clone_state()
    restored = other.restore_state(state)
    assert restored["FR"][6] == 1
    np.testing.assert_array_equal(restored["US"], env._observations()["US"])
    actions = dict.fromkeys(env.agents, 1)
    ours, theirs = env.step(actions), other.step(actions)
    assert ours[1:4] == theirs[1:4]
    np.testing.assert_array_equal(ours[0]["FR"], theirs[0]["FR"])
    with pytest.raises(StateError):
        env.restore_state(state["table"])


def test_preferences_drift_between_committee_and_plenary():
    env = wm_envs.resolutions.parallel_env(
        consensus=False, reward_weights={"outcome": 0.0, "preference": 1.0}
    )
    observations, _ = env.reset(seed=0)
    rewards = {}
    while env.agents:
        stage = int(observations["FR"][:4].argmax())
        observations, received, *_ = env.step(
            dict.fromkeys(env.agents, (NO_ACTION, 1, 1, NO_ACTION)[stage])
        )
        rewards[stage] = np.array(list(received.values()))
    shifts = rewards[2] - rewards[1]
    assert 0.001 < abs(shifts[0]) < 1  # the standard deviation is .15
    np.testing.assert_allclose(shifts, shifts[0])  # it is the text that drifts, not a country


def test_actions_are_a_mapping_from_agents_and_may_be_arrays_without_axes():
    env = wm_envs.resolutions.parallel_env()
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match="mapping"):
        env.step([NO_ACTION] * 193)
    with pytest.raises(InvalidActionError, match="XX"):
        env.step({**dict.fromkeys(env.agents, NO_ACTION), "XX": NO_ACTION})
    observations, *_ = env.step(dict.fromkeys(env.agents, np.array(0)))
    assert observations["FR"][6] == 1
