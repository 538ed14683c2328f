"""What is registered under an environment id."""

import importlib

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from wm_envs.data.errors import OptionError


def spec_of(env_id: str) -> EnvSpec:
    """What is registered under an id, which may name a module to import first: "wm_envs:wm/SequenceNext-v0".

    Raises:
        OptionError: There is no such module.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        _import(module)
    return gym.spec(name)


def is_compiled(env_id: str) -> bool:
    """Whether an id has a vector environment that steps a whole batch in compiled code, as those of `wm_envs` do."""
    entry_point = spec_of(env_id).vector_entry_point
    if entry_point is None:
        return False
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return bool(getattr(creator, "is_compiled", False))


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise OptionError(
            f"no module {module} to import: put its folder on PYTHONPATH, or install it"
        ) from error
