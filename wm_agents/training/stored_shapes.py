"""Reads configurations of files, and checks that they agree with the tensors, before anything is built."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import gymnasium as gym
from torch import Tensor, nn

from wm_agents.errors import CheckpointError, ConfigError
from wm_envs.data.spaces import space_from_json


@contextlib.contextmanager
def reading_description(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Around the lines that build something from a file.

    Whatever goes wrong is a CheckpointError that names the file: what a foreign description leads
    to has no bounds.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not describe {what}: {error}") from error
    except Exception as error:
        raise CheckpointError(f"{path} does not describe {what}: {error!r}") from error


def spaces_from(metadata: Mapping[str, Any]) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """The observation and action space that a file describes."""
    return (
        space_from_json(metadata["observation_space"]),
        space_from_json(metadata["action_space"]),
    )


def tensors_below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix and a dot, without these."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def own_id(env_id: Any) -> Any:
    """The id that a file names, unless making it would import a module that is not loaded.

    Files run no code.
    """
    module, colon, _ = str(env_id).rpartition(":")
    # `gym.make("module:id")` imports the module: a file of somebody else would choose what runs.
    if colon and module not in sys.modules:
        raise CheckpointError(
            f"the file names the environment {env_id!r}: import {module!r} first, or give env="
        )
    return env_id


def check_shapes(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the tensors have exactly the names and shapes of the model's.

    Args:
        model: Built under `torch.device("meta")`, where tensors have shapes and no memory.
        tensors: What the file holds.
    """
    described = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(described.keys() | stored.keys()):
        if described.get(name) != stored.get(name):
            raise CheckpointError(
                f"the configuration describes {name} of shape {described.get(name)}, the file "
                f"holds {stored.get(name)}"
            )


def config_from_json(config_class: type[Any], description: Mapping[str, Any]) -> Any:
    """A frozen configuration from its `asdict`.

    Lists become tuples and nested dataclasses are rebuilt. What a file of an earlier version does
    not say has its default.

    Raises:
        ConfigError: A setting that this version does not know; around it `reading_description`
            makes that an error of the file.
    """
    defaults = config_class()
    known = {field.name for field in fields(config_class)}
    values = {}
    for name, value in description.items():
        if name not in known:
            raise ConfigError(
                f"the file has {name}={str(value)[:60]}, which {config_class.__name__} of this "
                "version does not know"
            )
        default = getattr(defaults, name)
        # The default says of which class a nested configuration is; JSON does not.
        if is_dataclass(default):
            values[name] = config_from_json(type(default), value)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    # Fields that files of earlier versions lack take their defaults.
    return config_class(**values)


def check_counts(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where a configuration counts more parts than the tensors have numbers.

    Parts are what `num_members` and its like count.

    Lists, such as widths, have no more items than there are tensors.
    """
    # A billion layers named by a small file would be built before any shape is compared.
    most = sum(tensor.numel() for tensor in tensors.values())
    for name, value in config.items():
        is_count = name.startswith("num_")
        if (is_count and not 0 <= value <= most) or (
            isinstance(value, list) and len(value) > len(tensors)
        ):
            raise CheckpointError(
                f"the configuration has {name}={str(value)[:60]}, the file {len(tensors)} tensors "
                f"of {most} numbers"
            )


def check_spaces(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where the described spaces have more values than the tensors.

    Asked before a codec is built for them, which takes memory for each value.
    """
    most = sum(tensor.numel() for tensor in tensors.values())
    for name in ("observation_space", "action_space"):
        size = _num_values(metadata[name])
        if not 0 < size <= most:
            raise CheckpointError(
                f"the {name} has {size} values, the file {len(tensors)} tensors of {most} numbers"
            )


def _num_values(space: Mapping[str, Any]) -> int:
    """The length of a row of a space, from its description as JSON."""
    kind = space["type"]
    if kind == "discrete":
        return int(space["n"])
    if kind == "box":
        return math.prod(space["shape"])
    if kind == "multi_discrete":
        return int(_total(space["nvec"]))
    if kind == "multi_binary":
        return math.prod(space["n"]) if isinstance(space["n"], list) else int(space["n"])
    if kind == "dict":
        return sum(_num_values(part) for _, part in space["spaces"])
    return sum(_num_values(part) for part in space["spaces"])


def _total(numbers: Any) -> int:
    """The sum of nested lists of numbers."""
    return sum(map(_total, numbers)) if isinstance(numbers, list) else int(numbers)
