"""Vector environments from what users pass as `env`: an id, an environment, a maker or a vector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

from wm_agents.errors import ConfigError, SpaceError
from wm_envs.data.specs import spec_of

VectorEnvMaker = Callable[[int], VectorEnv[Any, Any, Any]]
"""A function from a number of rows to a vector environment."""


@dataclass(frozen=True)
class _Remaker:
    """Makes vector environments; a class and no closure, so that an agent can be pickled."""

    environment: str | EnvSpec
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, num_envs: int) -> VectorEnv[Any, Any, Any]:
        """A native batch where the id has one, else single environments in turn."""
        return gym.make_vec(self.environment, num_envs, **self.options)


def environment_maker(
    environment: str | gym.Env[Any, Any] | VectorEnvMaker,
    options: Mapping[str, Any],
    num_seeds: int = 1,
) -> VectorEnvMaker:
    """A function from a number of rows to a vector environment, as episodes are collected from it.

    Several stacked seeds need a seed for each row. Where a native batch takes one number only, as
    that of Gymnasium's CartPole does, single environments are stepped in its place.

    Args:
        environment: An id, an environment made by `gym.make`, or such a function.
        options: Of the environment.
        num_seeds: How many seeds are stacked.

    Raises:
        ConfigError: Options beside a function.
        SpaceError: An environment that cannot be made again, or a function's that refuses a seed
            for each row.
    """
    if callable(environment):
        if options:
            raise ConfigError(
                f"a function of num_envs takes no options, got {dict(options)}: set them inside it"
            )
        if num_seeds > 1 and not _takes_row_seeds(environment):
            raise SpaceError(
                "reset() of this vector environment refuses a list of seeds, which "
                f"num_seeds={num_seeds} needs: give a SyncVectorEnv of single environments, or "
                "num_seeds=1"
            )
        return environment
    if isinstance(environment, VectorEnv):
        raise SpaceError(
            "a ready vector environment has its number of rows: give a function of num_envs that "
            "makes one, such as lambda num_envs: gym.make_vec(id, num_envs), or the id"
        )
    if isinstance(environment, gym.Env):
        made_from: str | EnvSpec = specification_of(environment)
    else:
        made_from = environment
    options = _with_mode(made_from, options)
    make = _Remaker(made_from, dict(options))
    if num_seeds == 1 or _takes_row_seeds(make):
        return make
    return _Remaker(made_from, {**options, "vectorization_mode": "sync"})


def same_step_envs(
    environment: str | EnvSpec, num_envs: int, options: Mapping[str, Any]
) -> VectorEnv[Any, Any, Any]:
    """A vector environment that resets ended rows within the step, so that no step is idle.

    A native batch where it has this mode, which Gymnasium's CartPole has not, else single
    environments that are stepped in turn.
    """
    mode = AutoresetMode.SAME_STEP
    options = _with_mode(environment, options)
    spec = spec_of(environment) if isinstance(environment, str) else environment
    is_native = spec.vector_entry_point is not None
    if is_native and options.get("vectorization_mode") != "sync":
        try:
            return gym.make_vec(environment, num_envs, **options, autoreset_mode=mode)
        except (gym.error.Error, TypeError):
            pass  # It takes no such option.
    single = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    return gym.make_vec(environment, num_envs, **{**options, **single})


def specification_of(environment: gym.Env[Any, Any]) -> EnvSpec:
    """The time limit and the wrappers that `gym.make` would make an environment of anew.

    Raises:
        SpaceError: The environment was made otherwise.
    """
    if environment.spec is None:
        raise SpaceError(
            "this environment was not made by gym.make: give its id or a function of num_envs "
            "instead"
        )
    return environment.spec


def _with_mode(environment: str | EnvSpec, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options, with single environments where there are wrappers: a native batch wears none."""
    if isinstance(environment, EnvSpec) and environment.additional_wrappers:
        return {"vectorization_mode": "sync", **options}
    return options


def _takes_row_seeds(maker: VectorEnvMaker) -> bool:
    environment = maker(1)
    try:
        environment.reset(seed=[0])  # type: ignore[arg-type]
    except (gym.error.Error, TypeError, ValueError):
        return False
    finally:
        environment.close()
    return True
