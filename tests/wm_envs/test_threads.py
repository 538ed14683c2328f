"""A batch with threads goes on in a forked child, and after a pickle."""

import os
import pickle
import signal
import sys
import time

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from wm_envs.testing.trace import difference

ENV_ID = "wm/TMaze-v0"


def made(num_threads):
    env = gym.make_vec(ENV_ID, 5, num_threads=num_threads)
    env.reset(seed=0)
    return env


def in_a_fork(function):
    """The exit status of a child that calls the function: 0 where it gave True; 9 where it hung."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if function() else 2
        finally:
            os._exit(status)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 9


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_steps_with_threads_of_its_own():
    env, reference = made(3), made(1)
    actions = np.zeros(5, np.int64)
    env.step(actions)
    reference.step(actions)
    expected = reference.step(actions)

    def step_and_close():
        is_equal = difference(env.step(actions), expected) is None
        env.close()
        return is_equal

    assert in_a_fork(step_and_close) == 0
    assert in_a_fork(lambda: in_a_fork(step_and_close) == 0) == 0
    assert difference(env.step(actions), expected) is None
    env.close()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_may_close_a_batch_that_the_parent_goes_on_with():
    env = made(2)
    env.step(np.zeros(5, np.int64))

    def close():
        env.close()
        return True

    assert in_a_fork(close) == 0
    env.step(np.zeros(5, np.int64))
    env.close()


def test_a_pickled_batch_goes_on_with_threads():
    env = made(2)
    env.step(np.zeros(5, np.int64))
    copy = pickle.loads(pickle.dumps(env))
    assert difference(env.step(np.ones(5, np.int64)), copy.step(np.ones(5, np.int64))) is None
    env.close()
    copy.close()
