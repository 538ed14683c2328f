"""Hashes of fixed trajectories; `python tests/wm_envs/golden_trajectories.py --write` stores them in golden.json.

A changed hash is a changed behaviour: it needs a new -vN id, a Version History line, and only then
a new hash.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import wm_envs  # noqa: F401  (registers the ids)
from wm_envs.registration import TABLE

FILE = Path(__file__).with_name("golden.json")
NUM_STEPS = 40
SEEDS = (0, 1, 2)
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("wm/SequenceNext-v0", {"resample": True, "level": 3}),
    ("wm/SequenceNext-v0", {"with_replacement": True, "time_limit": 8, "instance": 5}),
    ("wm/Conditional-v0", {"level": 3, "time_limit": 10, "instance": 1}),
    ("wm/Navigation-v0", {"level": 2}),
    ("wm/DelayedMatch-v0", {"delay": 3}),
    ("wm/RuleRecall-v0", {"level": 2, "max_level_spaces": True}),
    ("wm/TMaze-v0", {"reveal": True}),
    ("wm/PermPuzzle-v0", {"level": 2, "instance": 3}),
    ("wm/LightsOut-v0", {"level": 2, "instance": 3}),
    ("wm/TokenAutomaton-v0", {"level": 2, "instance": 3}),
    (
        "wm/UNResolution-v0",
        {"country": "US", "consensus": False, "reward_weights": {"preference": 0.5}},
    ),
    ("wm/UNResolution-v0", {"transitions": 3}),
    ("wm/Pong-v0", {"repeat_action_probability": 0.25, "directions": True, "frame_skip": 16}),
    (
        "wm/Debate-v0",
        {
            "seat": None,
            "rivals": "advocate",
            "num_rounds": 4,
            "budget": 1.0,
            "min_allocation": 0.09,
        },
    ),
    (
        "wm/Driving-v0",
        {
            "track": "figure_eight",
            "observation": "extended",
            "normalize": False,
            "start_speed": 40.0,
        },
    ),
    (
        "wm/Driving-v0",
        {"track": "random", "track_seed": 3, "random_start": False, "grip_scale": 0.6, "laps": 1},
    ),
)
# The original plays the games of its copy, as its own tests say, and needs what is not always
# installed.
WITHOUT = ("wm/PongAtari-v0",)


def hashes() -> dict[str, str]:
    """Name of a trajectory -> its hash."""
    trajectories = [*((row.id, {}) for row in TABLE if row.id not in WITHOUT), *VARIANTS]
    return {
        f"{env_id} {json.dumps(options)}": trajectory_hash(env_id, options)
        for env_id, options in trajectories
    }


def trajectory_hash(env_id: str, options: dict[str, Any]) -> str:
    """SHA-256 over observations, rewards and ends of three seeds, with actions that need no random generator."""
    env = gym.make(env_id, **options)
    digest = sha256()
    for seed in SEEDS:
        observation, _ = env.reset(seed=seed)
        digest.update(observation.tobytes())
        for step in range(NUM_STEPS):
            observation, reward, terminated, truncated, _ = env.step(
                fixed_action(env.action_space, seed, step)
            )
            digest.update(
                observation.tobytes()
                + np.array([reward, terminated, truncated], np.float64).tobytes()
            )
            if terminated or truncated:
                digest.update(env.reset()[0].tobytes())
    return digest.hexdigest()


def fixed_action(space: gym.Space[Any], seed: int, step: int) -> Any:
    """Some action, the same for ever."""
    if isinstance(space, gym.spaces.Discrete):
        return (7 * step + 3 * seed + step * step // 3) % int(space.n)
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)  # type: ignore[attr-defined]
    share = ((7 * step + 3 * seed) % 11) / 10.0
    return low + share * (high - low)


if __name__ == "__main__":
    text = json.dumps(hashes(), indent=2) + "\n"
    if "--write" in sys.argv:
        FILE.write_text(text)
    else:
        print(text)
