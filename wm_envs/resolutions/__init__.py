"""Resolutions of the United Nations General Assembly.

Records, a calibrated generator, and environments on both.
"""

from typing import Any


def parallel_env(**options: Any) -> Any:
    """A PettingZoo parallel environment in which every country has a seat.

    Needs the extra `pettingzoo`.

    Args:
        options: Of `wm_envs.resolutions.parallel.UNResolutionParallelEnv`: source, consensus,
            reward_weights, render_mode.

    Raises:
        MissingExtraError: PettingZoo is not installed.
        OptionError: An option that does not exist or is out of range.
    """
    from wm_envs.resolutions.parallel import make

    return make(**options)
