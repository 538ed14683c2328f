"""Time limits in the specifications of native environments.

These count their steps by themselves.
"""

import copy
from typing import Any

from gymnasium.envs.registration import EnvSpec, WrapperSpec

from wm_envs.data.options import UNLIMITED, as_integer

TAKE_LIMIT = WrapperSpec("take_limit", "wm_envs.environment:take_limit", {})


class OwnLimit(int):
    """A time limit that follows from the options, as specifications tell it.

    Whoever makes the environment anew with other options, such as a higher level, gets theirs.
    """


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
    is_given = not is_own(spec.kwargs.get("max_episode_steps"))
    completed.max_episode_steps = time_limit if is_given else OwnLimit(time_limit)
    if time_limit >= UNLIMITED:
        completed.max_episode_steps = None
    return completed


def is_own(max_episode_steps: Any) -> bool:
    """Whether this leaves the limit to the options, as None and the -1 of `gym.make` do."""
    is_left = max_episode_steps is None or isinstance(max_episode_steps, OwnLimit)
    return is_left or as_integer(max_episode_steps) == -1
