"""Compile environments ahead of time, so that the first episode need not wait for it.

Machine code is kept on disk (see `wm_envs.data.compiled`): once a machine has it, every program
starts in a moment.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from wm_envs import oracle
from wm_envs.errors import MissingExtraError, OptionError
from wm_envs.registration import TABLE

NUM_STEPS = 3


def compile_environments(
    env_ids: Sequence[str] | None = None,
    on_start: Callable[[str], None] | None = None,
) -> dict[str, float | None]:
    """Fill the cache of compiled code: single environments, batches, pictures, experts, the oracle.

    Args:
        env_ids: Ids of ours; None takes all.
        on_start: Called with each id before it is compiled.

    Returns:
        Id -> seconds; None for an id whose extra is not installed.

    Raises:
        OptionError: An id that is not one of ours; nothing was compiled.
    """
    known = [row.id for row in TABLE]
    if unknown := [env_id for env_id in env_ids or () if env_id not in known]:
        raise OptionError(f"no environment {', '.join(unknown)}: `wm envs` lists the ids")
    seconds: dict[str, float | None] = {}
    for env_id in known if env_ids is None else env_ids:
        if on_start is not None:
            on_start(env_id)
        began = time.perf_counter()
        try:
            _use(env_id)
        except MissingExtraError:
            seconds[env_id] = None
        else:
            seconds[env_id] = time.perf_counter() - began
    return seconds


def _use(env_id: str) -> None:
    """Call everything of an environment that is compiled when it is first called."""
    env: Any = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    states = None
    if hasattr(env.unwrapped, "clone_state"):
        states = env.unwrapped.clone_state()
    env.action_space.seed(0)
    actions = np.stack([env.action_space.sample() for _ in range(NUM_STEPS)])
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    env.render()
    env.close()
    envs: Any = gym.make_vec(env_id, 2)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(NUM_STEPS):
        envs.step(envs.action_space.sample())
    if hasattr(envs, "expert_actions"):
        with contextlib.suppress(MissingExtraError):  # the expert alone may need more
            envs.expert_actions()
    envs.close()
    if states is not None:
        with contextlib.suppress(OptionError):  # the oracle has no rules of the original Pong
            oracle.rollout(env_id, np.stack([states]), actions[None])
