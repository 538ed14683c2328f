"""Any Gymnasium space as rows of numbers and back: the one codec of observations and actions.

A space is a tree whose leaves are Box, Discrete, MultiDiscrete and MultiBinary, and whose inner
nodes are Dict and Tuple. `ObservationCodec` lays the leaves side by side in one float32 row.
`ActionCodec` gives every learner one of two kinds of action: an index (Discrete) where the actions
can be counted, else a vector (one-dimensional Box). Batches have the form in which Gymnasium's
vector environments give and take them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wm_envs.data.errors import SpaceError

Array = NDArray[Any]
Path = tuple[str | int, ...]
Leaf = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary

MAX_JOINT_ACTIONS = 4096
"""Up to so many combinations of counted actions are numbered as one Discrete.

More become a vector of scores.
"""


@dataclass(frozen=True)
class ColumnGroup:
    """Columns of a row that belong together, because they describe one leaf of the space or one choice in it.

    Attributes:
        name: Where the leaf is in the space, such as "arm.0"; empty where the space is a single
            leaf.
        start: The first column.
        stop: One past the last column.
        kind: "number" (a Box), "one_hot" (one choice of a Discrete or MultiDiscrete) or "binary" (a
            MultiBinary).
    """

    name: str
    start: int
    stop: int
    kind: str


class ObservationCodec:
    """Observations of any space as float32 rows [N, O] and back.

    Box and MultiBinary leaves are flattened, each choice of a Discrete or MultiDiscrete leaf is a
    one-hot. Leaves stand in the order of the space (Dict in the order of its keys).

    Args:
        space: Built from Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple.
        role: What the values are, for messages.

    Attributes:
        space: As given.
        size: O, the length of a row.
        groups: The columns' meaning.
        row_space: The space of a row: `space` itself where it is Discrete or a one-dimensional Box,
            else a Box (O,).

    Raises:
        SpaceError: A space of another kind; the message names the leaf.
    """

    def __init__(self, space: gym.Space[Any], role: str = "observation") -> None:
        self.space = space
        self.role = role
        self._leaves = list(_leaves(space, (), role))
        self.groups = tuple(_groups(self._leaves))
        self.size = self.groups[-1].stop if self.groups else 0
        if self.size == 0:
            raise SpaceError(f"{role}s of {space} hold no numbers: give the space at least one")
        self.row_space = self._row_space()

    @property
    def is_identity(self) -> bool:
        """Whether rows are the values themselves, but for their type: a one-dimensional Box."""
        return isinstance(self.space, spaces.Box) and len(self.space.shape) == 1

    def encode(self, values: Any, num_rows: int | None = None) -> NDArray[np.float32]:
        """Rows [N, O] of a batch; always a copy.

        Args:
            values: N values as a vector environment gives them: an array [N, ...], or a dict or
                tuple of such arrays.
            num_rows: N where it is known, to be checked.

        Raises:
            SpaceError: The batch is not of this space.
        """
        parts = []
        for path, leaf in self._leaves:
            array = _as_array(_at(values, path, self.role), path, self.role)
            rows = len(array) if num_rows is None and array.ndim else num_rows
            if rows is None or array.shape != (rows, *_shape(leaf)):
                raise SpaceError(
                    f"{_named(self.role, path)}: expected an array of shape (N, *{_shape(leaf)}) for {leaf}, "
                    f"got {array.shape}"
                )
            num_rows = rows
            parts.append(_encode_leaf(leaf, array, _named(self.role, path)))
        return np.concatenate(parts, 1) if len(parts) > 1 else np.array(parts[0], np.float32)

    def encode_one(self, value: Any) -> NDArray[np.float32]:
        """The row [O] of a single value; raises SpaceError where it is not of this space."""
        return self.encode(_batched(self.space, value, (), self.role), 1)[0]

    def decode(self, rows: Array) -> Any:
        """A batch of the space's own values from rows [N, O]: numbers within bounds, choices by the largest score.

        Raises:
            SpaceError: Rows of another length.
        """
        array = np.asarray(rows)
        if array.ndim != 2 or array.shape[1] != self.size:
            raise SpaceError(
                f"expected {self.role} rows of shape (N, {self.size}), got {array.shape}"
            )
        column = 0
        decoded = []
        for _, leaf in self._leaves:
            size = _size(leaf)
            decoded.append(_decode_leaf(leaf, array[:, column : column + size]))
            column += size
        return _assemble(self.space, iter(decoded))

    def decode_one(self, row: Array) -> Any:
        """The space's own value of one row [O]."""
        return _first_of(self.space, self.decode(np.asarray(row)[None]))

    def _row_space(self) -> gym.Space[Any]:
        if self.is_identity or isinstance(self.space, spaces.Discrete):
            return self.space
        low, high = np.zeros(self.size, np.float32), np.ones(self.size, np.float32)
        column = 0
        for _, leaf in self._leaves:
            size = _size(leaf)
            if isinstance(leaf, spaces.Box):
                low[column : column + size] = leaf.low.ravel()
                high[column : column + size] = leaf.high.ravel()
            column += size
        return spaces.Box(low, high, dtype=np.float32)


