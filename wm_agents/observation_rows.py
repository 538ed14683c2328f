"""Observations of any space as checked rows of a batch: a thin layer on `ObservationCodec`."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import SpaceError
from wm_envs.data.display import span
from wm_envs.data.spaces import ObservationCodec

Array = NDArray[Any]


def observation_rows(observation: Any, space: gym.Space[Any]) -> tuple[Array, bool]:
    """One observation, or a batch of them, as [B, ...], and whether there was but one.

    Rows have the shape of a Box or Discrete space; those of any other space are encoded [B, O].
    Arrays, tensors and nested lists of numbers are taken. Bounds of a Box are not enforced, since
    rounding crosses them.

    Raises:
        SpaceError: What is no observation of this space: not numbers, of another shape, not finite,
            an index outside a Discrete space, or no rows at all.
    """
    if not isinstance(space, spaces.Box | spaces.Discrete):
        return encoded_rows(observation, space)
    array = number_array(observation, f"an observation of {space}")
    is_single = _is_single(array, space)
    rows = array[None] if is_single else array
    if isinstance(space, spaces.Discrete):
        return _indices(rows, space), is_single
    require_finite_rows(rows)
    return rows, is_single


def encoded_rows(
    observation: Any, space: gym.Space[Any] | ObservationCodec
) -> tuple[NDArray[np.float32], bool]:
    """Observations of any space as network inputs [B, O], and whether there was but one.

    Args:
        observation: One value of the space, or a batch as a vector environment gives it.
        space: The space, or its codec where there is one already.

    Raises:
        SpaceError: See `observation_rows`, and a space that no codec serves.
    """
    codec = space if isinstance(space, ObservationCodec) else ObservationCodec(space)
    space = codec.space
    if isinstance(space, spaces.Box | spaces.Discrete):
        rows, is_single = observation_rows(observation, space)
        if isinstance(space, spaces.Discrete):
            return np.eye(int(space.n), dtype=np.float32)[rows - int(space.start)], is_single
        return rows.reshape(len(rows), -1).astype(np.float32), is_single
    values = _arrays(observation)
    is_single = _is_single(*_first_leaf(values, space))
    encoded = codec.encode_one(values) if is_single else codec.encode(values)
    rows = encoded[None] if is_single else encoded
    require_finite_rows(rows)
    return rows, is_single


def _is_single(array: Array, space: gym.Space[Any]) -> bool:
    """Whether an array is one value of a leaf of a space, and not a batch of at least one."""
    shape = space.shape or ()
    if array.shape == shape:
        return True
    expected = f"expected an observation of shape {shape} or a batch of them"
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise SpaceError(f"{expected}, as of {space}, got shape {array.shape}")
    if not len(array):
        raise SpaceError(f"{expected}, got a batch without rows")
    return False


def _first_leaf(value: Any, space: gym.Space[Any]) -> tuple[Array, gym.Space[Any]]:
    """The first array of a nested observation with its space: all others are of as many rows."""
    whole = space
    while isinstance(space, spaces.Dict | spaces.Tuple):
        key: Any = 0
        if isinstance(space, spaces.Dict):
            key = next(iter(space.spaces))
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise SpaceError(
                f"expected an observation of {whole}, got {type(value).__name__} without {key!r}"
            ) from error
        space = space[key]
    return number_array(value, f"an observation of {whole}"), space


def _arrays(value: Any) -> Any:
    """A nested observation with arrays in the place of tensors."""
    if isinstance(value, Mapping):
        return {key: _arrays(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_arrays(part) for part in value)
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def raw_spaces(model: Any) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """The observation and action space of the environment that a model imagines.

    A model that works on rows of a codec names them beside the spaces of these rows.
    """
    observations = getattr(model, "raw_observation_space", model.observation_space)
    return observations, getattr(model, "raw_action_space", model.action_space)


def number_array(values: Any, expected: str) -> Array:
    """An array of real numbers, from an array, a tensor or nested lists.

    Raises SpaceError for anything else.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if isinstance(values, tuple) and len(values) == 2 and isinstance(values[1], dict):
        raise SpaceError(
            f"expected {expected}, got the pair (observation, info) of reset(): pass its first part"
        )
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise SpaceError(f"expected {expected}, got rows of unequal length: {error}") from error
    if array.dtype.kind not in "fiub":
        what = type(values).__name__ if array.dtype.kind == "O" else f"values of type {array.dtype}"
        raise SpaceError(f"expected {expected}, got {what}: give an array of numbers")
    return array


