"""One vector environment in one autoreset mode, and the main trace that all checks judge or vary."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from wm_envs.testing.trace import Array, Recorder

OTHER_SEED = 1000  # far from the seeds of the rows


@dataclass
class Trial:
    """A vector environment in one mode, with the seed and the actions that every trace uses."""

    env: VectorEnv[Any, Any, Any]
    mode: AutoresetMode
    num_envs: int
    num_steps: int
    seed: int
    make_single: Callable[[], gym.Env[Any, Any]] | None
    actions: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.actions = self.draw_actions(self.seed)

    def draw_actions(self, seed: int) -> list[Any]:
        """Batches of random actions."""
        space = copy.deepcopy(self.env.action_space)
        space.seed(seed)
        return [space.sample() for _ in range(self.num_steps)]

    def recorder(self) -> Recorder:
        """A new trace of the same environment."""
        return Recorder(self.env, self.mode)

    @cached_property
    def trace(self) -> Recorder:
        """The main trace: a seeded reset and all actions."""
        return self.recorder().reset(self.seed).steps(self.actions)

    @property
    def num_episodes(self) -> Array:
        """Episodes that ended in the main trace, by row [B]."""
        return np.sum([moment.ended for moment in self.trace.moments], axis=0)