class ActionCodec:
    """Actions of any space as an index or a vector, and back.

    Discrete and one-dimensional Box actions stay as they are. MultiDiscrete, MultiBinary, and Dict
    and Tuple of counted leaves are numbered as one Discrete (mixed radix, the last choice counts
    fastest), as long as there are at most `MAX_JOINT_ACTIONS` combinations. All others become a Box
    (A,): Box leaves flattened, each choice as scores from 0 to 1 of which the largest counts, each
    bit as a number that counts as set from 0.5 on.

    Args:
        space: Built from Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple.

    Attributes:
        space: As given.
        row_space: Discrete or a one-dimensional Box: what learners and planners choose from.

    Raises:
        SpaceError: A space of another kind; the message names the leaf.
    """

    def __init__(self, space: gym.Space[Any]) -> None:
        self.space = space
        self._radices = _radices(space)
        self._rows: ObservationCodec | None = None
        if isinstance(space, spaces.Discrete):
            self.row_space: spaces.Discrete | spaces.Box = space
        elif self._radices is not None:
            self.row_space = spaces.Discrete(math.prod(self._radices))
        else:
            self._rows = ObservationCodec(space, "action")
            assert isinstance(self._rows.row_space, spaces.Box)
            self.row_space = self._rows.row_space

    @property
    def is_discrete(self) -> bool:
        """Whether an encoded action is an index."""
        return isinstance(self.row_space, spaces.Discrete)

    @property
    def is_identity(self) -> bool:
        """Whether encoded actions are the actions themselves."""
        return self.row_space is self.space

    def encode(self, actions: Any) -> NDArray[np.int64] | NDArray[np.float32]:
        """Indices [N] int64 or vectors [N, A] float32 of a batch of actions as a vector environment takes them.

        Raises:
            SpaceError: The batch is not of this space.
        """
        if self._rows is not None:
            return self._rows.encode(actions)
        if isinstance(self.space, spaces.Discrete):
            return _whole(self.space, _as_array(actions, (), "action"), "action").astype(np.int64)
        digits = np.concatenate(
            [
                _digits(
                    leaf,
                    _as_array(_at(actions, path, "action"), path, "action"),
                    _named("action", path),
                )
                for path, leaf in _leaves(self.space, (), "action")
            ],
            1,
        )
        indices = np.zeros(len(digits), np.int64)
        for digit, radix in zip(digits.T, self._radices or (), strict=True):
            indices = indices * radix + digit
        return indices

    def encode_one(self, action: Any) -> Any:
        """The index or vector of a single action."""
        return self.encode(_batched(self.space, action, (), "action"))[0]

    def decode(self, actions: Array) -> Any:
        """A batch of the space's own actions from indices [N] or vectors [N, A]."""
        if self._rows is not None:
            return self._rows.decode(actions)
        indices = np.asarray(actions)
        if isinstance(self.space, spaces.Discrete):
            return indices.astype(self.space.dtype)
        digits = []
        for radix in reversed(self._radices or ()):
            indices, digit = np.divmod(indices, radix)
            digits.append(digit)
        columns = iter(reversed(digits))
        leaves = [_from_digits(leaf, columns) for _, leaf in _leaves(self.space, (), "action")]
        return _assemble(self.space, iter(leaves))

    def decode_one(self, action: Any) -> Any:
        """The space's own action of one index or vector."""
        return _first_of(self.space, self.decode(np.asarray(action)[None]))


