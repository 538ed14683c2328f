"""Steps per CPU-second of any environment, single or in a batch."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from wm_envs.data.options import check_integer
from wm_envs.data.specs import is_compiled

_CALLS = 64  # between two looks at the clock


def steps_per_cpu_second(
    env_id: str, num_envs: int | None = None, *, seconds: float = 1.0, seed: int = 0
) -> float:
    """Measure an environment under random actions that were drawn beforehand.

    CPU time of all threads counts, resets included; calls that only reset a row of a batch are no
    steps.

    Args:
        env_id: Any Gymnasium id.
        num_envs: Environments in a batch, in their compiled form where there is one; None measures
            a single environment.
        seconds: Of CPU time, after the first calls, in which code may be compiled.
        seed: Of environment and actions.

    Raises:
        OptionError: Fewer than one environment.
    """
    env: Any
    step: Callable[[Any, Any, Any], tuple[int, Any]] = _batch_step
    if num_envs is None:
        env = gym.make(env_id)
        step = _single_step
    else:
        num_envs = check_integer("num_envs", num_envs, 1)
        mode = None if is_compiled(env_id) else "sync"
        env = gym.make_vec(env_id, num_envs, vectorization_mode=mode)
    try:
        env.action_space.seed(seed)
        actions = itertools.cycle([env.action_space.sample() for _ in range(_CALLS)])
        env.reset(seed=seed)
        ended = np.zeros(num_envs or 1, np.bool_)
        for _ in range(3):
            _, ended = step(env, next(actions), ended)
        num_steps, began = 0, time.process_time()
        while (spent := time.process_time() - began) < seconds:
            for _ in range(_CALLS if num_envs is None else 1):
                num_new, ended = step(env, next(actions), ended)
                num_steps += num_new
        return num_steps / spent
    finally:
        env.close()


def _single_step(env: Any, action: Any, ended: Any) -> tuple[int, Any]:
    _, _, terminated, truncated, _ = env.step(action)
    if terminated or truncated:
        env.reset()
    return 1, ended


def _batch_step(env: Any, actions: Any, ended: Any) -> tuple[int, Any]:
    """One call; rows that ended before are only reset by it."""
    _, _, terminations, truncations, _ = env.step(actions)
    return int((~ended).sum()), terminations | truncations
