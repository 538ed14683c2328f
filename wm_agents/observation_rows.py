"""What somebody hands to an agent or a model as an observation, checked and as rows of a batch."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import SpaceError
from wm_envs.data.spaces import ObservationCodec

Array = NDArray[Any]


def observation_rows(observation: Any, space: gym.Space[Any]) -> tuple[Array, bool]:
    """One observation, or a batch of them, as [B, ...] in the shape of the space, and whether there was but one.

    Arrays, tensors and nested lists of numbers are taken. Bounds of a Box are not enforced, since
    rounding crosses them.

    Raises:
        SpaceError: What is no observation of this space: not numbers, of another shape, not finite,
            an index outside a Discrete space, or no rows at all.
    """
    array = number_array(observation, f"an observation of {space}")
    shape = space.shape or ()
    is_single = array.shape == shape
    is_batch = array.ndim == len(shape) + 1 and array.shape[1:] == shape
    if not is_single and not is_batch:
        raise SpaceError(
            f"expected an observation of shape {shape} or a batch of them, as of {space}, got shape {array.shape}"
        )
    rows = array[None] if is_single else array
    if not len(rows):
        raise SpaceError(
            f"expected an observation of shape {shape} or a batch of them, got a batch without rows"
        )
    if isinstance(space, spaces.Discrete):
        return _indices(rows, space), is_single
    require_finite_rows(rows)
    return rows, is_single


def encoded_rows(observation: Any, space: gym.Space[Any]) -> tuple[NDArray[np.float32], bool]:
    """Observations as network inputs [B, O], a Box flattened and a Discrete as one-hots, and whether there was but one.

    Raises:
        SpaceError: See `observation_rows`.
    """
    if not isinstance(space, spaces.Box | spaces.Discrete):
        return _coded_rows(observation, space)
    rows, is_single = observation_rows(observation, space)
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[rows - int(space.start)], is_single
    return rows.reshape(len(rows), -1).astype(np.float32), is_single


def _coded_rows(observation: Any, space: gym.Space[Any]) -> tuple[NDArray[np.float32], bool]:
    """The same for the spaces that hold several choices or parts."""
    codec = ObservationCodec(space)
    first_leaf: Any = space
    value = observation
    while isinstance(first_leaf, spaces.Dict | spaces.Tuple):
        key: Any = next(iter(first_leaf.spaces)) if isinstance(first_leaf, spaces.Dict) else 0
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise SpaceError(
                f"expected an observation of {space} or a batch of them, got "
                f"{type(observation).__name__} without {key!r}"
            ) from error
        first_leaf = first_leaf.spaces[key]
    is_single = np.ndim(value) == len(first_leaf.shape or ())
    rows = codec.encode_one(observation)[None] if is_single else codec.encode(observation)
    if not len(rows):
        raise SpaceError(f"expected an observation of {space} or a batch of them, got no rows")
    require_finite_rows(rows)
    return rows, is_single


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
    """Raise SpaceError for the first number [B, ...] that is not finite, or would not be in float32."""
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(rows.astype(np.float32))
    if is_finite.all():
        return
    place = tuple(int(index) for index in np.argwhere(~is_finite)[0])
    raise SpaceError(
        f"the observation of row {place[0]} holds {rows[place]} at index {place[1:]}, which is not a finite number of "
        "32 bits: repair the environment or the data"
    )


def _indices(rows: Array, space: spaces.Discrete) -> NDArray[np.int64]:
    first, last = int(space.start), int(space.start + space.n) - 1
    is_index = (rows >= first) & (rows <= last) & (rows == np.floor(rows))
    if not is_index.all():
        raise SpaceError(
            f"expected whole numbers from {first} to {last}, as in {space}, got {rows[~is_index][0]}"
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
    dtype = torch.int64 if isinstance(space, spaces.Discrete) else torch.float32
    return torch.as_tensor(array, dtype=dtype, device=device)


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