def space_to_json(space: gym.Space[Any]) -> dict[str, Any]:
    """A JSON description of a space; raises SpaceError for a kind that no codec serves."""
    if isinstance(space, spaces.Discrete):
        return {"type": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Box):  # repr keeps infinities, which JSON has no word for
        bounds = {
            name: [repr(float(x)) for x in getattr(space, name).ravel()] for name in ("low", "high")
        }
        return {
            "type": "box",
            "shape": list(space.shape),
            "dtype": np.dtype(space.dtype).name,
            **bounds,
        }
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "type": "multi_discrete",
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
        }
    if isinstance(space, spaces.MultiBinary):
        return {"type": "multi_binary", "n": np.asarray(space.n).tolist()}
    if isinstance(space, spaces.Dict):
        return {
            "type": "dict",
            "spaces": [[key, space_to_json(part)] for key, part in space.spaces.items()],
        }
    if isinstance(space, spaces.Tuple):
        return {"type": "tuple", "spaces": [space_to_json(part) for part in space.spaces]}
    raise _unserved(space, (), "space")


def space_from_json(description: dict[str, Any]) -> gym.Space[Any]:
    """The space of `space_to_json`."""
    match description["type"]:
        case "discrete":
            return spaces.Discrete(description["n"], start=description["start"])
        case "box":
            dtype = np.dtype(description["dtype"]).type
            low, high = (
                np.array([float(x) for x in description[name]], dtype).reshape(description["shape"])
                for name in ("low", "high")
            )
            return spaces.Box(low, high, dtype=dtype)
        case "multi_discrete":
            return spaces.MultiDiscrete(
                np.array(description["nvec"]), start=np.array(description["start"])
            )
        case "multi_binary":
            return spaces.MultiBinary(description["n"])
        case "dict":
            return spaces.Dict({key: space_from_json(part) for key, part in description["spaces"]})
        case "tuple":
            return spaces.Tuple([space_from_json(part) for part in description["spaces"]])
    raise SpaceError(f"no space is of type {description['type']!r}")


# --- leaves: where they are in the space, and how many columns they take


def _leaves(space: gym.Space[Any], path: Path, role: str) -> Iterator[tuple[Path, Leaf]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves(part, (*path, key), role)
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, number), role)
    elif isinstance(
        space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    ):
        yield path, space
    else:
        raise _unserved(space, path, role)


def _unserved(space: gym.Space[Any], path: Path, role: str) -> SpaceError:
    return SpaceError(
        f"{_named(role, path)} is {space}: Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these are "
        "served; change it with gymnasium.wrappers.TransformObservation or TransformAction"
    )


def _named(role: str, path: Path) -> str:
    return role + "".join(f"[{key!r}]" for key in path)


def _groups(leaves: list[tuple[Path, Leaf]]) -> Iterator[ColumnGroup]:
    column = 0
    for path, leaf in leaves:
        name = ".".join(str(key) for key in path)
        if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
            sizes = _choices(leaf)
            names = [name]
            if len(sizes) > 1:
                names = [
                    f"{name}.{number}" if name else str(number) for number in range(len(sizes))
                ]
            for size, choice in zip(sizes, names, strict=True):
                yield ColumnGroup(choice, column, column + size, "one_hot")
                column += size
        else:
            kind = "binary" if isinstance(leaf, spaces.MultiBinary) else "number"
            yield ColumnGroup(name, column, column + _size(leaf), kind)
            column += _size(leaf)


def _choices(leaf: spaces.Discrete | spaces.MultiDiscrete) -> list[int]:
    if isinstance(leaf, spaces.Discrete):
        return [int(leaf.n)]
    return [int(n) for n in leaf.nvec.ravel()]


def _size(leaf: Leaf) -> int:
    if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
        return sum(_choices(leaf))
    return math.prod(leaf.shape)


def _shape(leaf: Leaf) -> tuple[int, ...]:
    return tuple(leaf.shape or ())


# --- values: nested batches to leaves and back


def _at(values: Any, path: Path, role: str) -> Any:
    for depth, key in enumerate(path):
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError) as error:
            raise SpaceError(
                f"{_named(role, path[: depth + 1])} is missing from {type(values).__name__}"
            ) from error
    return values


