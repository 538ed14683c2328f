"""Debate.

Seven tendencies stake observations of a person for and against each other's claims, and influence
shifts.
"""

from typing import Any


def parallel_env(**options: Any) -> Any:
    """The PettingZoo parallel environment with seven seats.

    Options as for `wm/Debate-v0`, without `seat`.
    """
    from wm_envs.debate.parallel import DebateParallelEnv

    return DebateParallelEnv(**options)
