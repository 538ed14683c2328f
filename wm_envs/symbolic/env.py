"""Stub."""

import numpy as np
from gymnasium import spaces

from wm_envs.environment import Field, KernelEnv, KernelVectorEnv, Rules, make_one_step_env
from wm_envs.symbolic import dynamics


class PatternEchoEnv(KernelEnv):
    """Name the shown symbol."""

    @classmethod
    def rules(cls, *, level: int = 1, time_limit: int = 1) -> Rules:
        p = np.zeros(1, dynamics.PARAMETERS)
        p["task"] = dynamics.PATTERN_ECHO
        p["num_symbols"] = 8
        p["time_limit"] = time_limit
        p["goal_weight"] = 1.0
        return Rules(
            tuple(Field(f"symbol {i}", "1", 0, 1, "") for i in range(8)),
            spaces.Discrete(8),
            dynamics.REWARD_COMPONENTS,
            dynamics.STATE,
            dynamics.OUTCOME,
            p,
            dynamics.reset_rows,
            dynamics.step_rows,
            dynamics.observe_rows,
        )


class PatternEchoVectorEnv(KernelVectorEnv):
    """Vector."""

    env_class = PatternEchoEnv


def make_pattern_echo(**options):
    return make_one_step_env(PatternEchoEnv, **options)
