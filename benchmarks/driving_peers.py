"""Steps per CPU-second of race tracks by others.

They are EnvPool's in C++ and highway-env's in Python; `driving_speed` runs this module.

This file imports nothing of ours, so that it runs in a Python of its own, which has the peers
installed.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np

ENVPOOL_BATCH, ENVPOOL_CALLS, HIGHWAY_STEPS = 64, 200, 60


def envpool_turn(seed: int) -> dict[str, Any]:
    """EnvPool's race track, 64 environments on one thread."""
    import envpool

    env = envpool.make(
        "Racetrack-v0", env_type="gymnasium", num_envs=ENVPOOL_BATCH, num_threads=1, seed=seed
    )
    generator = np.random.default_rng(seed)
    space = env.action_space
    actions = generator.uniform(-0.3, 0.3, (16, ENVPOOL_BATCH, *space.shape)).astype(space.dtype)
    first, _ = env.reset()
    started, num_ended = time.process_time(), 0
    for call in range(ENVPOOL_CALLS):
        last, _, terminated, truncated, _ = env.step(actions[call % 16])
        num_ended += int((terminated | truncated).sum())
    seconds = time.process_time() - started
    assert not np.array_equal(first, last), "EnvPool's cars stood still"
    return {
        "steps_per_cpu_second": ENVPOOL_BATCH * ENVPOOL_CALLS / seconds,
        "num_episodes": num_ended,
    }


def highway_turn(seed: int) -> dict[str, Any]:
    """highway-env's race track, a single environment."""
    import gymnasium as gym
    import highway_env  # noqa: F401 - registers the ids

    env = gym.make("racetrack-v0")
    env.action_space.seed(seed)
    first, _ = env.reset(seed=seed)
    started, num_ended = time.process_time(), 0
    for _ in range(HIGHWAY_STEPS):
        last, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            num_ended += 1
            env.reset()
    seconds = time.process_time() - started
    assert not np.array_equal(first, last), "highway-env's car stood still"
    return {"steps_per_cpu_second": HIGHWAY_STEPS / seconds, "num_episodes": num_ended}


if __name__ == "__main__":
    turns = {
        "envpool": envpool_turn(int(sys.argv[1])),
        "highway-env": highway_turn(int(sys.argv[1])),
    }
    print(json.dumps({name: {**turn, "version": version(name)} for name, turn in turns.items()}))
