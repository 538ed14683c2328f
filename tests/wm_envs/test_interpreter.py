"""Environments run in optimised interpreters, with warnings as errors, and in spawned processes."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401

ROOT = Path(__file__).parents[2]
PROGRAM = """
import gymnasium as gym, wm_envs
env = gym.make("wm/TMaze-v0")
print(env.reset(seed=0)[0].sum() + env.step(0)[0].sum())
batch = gym.make_vec("wm/TMaze-v0", 2, num_threads=2)
batch.reset(seed=0)
for wrong in (lambda: env.step(99), lambda: gym.make("wm/TMaze-v0", length=-1), lambda: batch.step([0, 99])):
    try:
        wrong()
    except ValueError as error:
        print(type(error).__name__)
"""


def output(*options):
    command = [sys.executable, *options, "-c", PROGRAM]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not run.stderr
    return run.stdout


@pytest.mark.parametrize("options", [("-O",), ("-W", "error::RuntimeWarning:wm_envs")])
def test_checks_hold_with_every_option_of_the_interpreter(options):
    assert output(*options) == output()


def step_batch(env, actions):
    return env.step(actions)[0]


def test_a_batch_goes_on_in_a_spawned_process():
    env = gym.make_vec("wm/TMaze-v0", 3, num_threads=2)
    env.reset(seed=0)
    actions = np.zeros(3, np.int64)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(step_batch, (env, actions))
    np.testing.assert_array_equal(there, env.step(actions)[0])
    env.close()
