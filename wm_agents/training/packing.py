"""Nested Python state as named tensors and JSON, bit-exact and type-exact, without pickle.

What a training run has to keep (optimizer state, random states, replay statistics) is nested
dictionaries, lists and tuples of tensors, arrays and numbers. `pack_state` splits it into tensors,
which safetensors can store, and a JSON structure that says where each belongs; `unpack_state` puts
it together again.

Each node of the structure is a plain JSON value (None, bool, str, finite float, int below 2^53) or
a one-key object whose key names the type: int, float, tensor, array, list, tuple, dict,
ordered_dict.
"""

import math
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from wm_agents.errors import CheckpointError

_MAX_DEPTH = 64
# JSON readers that hold numbers as float64 keep integers exact up to here; larger ones travel as
# hexadecimal text.
_MAX_PLAIN_INTEGER = 2**53


def pack_state(state: Any, prefix: str = "state") -> tuple[dict[str, torch.Tensor], Any]:
    """Splits nested state into tensors and a JSON-able structure.

    Allowed are dict, OrderedDict, list, tuple, torch.Tensor (dense), numpy.ndarray and NumPy
    scalars (no objects, no fields), bool, int of any size, float (NaN and infinities included), str
    and None; not their subclasses, which could not come back with their own type. Tensors are
    copied to the CPU; a tensor that occurs twice is stored twice.

    Args:
        state: the state.
        prefix: first part of all tensor names; states that share a file need different ones.

    Returns:
        Tensors by name, and the structure.

    Raises:
        CheckpointError: on a value of any other type, naming its place.
    """
    tensors: dict[str, torch.Tensor] = {}
    return tensors, _pack(state, prefix, tensors, 0)


