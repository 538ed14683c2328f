"""Copies of environments are environments.

By pickle, by deepcopy and from their spec, with the same future.
"""

import copy
import os
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest

from tests.reliability.environments import IDS, make, same

WAYS = {"pickle": lambda env: pickle.loads(pickle.dumps(env)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("env_id", IDS)
def test_a_copy_has_the_same_future(env_id, way, counted):
    num_wrong = 0
    for num_envs in (None, 2):
        env = make(env_id, num_envs)
        env.reset(seed=5)
        env.action_space.seed(5)
        actions = [env.action_space.sample() for _ in range(6)]
        _, _, terminated, truncated, _ = env.step(actions[0])
        if num_envs is None and (terminated or truncated):
            env.reset()
        twin = WAYS[way](env)
        for action in actions[1:3]:
            one, other = env.step(action), twin.step(action)
            num_wrong += not same(one, other)
            if num_envs is None and (one[2] or one[3]):
                break
        num_wrong += env.unwrapped.clone_state().tobytes() != twin.unwrapped.clone_state().tobytes()
        env.close()
        twin.close()
        twin.close()
    counted(f"a copy by {way} has the same future", env_id, tried=2, failed=num_wrong)
    assert num_wrong == 0


@pytest.mark.parametrize("env_id", IDS)
def test_a_spec_makes_the_environment_again(env_id):
    env = make(env_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = gym.make(
            gym.envs.registration.EnvSpec.from_json(env.spec.to_json()), disable_env_checker=True
        )
    one, other = env.reset(seed=2)[0], twin.reset(seed=2)[0]
    assert np.array_equal(one, other)
    assert twin.action_space == env.action_space
    env.close()
    twin.close()


def num_open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files by /proc")
def test_makes_and_closes_leave_no_file_open(is_long, counted):
    num_times = 1000 if is_long else 20
    for env_id in ("wm/TMaze-v0", "wm/Driving-v0", "wm/UNResolution-v0", "wm/Debate-v0"):
        make(env_id, 2).close()
        before = num_open_files()
        for _ in range(num_times):
            env = make(env_id, 2)
            env.reset(seed=1)
            env.close()
        left = num_open_files() - before
        counted("makes and closes, no file left open", env_id, tried=num_times, failed=max(left, 0))
        assert left <= 0
