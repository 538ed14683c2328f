"""Time limits in the specifications of native environments, which count their steps by themselves."""

import copy
from typing import Any

from gymnasium.envs.registration import EnvSpec, WrapperSpec

from wm_envs.options import UNLIMITED

TAKE_LIMIT = WrapperSpec("take_limit", "wm_envs.environment:take_limit", {})


class LimitedByEnv(tuple[WrapperSpec, ...]):
    """The additional wrappers of a specification whose environment keeps the time limit by itself.

    `gym.make(id, max_episode_steps=n)` does not tell the environment of n: it puts its TimeLimit
    around it, whose count no clone holds, and which cannot allow more steps than the environment
    does. Afterwards it puts on the wrappers of the specification, from the first that is not there
    yet. At that place `take_limit` stands before them, which hands n to the environment. It is not
    counted, since it leaves no wrapper behind and `gym.make_vec` makes no native batch of a
    specification with wrappers.
    """

    def __getitem__(self, index: Any) -> Any:
        """One or some of the wrappers; all of them are preceded by `take_limit`."""
        if index == slice(0, None):
            return (TAKE_LIMIT, *self)
        return super().__getitem__(index)

    def __add__(self, others: Any) -> "LimitedByEnv":
        """With further wrappers, as `gym.Wrapper.spec` adds its own."""
        return LimitedByEnv((*self, *others))


def with_limit(spec: EnvSpec | None, time_limit: int) -> EnvSpec | None:
    """A copy of a specification that tells the time limit of the environment that was made from it.

    Gymnasium leaves it out where it follows from the options.
    """
    if spec is None:
        return None
    completed = copy.copy(spec)
    completed.max_episode_steps = None if time_limit >= UNLIMITED else time_limit
    return completed