def _as_array(values: Any, path: Path, role: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise SpaceError(f"{_named(role, path)} is ragged: {error}") from error
    if array.dtype.kind not in "fiub":
        raise SpaceError(
            f"{_named(role, path)} holds numbers, got {type(values).__name__} of type {array.dtype}"
        )
    return array


def _batched(space: gym.Space[Any], value: Any, path: Path, role: str) -> Any:
    """A single value as a batch of one."""
    if isinstance(space, spaces.Dict):
        return {
            k: _batched(part, _at(value, (k,), role), (*path, k), role)
            for k, part in space.spaces.items()
        }
    if isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
        return tuple(_batched(part, _at(value, (i,), role), (*path, i), role) for i, part in parts)
    return _as_array(value, path, role)[None]


def _assemble(space: gym.Space[Any], leaves: Iterator[Any]) -> Any:
    """Batches of leaves, in their order, as a batch of the space."""
    if isinstance(space, spaces.Dict):
        return {key: _assemble(part, leaves) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_assemble(part, leaves) for part in space.spaces)
    return next(leaves)


def _first_of(space: gym.Space[Any], batch: Any) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _first_of(part, batch[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_first_of(part, batch[number]) for number, part in enumerate(space.spaces))
    # A Box of shape () contains arrays, not NumPy's scalars.
    return np.asarray(batch[0]) if isinstance(space, spaces.Box) else batch[0]


# --- one leaf: [N, ...] to columns [N, K] and back


def _encode_leaf(leaf: Leaf, array: Array, name: str) -> NDArray[np.float32]:
    if isinstance(leaf, spaces.Box | spaces.MultiBinary):
        return array.reshape(len(array), -1).astype(np.float32)
    digits = _digits(leaf, array, name)
    one_hots = [
        np.eye(n, dtype=np.float32)[digit]
        for n, digit in zip(_choices(leaf), digits.T, strict=True)
    ]
    return one_hots[0] if len(one_hots) == 1 else np.concatenate(one_hots, 1)


def _decode_leaf(leaf: Leaf, rows: Array) -> Array:
    if isinstance(leaf, spaces.Box):
        return as_box_values(rows.reshape(len(rows), *leaf.shape), leaf)
    if isinstance(leaf, spaces.MultiBinary):
        return (rows >= 0.5).astype(leaf.dtype).reshape(len(rows), *_shape(leaf))
    bounds = np.cumsum(_choices(leaf))[:-1]
    digits = [scores.argmax(1) for scores in np.split(rows, bounds, axis=1)]
    return _from_digits(leaf, iter(digits))


def as_box_values(values: Array, space: spaces.Box) -> Array:
    """Numbers [B, ...] that were computed in float32, in the type of the space and within its bounds.

    Integers are rounded to. The bounds come before the cast, in which -2 would wrap around to 254
    of 255, and after it: as float32 they may lie outside, 0.1 for one.
    """
    rounded = np.rint(values) if np.issubdtype(space.dtype, np.integer) else values
    return np.clip(
        np.clip(rounded, space.low, space.high).astype(space.dtype), space.low, space.high
    )


# --- counted leaves: [N, ...] to digits [N, D], each from 0 to its radix


def _radices(space: gym.Space[Any]) -> tuple[int, ...] | None:
    """The number of values of each choice.

    None where actions cannot be counted, or not up to the limit.
    """
    radices: list[int] = []
    for _, leaf in _leaves(space, (), "action"):
        if isinstance(leaf, spaces.Box):
            return None
        is_binary = isinstance(leaf, spaces.MultiBinary)
        radices += [2] * _size(leaf) if is_binary else _choices(leaf)  # type: ignore[arg-type]
    return tuple(radices) if radices and math.prod(radices) <= MAX_JOINT_ACTIONS else None


def _digits(leaf: Leaf, array: Array, name: str) -> NDArray[np.int64]:
    if array.shape[1:] != _shape(leaf) or array.ndim == 0:
        raise SpaceError(
            f"{name}: expected an array of shape (N, *{_shape(leaf)}) for {leaf}, got {array.shape}"
        )
    start = leaf.start if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete) else 0
    whole = _whole(leaf, array, name) - start
    return whole.reshape(len(array), -1).astype(np.int64)


def _whole(leaf: Leaf, array: Array, name: str) -> Array:
    """The array, of which every number is a whole one that the leaf contains."""
    low: Any = 0
    high: Any = 1
    if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
        low = leaf.start
        high = leaf.start + (leaf.n if isinstance(leaf, spaces.Discrete) else leaf.nvec) - 1
    is_wrong = (array < low) | (array > high) | (array != np.floor(array))
    if is_wrong.any():
        raise SpaceError(f"{name}: {array[is_wrong][0]} is outside {leaf}")
    return array


def _from_digits(leaf: Leaf, columns: Iterator[Array]) -> Array:
    assert not isinstance(leaf, spaces.Box)
    count = _size(leaf) if isinstance(leaf, spaces.MultiBinary) else len(_choices(leaf))
    digits = np.stack([next(columns) for _ in range(count)], 1).reshape(-1, *_shape(leaf))
    start = leaf.start if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete) else 0
    return (digits + start).astype(leaf.dtype)