def require_finite_rows(rows: Array) -> None:
    """Raise SpaceError for the first number [B, ...] that is not finite.

    Or would not be in float32.
    """
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(rows.astype(np.float32))
    if is_finite.all():
        return
    place = tuple(int(index) for index in np.argwhere(~is_finite)[0])
    raise SpaceError(
        f"the observation of row {place[0]} holds {rows[place]} at index {place[1:]}, which is not "
        "a finite number of "
        "32 bits: repair the environment or the data"
    )


def _indices(rows: Array, space: spaces.Discrete) -> NDArray[np.int64]:
    first, last = int(space.start), int(space.start + space.n) - 1
    is_index = (rows >= first) & (rows <= last) & (rows == np.floor(rows))
    if not is_index.all():
        raise SpaceError(
            f"expected whole numbers from {first} to {last}, as in {space}, got "
            f"{rows[~is_index][0]}"
        )
    return rows.astype(np.int64)


def float_tensor(values: Any, expected: str = "numbers") -> Tensor:
    """A tensor as it is, anything else that holds numbers as float32.

    Raises SpaceError for what holds none.
    """
    if isinstance(values, Tensor):
        return values
    return torch.as_tensor(
        np.ascontiguousarray(number_array(values, expected)), dtype=torch.float32
    )


def action_tensor(actions: Any, space: gym.Space[Any], device: torch.device) -> Tensor:
    """Actions as a model reads them, int64 for a Discrete space; tensors keep their type.

    Raises:
        SpaceError: Not numbers.
    """
    if isinstance(actions, Tensor):
        return actions.to(device)
    array = np.ascontiguousarray(number_array(actions, f"actions of {space}"))
    if isinstance(space, spaces.Discrete) and not np.all(array == np.floor(array)):  # NaN, too
        raise SpaceError(f"expected actions of {space}, got {array.ravel()[:4].tolist()}")
    dtype = torch.int64 if isinstance(space, spaces.Discrete) else torch.float32
    return torch.as_tensor(array, dtype=dtype, device=device)


def check_actions(actions: Tensor, space: gym.Space[Any], num_axes: int) -> None:
    """Refuse actions that are none of a model's, `num_axes` axes before those of one action.

    Raises:
        SpaceError: Another shape, or a number that a Discrete space does not have.
    """
    if not isinstance(space, spaces.Box | spaces.Discrete) or len(space.shape or ()) > 1:
        return
    expected = tuple(space.shape or ())
    if tuple(actions.shape[num_axes:]) != expected:
        axes = ", ".join(["B", "H"][:num_axes] + [str(size) for size in expected])
        raise SpaceError(f"expected actions [{axes}] of {space}, got shape {tuple(actions.shape)}")
    # On other devices looking would mean waiting for each step.
    if isinstance(space, spaces.Discrete) and actions.device.type == "cpu" and actions.numel():
        low, high = int(actions.min()), int(actions.max())
        if low < space.start or high >= space.start + space.n:
            raise SpaceError(f"expected actions of {space}, got {span(low, high)}")


def episode_starts(episode_start: Any, num_rows: int) -> NDArray[np.bool_]:
    """Which rows [B] start an episode; None is no row, and a single truth value is said of all.

    Raises:
        SpaceError: It speaks of another number of rows.
    """
    starts = np.asarray(False if episode_start is None else episode_start, np.bool_)
    if starts.size not in (1, num_rows):
        raise SpaceError(
            f"episode_start says something of {starts.size} episodes, but there are {num_rows} "
            "observations: give one value for each"
        )
    return np.broadcast_to(starts.reshape(-1), (num_rows,))


def observation_tensor(observations: Any, size: int, device: torch.device) -> Tensor:
    """Observations as a model reads them, float32 [B, O].

    Raises:
        SpaceError: Not numbers, of another shape, or not finite.
    """
    expected = f"observations [B, {size}]"
    rows = float_tensor(observations, expected).to(device, torch.float32)
    if rows.ndim != 2 or rows.shape[1] != size:
        raise SpaceError(f"expected {expected}, got shape {tuple(rows.shape)}")
    if not bool(rows.isfinite().all()):
        row = int((~rows.isfinite().all(1)).nonzero()[0])
        raise SpaceError(
            f"expected {expected} of finite numbers, got {rows[row].tolist()} in row {row}"
        )
    return rows
