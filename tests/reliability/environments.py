"""All ids, made without the warnings of Gymnasium's checkers."""

import warnings

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from wm_envs.registration import TABLE

IDS = [row.id for row in TABLE]


def make(env_id, num_envs=None, **options):
    """One environment, or a batch of them.

    The test is skipped where what the id needs is not installed.
    """
    if env_id == "wm/PongAtari-v0":
        pytest.importorskip("ale_py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if num_envs is None:
            return gym.make(env_id, disable_env_checker=True, **options)
        return gym.make_vec(env_id, num_envs, **options)


def same(one, other):
    """Whether two steps gave the same observations, rewards and ends."""
    return all(np.array_equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))