def unpack_state(structure: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Puts together what `pack_state` took apart; tensors come back as copies on the CPU.

    Raises:
        CheckpointError: when the structure is not one of `pack_state`, or names a tensor that is
            missing or, as that could ask for any amount of memory, one twice.
    """
    return _unpack(structure, dict(tensors), 0)


def stored_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A dense, contiguous copy on the CPU that shares memory with nothing."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    return torch.empty(plain.shape, dtype=plain.dtype).copy_(plain)


def _pack(value: Any, place: str, tensors: dict[str, torch.Tensor], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise CheckpointError(
            f"{place}: nested deeper than {_MAX_DEPTH}; flatten the state, or break its cycle"
        )
    # By the exact type: a subclass of dict or list would come back as something else.
    pack = _PACKERS.get(type(value))
    if pack is None and isinstance(value, np.generic):
        pack = _pack_array
    if pack is None:
        raise CheckpointError(
            f"{place}: cannot store a {type(value).__name__}; give numbers, text, arrays or tensors"
        )
    return pack(value, place, tensors, depth)


def _pack_plain(
    value: Any,
    place: str,  # noqa: ARG001
    tensors: dict[str, torch.Tensor],  # noqa: ARG001
    depth: int,  # noqa: ARG001
) -> Any:
    return value


def _pack_integer(
    value: int,
    place: str,  # noqa: ARG001
    tensors: dict[str, torch.Tensor],  # noqa: ARG001
    depth: int,  # noqa: ARG001
) -> Any:
    return value if abs(value) < _MAX_PLAIN_INTEGER else {"int": hex(value)}


def _pack_float(
    value: float,
    place: str,  # noqa: ARG001
    tensors: dict[str, torch.Tensor],  # noqa: ARG001
    depth: int,  # noqa: ARG001
) -> Any:
    # repr is exact for finite floats; JSON has no NaN or infinity, and a NaN carries a sign and a
    # payload.
    return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}


def _pack_tensor(
    value: torch.Tensor,
    place: str,
    tensors: dict[str, torch.Tensor],
    depth: int,  # noqa: ARG001
) -> Any:
    if value.layout != torch.strided or value.is_quantized:
        raise CheckpointError(
            f"{place}: cannot store a {value.layout} tensor; convert it to a dense one"
        )
    return {"tensor": _add(tensors, place, stored_copy(value))}


def _pack_array(
    value: Any,
    place: str,
    tensors: dict[str, torch.Tensor],
    depth: int,  # noqa: ARG001
) -> Any:
    # Raw bytes, because torch lacks many of NumPy's types.
    array = np.asarray(value)
    if array.dtype.hasobject or array.dtype.names is not None:
        raise CheckpointError(
            f"{place}: cannot store an array of {array.dtype}; give one of plain numbers"
        )
    raw = (
        torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8)
        if array.size
        else torch.zeros(0).byte()
    )
    node = {"data": _add(tensors, place, raw), "dtype": array.dtype.str, "shape": list(array.shape)}
    return {"array": node | {"is_scalar": not isinstance(value, np.ndarray)}}


def _pack_sequence(
    value: list[Any] | tuple[Any, ...], place: str, tensors: dict[str, torch.Tensor], depth: int
) -> Any:
    items = [
        _pack(item, f"{place}.{index}", tensors, depth + 1) for index, item in enumerate(value)
    ]
    return {type(value).__name__: items}


def _pack_dict(
    value: dict[Any, Any], place: str, tensors: dict[str, torch.Tensor], depth: int
) -> Any:
    items = []
    for key, item in value.items():
        packed_key = _pack(key, f"{place} key", tensors, depth + 1)
        items.append([packed_key, _pack(item, f"{place}.{key}", tensors, depth + 1)])
    return {"ordered_dict" if type(value) is OrderedDict else "dict": items}


def _add(tensors: dict[str, torch.Tensor], place: str, tensor: torch.Tensor) -> str:
    """Stores the tensor under its place.

    Or under a numbered one where two keys read alike (1 and "1").
    """
    name, number = place, 1
    while name in tensors:
        number += 1
        name = f"{place}#{number}"
    tensors[name] = tensor
    return name


_PACKERS: dict[type, Callable[..., Any]] = {
    type(None): _pack_plain,
    bool: _pack_plain,
    str: _pack_plain,
    int: _pack_integer,
    float: _pack_float,
    torch.Tensor: _pack_tensor,
    np.ndarray: _pack_array,
    list: _pack_sequence,
    tuple: _pack_sequence,
    dict: _pack_dict,
    OrderedDict: _pack_dict,
}


def _unpack(node: Any, tensors: dict[str, torch.Tensor], depth: int) -> Any:
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if depth > _MAX_DEPTH or not isinstance(node, dict) or len(node) != 1:
        # The node itself is not printed: its nesting may be too deep for that.
        raise CheckpointError(
            f"packed state has a {type(node).__name__} of a form that pack_state does not write"
        )
    ((tag, content),) = node.items()
    unpack = _UNPACKERS.get(tag)
    if unpack is None:
        raise CheckpointError(
            f"packed state has a node of unknown type {tag!r}; it needs a newer version of "
            "wm_agents"
        )
    try:
        return unpack(content, tensors, depth + 1)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise CheckpointError(
            f"packed state has a malformed node of type {tag!r}: {error}"
        ) from error


def _unpack_array(
    content: Any,
    tensors: dict[str, torch.Tensor],
    depth: int,  # noqa: ARG001
) -> Any:
    dtype = np.dtype(str(content["dtype"]))
    if dtype.hasobject or dtype.names is not None:
        raise CheckpointError(f"packed state has an array of {dtype}; only plain numbers are read")
    array = np.frombuffer(tensors.pop(content["data"]).numpy().tobytes(), dtype=dtype).reshape(
        content["shape"]
    )
    # `frombuffer` gives a view that cannot be written to.
    return array[()] if content["is_scalar"] else array.copy()


def _unpack_items(content: Any, tensors: dict[str, torch.Tensor], depth: int) -> list[Any]:
    return [_unpack(item, tensors, depth) for item in content]


def _unpack_pairs(
    content: Any, tensors: dict[str, torch.Tensor], depth: int
) -> list[tuple[Any, Any]]:
    return [(_unpack(key, tensors, depth), _unpack(item, tensors, depth)) for key, item in content]


_UNPACKERS: dict[str, Callable[[Any, dict[str, torch.Tensor], int], Any]] = {
    "int": lambda content, _tensors, _depth: int(content, 16),
    "float": lambda content, _tensors, _depth: struct.unpack(">d", bytes.fromhex(content))[0],
    "tensor": lambda content, tensors, _depth: tensors.pop(content).clone(),
    "array": _unpack_array,
    "list": _unpack_items,
    "tuple": lambda content, tensors, depth: tuple(_unpack_items(content, tensors, depth)),
    "dict": lambda content, tensors, depth: dict(_unpack_pairs(content, tensors, depth)),
    "ordered_dict": lambda content, tensors, depth: OrderedDict(
        _unpack_pairs(content, tensors, depth)
    ),
}
